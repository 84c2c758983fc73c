"""Layout over ranks, and the operations of a world: MPI's against the serial twin's."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import launchers
from launchers import RANK_VARIABLES, Launcher
from mcmc import parallel
from mcmc.errors import ConfigError
from mcmc.parallel import Serial, layout

SIZES = {"n_instances": st.integers(1, 40), "n_walkers": st.integers(1, 40), "size": st.integers(1, 100)}


@given(**SIZES)
@example(n_instances=1, n_walkers=1, size=5)
@example(n_instances=4096, n_walkers=1, size=4096)
def test_layout_holds_every_walker_once_in_order(n_instances: int, n_walkers: int, size: int) -> None:
    pieces = layout(n_instances, n_walkers, size)
    assert len(pieces) == size
    flat = [(p.instance, walker) for mine in pieces for p in mine for walker in range(p.start, p.stop)]
    assert flat == [(instance, walker) for instance in range(n_instances) for walker in range(n_walkers)]
    assert all(p.start < p.stop for mine in pieces for p in mine)
    assert all(len({p.instance for p in mine}) == len(mine) for mine in pieces)


@given(**SIZES)
def test_layout_is_balanced(n_instances: int, n_walkers: int, size: int) -> None:
    """Even to one walker; where instances stay whole, ranks are busy for 90 % of the time at least."""
    pieces = layout(n_instances, n_walkers, size)
    loads = [sum(p.stop - p.start for p in mine) for mine in pieces]
    whole = all((p.start, p.stop) == (0, n_walkers) for mine in pieces for p in mine)
    if whole and n_walkers > 1:
        assert sum(loads) >= 0.9 * max(loads) * min(size, n_instances * n_walkers) or max(loads) - min(loads) <= 1
    else:
        assert max(loads) - min(loads) <= 1
    if size <= n_instances and n_instances % size == 0:
        assert whole
    assert sum(load > 0 for load in loads) == min(size, n_instances * n_walkers)


@given(**SIZES)
def test_ranks_of_an_instance_are_neighbours(n_instances: int, n_walkers: int, size: int) -> None:
    """A rank shares at most its first and its last instance: groups form a chain, which cannot deadlock."""
    pieces = layout(n_instances, n_walkers, size)
    for mine in pieces:
        assert all((p.start, p.stop) == (0, n_walkers) for p in mine[1:-1])
    busy = [mine for mine in pieces if mine]
    assert all(before[-1].instance <= after[0].instance for before, after in pairwise(busy))


def test_more_ranks_than_walkers_leaves_ranks_idle() -> None:
    """The engine keeps them out by asking for no more ranks than walkers."""
    assert sum(not mine for mine in layout(1, 3, 5)) == 2


# --- the serial world ---


def test_serial_world() -> None:
    world, array = Serial(), np.arange(6.0).reshape(3, 2)
    values = np.arange(6.0)
    world.joining(values, slice(0, 6))()
    assert np.array_equal(values, np.arange(6))
    assert np.array_equal(world.deal(array, 1, 3), array[1:])
    assert (world.rank, world.size, world.hosts()) == (0, 1, [os.uname().nodename])
    assert world.gather(array) is array
    assert world.share({"a": array})["a"] is array
    assert world.broadcast(lambda: "said") == "said"
    assert world.assisted(bytes.upper, lambda each: [one.decode() for one in each([b"a", b"b"])]) == ["A", "B"]
    assert world.start_maximum([3, -1])() == [3, -1]
    assert world.collect("here") == ["here"]
    assert world.group([0]).size == 1
    with pytest.raises(ConfigError, match="wrong"):
        world.broadcast(_refuse)


def _refuse() -> str:
    raise ConfigError("wrong")


ABORTS = """
import time
from types import SimpleNamespace
from mcmc import parallel

class Two(parallel.Serial):
    size = 2

parallel._ABORT = 0.5
parallel._mpi = lambda: SimpleNamespace(COMM_WORLD=SimpleNamespace(Abort=lambda code: time.sleep(60)))
with parallel.fail_together(Two()):
    raise ZeroDivisionError
"""


def test_an_abort_that_hangs() -> None:
    """MPI asks a launcher that may be gone: the rank ends all the same."""
    done = launchers.run(None, 1, [sys.executable, "-c", ABORTS], timeout=30)
    assert done.returncode == 1
    assert "rank 0 of 2 failed" in done.stderr


# --- the world of MPI: each rank checks what it got against what it must be ---

PROGRAM = """
import os
import numpy as np
from mcmc import parallel
from mcmc.errors import ConfigError, StorageError

world = parallel.world()
rank, size = world.rank, world.size
assert size > 1

