"""Who may import whom: the layers of the package, read from its source; and what `mcmc run` loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import mcmc

PACKAGE = Path(mcmc.__file__).parent
EXTENSIONS = PACKAGE.parent / "ext"

# Units (a module, or a folder as a whole) from the top down; one imports what stands in lower rows, its own row not.
LAYERS = (
    ("mcmc", "cli"),
    ("forecast", "merging", "verify"),
    ("farm",),
    ("scan",),
    ("config",),
    ("engine",),
    ("part",),
    ("problem", "parallel", "stop", "progress", "watchdog", "slurm"),
    ("constraint", "two_time", "reading", "annealing", "pilot"),
    ("storage",),
    ("samplers", "models", "observables"),
    ("losses", "data", "ladder"),
    ("priors",),
    ("architectures", "netcdf"),
    ("sealed",),
    ("kernels", "lock", "hdf5"),
    ("errors", "schema", "_version"),
)
DEPTH = {unit: depth for depth, row in enumerate(LAYERS) for unit in row}

# Beside the layers: what these may import, and who may import them.
BESIDE = {
    "analysis": {"_version", "architectures", "data", "errors", "ladder", "reading", "schema", "sealed"},
    "theory": {"errors", "schema"},
    "reference": set(),
}
USERS = {"analysis": {"mcmc", "cli"}, "theory": {"mcmc", "cli", "analysis"}, "reference": set()}

# Who may import these packages at all.
OWNERS = {
    "mpi4py": {"parallel"},
    "h5py": {
        "storage",
        "reading",
        "netcdf",
        "sealed",
        "hdf5",
        "cli",
    },  # hdf5: files of users; cli: the version
    "matplotlib": {"analysis"},
    "click": {"cli"},
    "rich": {"progress", "analysis"},
    "msgspec": {"config"},
    "tomli_w": {"config", "scan", "merging"},
}


def sources() -> dict[str, Path]:
    """Every Python file of the package by its dotted name below mcmc."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__") or "mcmc"] = path
    return found


def unit_of(module: str) -> str:
    return module.partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything that a file imports anywhere, apart from what only type checkers see."""
    stack: list[ast.AST] = [ast.parse(path.read_text())]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        stack.extend(ast.iter_child_nodes(node))


def own_imports(path: Path) -> set[str]:
    """Units of the package that a file imports."""
    names = {name.removeprefix("mcmc.") for name in imports(path) if name.startswith("mcmc.")}
    return {unit if (unit := unit_of(name)) in DEPTH | BESIDE else "mcmc" for name in names}


def test_every_file_has_its_layer() -> None:
    assert {unit_of(name) for name in sources()} <= DEPTH.keys() | BESIDE.keys()


@pytest.mark.parametrize("module", sources())
def test_imports_go_down(module: str) -> None:
    unit, imported = unit_of(module), own_imports(sources()[module])
    imported -= {unit} if "." in module or sources()[module].name == "__init__.py" else set()
    for name in sorted(imported):
        if name in BESIDE:
            assert unit in USERS[name], f"{module} imports {name}"
        elif unit in BESIDE:
            assert name in BESIDE[unit], f"{module} imports {name}"
        else:
            assert DEPTH[unit] < DEPTH[name], f"{module} imports {name}"


@pytest.mark.parametrize("module", sources())
def test_packages_have_owners(module: str) -> None:
    packages = {unit_of(name) for name in imports(sources()[module])}
    assert [name for name in packages & OWNERS.keys() if unit_of(module) not in OWNERS[name]] == []


@pytest.mark.parametrize("path", sorted(EXTENSIONS.rglob("*.p[yx][xd]")), ids=lambda path: path.name)
def test_kernels_import_kernels_alone(path: Path) -> None:
    found = re.findall(r"^\s*(?:from|import|cimport)\s+(mcmc[\w.]*)", path.read_text(), re.MULTILINE)
    assert {name for name in found if not name.startswith("mcmc.kernels.")} <= {"mcmc.kernels", "mcmc.errors"}


def test_start() -> None:
    """What `mcmc run` imports before it knows what to run; its time is printed for the reader (pytest -rP)."""
    heavy = {"matplotlib", "xarray", "scipy", "pandas", "arviz_stats", "h5netcdf", "rich", "mpi4py"}
    code = "import sys, mcmc.cli, mcmc.config, mcmc.engine, mcmc.parallel; print(*sys.modules)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    print(f"imports of mcmc run, interpreter included: {time.perf_counter() - began:.2f} s")
    loaded = {unit_of(name) for name in done.stdout.split()}
    assert "mcmc" in loaded
    assert loaded & heavy == set()


def test_the_check_sees_what_is_wrong(tmp_path: Path) -> None:
    """The negative control: imports inside functions count, those of type checkers do not."""
    path = tmp_path / "x.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from mcmc.engine import run\nelse:\n    import mcmc.part\n"
        "def f():\n    from mcmc import cli, __version__\n    import mpi4py\n"
    )
    assert own_imports(path) == {"part", "cli", "mcmc"}
    assert {unit_of(name) for name in imports(path)} == {"typing", "mcmc", "mpi4py"}
