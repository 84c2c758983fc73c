# `make help` lists the targets. Each sets up what it needs (.venv, and for the tests .mpi) and does so only once.
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet
SOURCES := pyproject.toml setup.py mcmc/_version.py $(wildcard ext/*.pyx ext/*.pxd ext/include/*.h)
LAUNCHERS := .mpi/mpich/bin/mpirun .mpi/openmpi/bin/mpirun

# Open MPI (5 reads the PRTE names, 4 the OMPI ones): run as root, with more ranks than cores, without a second's sleep at the start.
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export OMPI_MCA_btl := ^ofi
export OMPI_MCA_rmaps_base_oversubscribe := 1
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe
export PIP_ROOT_USER_ACTION := ignore
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help build run test test-mpi test-faults bench bench-scaling bench-scale lint sanitize clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 \t/p' Makefile | expand -t 16

build: $(VENV)/built ## virtual environment with the package, editable

# A launcher counts if two ranks that it starts see each other; otherwise the one of the mpich extra is used.
run: $(VENV)/built ## the quickstart on 2 ranks, its summary and its picture
	@set -e; \
	works() { test "$$(timeout 60 "$$1" -n 2 $(BIN)/python -c 'from mpi4py import MPI; print(MPI.COMM_WORLD.size)' 2>&1 | xargs)" = "2 2"; }; \
	mpirun=$$(command -v mpirun || command -v mpiexec || true); \
	if [ -z "$$mpirun" ] || ! works "$$mpirun"; then \
		mpirun=$(BIN)/mpirun; \
		[ -x $$mpirun ] || { echo "no MPI launcher that works: installing MPICH"; $(PIP) 'mcmc[mpich]'; }; \
	fi; \
	set -x; \
	"$$mpirun" -n 2 $(BIN)/mcmc run runs/quickstart.toml -o out/quickstart; \
	$(BIN)/mcmc summary out/quickstart; \
	$(BIN)/mcmc plot out/quickstart

# Those of MPI start ranks of their own and go one by one; the others a file to each core.
test: $(VENV)/tests $(LAUNCHERS) ## all tests, those of MPI under Open MPI and MPICH
	$(BIN)/python -m pytest -m 'not mpi and not faults' --numprocesses auto --dist loadfile
	$(BIN)/python -m pytest -m 'mpi and not faults'

test-mpi: $(VENV)/tests $(LAUNCHERS) ## the tests under MPI alone
	$(BIN)/python -m pytest -m 'mpi and not faults'

# Those with several hosts need root. They wait for more than they compute.
test-faults: $(VENV)/tests $(LAUNCHERS) ## the long forms of the tests of what goes wrong
	$(BIN)/python -m pytest -m faults --numprocesses 4 -o faulthandler_timeout=3600

# Competitors are no condition: where they cannot be installed, the benchmarks say so and leave them out.
bench: $(VENV)/built ## ns per proposal, µs per step and effective samples, against other programs
	@[ -e $(VENV)/competitors ] || { $(PIP) 'mcmc[bench]' && touch $(VENV)/competitors; } || echo "going on without competitors"
	$(BIN)/python benchmarks/bench.py

bench-scaling: $(VENV)/built ## ns per proposal against size and walkers, with docs/speed.png
	$(BIN)/python benchmarks/scaling.py

lint: $(VENV)/tools ## ruff and cython-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint ext

bench-scale: $(VENV)/built $(LAUNCHERS) ## costs of a round on 1 to 64 ranks and what they predict, with docs/scale.md
	$(BIN)/python benchmarks/scale.py --page docs/scale.md

# In a copy of the tree, because an ordinary build lies inside it. Slow tests are about numbers, not about memory; in
# namespaces with a /proc of their own sanitizers do not find their options (hosts). A dying
# process takes what pytest captured with it: --capture=sys lets the sanitizers' report through.
SANITIZED := build/sanitize
sanitize: $(VENV)/tools ## the tests of one process with the address and undefined-behaviour sanitizers
	mkdir -p $(SANITIZED)
	cp -pRu pyproject.toml setup.py README.md LICENSE ext mcmc tests runs $(SANITIZED)/
	rm -f $(SANITIZED)/mcmc/kernels/*.so
	cd $(SANITIZED) && MCMC_SANITIZE=address,undefined $(CURDIR)/$(BIN)/python setup.py --quiet build_ext --inplace
	cd $(SANITIZED) && env PYTHONPATH=. PYTHONMALLOC=malloc \
		LD_PRELOAD="$$(for so in libasan.so libubsan.so libstdc++.so.6; do gcc -print-file-name=$$so; done | xargs)" \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1 \
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		$(CURDIR)/$(BIN)/python -m pytest --capture=sys --numprocesses auto --dist loadfile \
		-m 'not mpi and not slow and not faults and not hosts'

clean: ## remove what was built and installed (not out/)
	rm -rf $(VENV) .mpi build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage mcmc/kernels/*.so
	rm -f $(patsubst %.pyx,%.c,$(wildcard ext/*.pyx))
	find mcmc tests runs -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mcmc needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/built: $(SOURCES) | $(BIN)/python
	$(PIP) -e '.[analysis]'
	@touch $@

# mcmc[...] is the package that is installed already: only what the extra adds to it, without a build.
$(VENV)/tests: pyproject.toml | $(VENV)/built
	$(PIP) 'mcmc[test]'
	@touch $@

$(VENV)/tools: pyproject.toml | $(VENV)/built
	$(PIP) 'mcmc[dev]'
	@touch $@

# Each in an environment of its own: two in one hide each other, and one in .venv would hide the machine's.
.mpi/%/bin/mpirun: | $(BIN)/python
	$(BIN)/python -m venv --without-pip .mpi/$*
	$(BIN)/python -m pip --python .mpi/$*/bin/python install --quiet $*