for shape, dtype in (((), "f8"), ((3,), "i4"), ((2, 5), "u8"), ((0,), "i8"), ((7, 1), "i1")):
    mine = [np.full((2 * r % 3, *shape), r + 1, dtype) for r in range(size)]  # some ranks have nothing
    got = world.gather(mine[rank])
    if rank == 0:
        wanted = np.concatenate(mine)
        assert got.dtype == wanted.dtype and got.shape == wanted.shape and np.array_equal(got, wanted)
    else:
        assert got is None
    across = world.gather(np.moveaxis(np.zeros((4, 3, 2)) + rank, 1, 0))  # not contiguous
    assert (across is None) if rank else across.shape == (3 * size, 4, 2)

for lengths in (range(1, size + 1), [3] * size):  # of all ranks: unequal and equal
    wanted = np.repeat(np.arange(float(size)), lengths)
    values, start = np.empty(wanted.size), sum(lengths[:rank])
    join = world.joining(values, slice(start, start + lengths[rank]))
    for factor in (1.0, -2.0):
        values[...] = np.nan
        values[start : start + lengths[rank]] = factor * rank
        join()
        assert np.array_equal(values, factor * wanted)

for array in (np.arange(3.0 * size).reshape(size, 3), np.arange(2 * size, dtype="i4").reshape(2, size).T,
              np.zeros((size, 0)), np.arange(size, dtype="u8")):
    start, stop = max(rank - 1, 0), min(rank + 1, size) if rank != 1 else 0  # they overlap, and one is empty
    dealt = world.deal(array if rank == 0 else None, start, max(start, stop))
    assert dealt.dtype == array.dtype and np.array_equal(dealt, array[start:stop])

arrays = {"a": np.arange(6).reshape(2, 3), "empty": np.zeros((3, 0)), "text": np.array(["random", "teacher"]),
          "bits": np.ones((2, 2), bool), "turned": np.arange(6.0).reshape(2, 3).T}
shared = world.share(arrays if rank == 0 else None)
assert list(shared) == list(arrays)
for name, array in arrays.items():
    assert shared[name].dtype == array.dtype and np.array_equal(shared[name], array), name

pending = [world.start_maximum([rank, -rank, 2**62 - rank]) for _ in range(3)]
for wait in reversed(pending):
    assert wait() == [size - 1, 0, 2**62]

assert world.broadcast(lambda: f"α of {rank}\\n") == "α of 0\\n"
for error in (ConfigError, StorageError):
    def fail():
        raise error(f"from {rank}: ü")
    try:
        world.broadcast(fail)
    except (ConfigError, StorageError) as raised:
        assert type(raised) is error and str(raised) == "from 0: ü"
    else:
        raise AssertionError

def twice(item):
    helped.append(item)
    return 2 * item

for n in (0, 1, 7):
    helped, many = [], [bytes([i]) * i for i in range(n)]
    doubled = world.assisted(twice, lambda each: [[one.hex() for one in each(some)] for some in (many, many[:2])])
    assert doubled == [[(2 * one).hex() for one in some] for some in (many, many[:2])]
    assert helped == many[rank::size] + many[:2][rank::size]
try:
    world.assisted(twice, lambda each: each([b"a"]) and fail())
except StorageError as raised:
    assert str(raised) == "from 0: ü"
else:
    raise AssertionError

assert world.hosts() == ([os.uname().nodename] if rank == 0 else [])
assert world.collect((rank, "ü")) == [(r, "ü") for r in range(size)]

members = [r for r in range(size) if r % 2 == rank % 2]
group = world.group(members)
assert (group.rank, group.size) == (members.index(rank), len(members))
assert group.broadcast(lambda: str(rank)) == str(members[0])
print(f"good{rank}", flush=True)
"""


@pytest.mark.parametrize("n_ranks", [2, 5])
def test_mpi_world(n_ranks: int, launcher: Launcher, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    done = launchers.run(launcher, n_ranks, [sys.executable, str(program)], env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert all(f"good{rank}" in done.stdout for rank in range(n_ranks))


# --- who started this process ---


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "PMIX_RANK": "3"}, ("Open MPI", 4, 3)),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, ("a PMI launcher", 2, 1)),
        ({"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2"}, ("srun", 3, 2)),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "PMIX_RANK": "0"}, ("srun", 1, 0)),
        ({"PMIX_RANK": "5"}, ("a PMIx launcher", None, 5)),
    ],
)
def test_launchers_are_recognised(
    variables: dict[str, str], found: tuple[str, int | None, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(RANK_VARIABLES)]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert parallel._launcher() == found
    assert parallel.launcher_rank() == (found[2] if found else 0)
    if found is None:
        assert isinstance(parallel.world(), Serial)
