"""Processes: the only file that imports mpi4py, and a serial twin with the same face.

A world or group has `rank` and `size` and few operations: broadcast from rank 0, gather along the first axis to rank 0
and deal out again, all-gather of energies, and a maximum that is started now and waited for later. Ranks hold
contiguous pieces of the walkers in the order of the ranks, so gathering in rank order is gathering in walker order.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcmc.errors import ConfigError, DivergenceError, HeldError, StorageError

T = TypeVar("T")
Each = Callable[[Sequence[bytes]], list[bytes]]
"""Does the same to each of many."""

_ERRORS = {kind.__name__: kind for kind in (ConfigError, StorageError, HeldError, DivergenceError)}
_WHOLE_INSTANCES_ENOUGH = 0.9
"""Instances stay whole on a rank if that keeps the ranks busy for at least this fraction of the time."""

_MESSAGE = 1 << 30
"""Bytes of one message; MPI counts to 2^31."""

_LAST_WORDS = 0.5
"""Seconds between a message and the end of all ranks; launchers drop what they have not passed on by then."""

_ABORT = 10.0
"""Seconds that MPI's Abort may take, which waits for ever if the launcher is gone."""


class World(Protocol):
    """What the engine asks of the processes it runs on."""

    rank: int
    size: int

    def broadcast(self, produce: Callable[[], T]) -> T:
        """What `produce` returns on rank 0, a JSON value; if it raises an error of `_ERRORS`, all ranks do."""

    def assisted(self, work: Callable[[bytes], bytes], produce: Callable[[Each], T]) -> T:
        """As `broadcast`; what `produce` is given does `work` on each of many, with the help of all ranks."""

    def share(self, arrays: Mapping[str, NDArray] | None) -> dict[str, NDArray]:
        """The arrays of rank 0, on every rank."""

    def gather(self, array: NDArray) -> NDArray | None:
        """Arrays of all ranks joined along the first axis, on rank 0; None elsewhere."""

    def deal(self, array: NDArray | None, start: int, stop: int) -> NDArray:
        """Rows start .. stop - 1 of the array of rank 0, as each rank asks for; ranges may overlap."""

    def joining(self, values: NDArray[np.float64], here: slice) -> Callable[[], None]:
        """What fetches the pieces of all other ranks, every time it is called; all ranks ask for it, and call it.

        values: float64, one-dimensional, the same length everywhere; here: the piece of this rank, in their order
        """

    def start_maximum(self, values: Sequence[int]) -> Callable[[], list[int]]:
        """Starts an element-wise maximum over the ranks; calling what is returned waits for it."""

    def group(self, ranks: Sequence[int]) -> World:
        """The given ranks as a world of their own; only they may call."""

    def free(self) -> None:
        """Gives a group back; MPI libraries have some thousand of them."""

    def hosts(self) -> list[str]:
        """Names of the hosts, each once, on rank 0."""

    def collect(self, value: T) -> list[T]:
        """The values of all ranks in their order, on every rank; for a few bytes each."""


class Serial:
    """One process, no MPI."""

    rank = 0
    size = 1

    def broadcast(self, produce: Callable[[], T]) -> T:
        return produce()

    def assisted(self, work: Callable[[bytes], bytes], produce: Callable[[Each], T]) -> T:
        return produce(lambda many: list(map(work, many)))

    def share(self, arrays: Mapping[str, NDArray] | None) -> dict[str, NDArray]:
        return dict(arrays or {})

    def gather(self, array: NDArray) -> NDArray | None:
        return array

    def deal(self, array: NDArray | None, start: int, stop: int) -> NDArray:
        return array[start:stop]

    def joining(self, values: NDArray[np.float64], here: slice) -> Callable[[], None]:
        return lambda: None

    def start_maximum(self, values: Sequence[int]) -> Callable[[], list[int]]:
        return lambda: list(values)

    def group(self, ranks: Sequence[int]) -> World:
        return self

    def free(self) -> None:
        pass

    def hosts(self) -> list[str]:
        return [os.uname().nodename]

    def collect(self, value: T) -> list[T]:
        return [value]


class Mpi:
    """The processes of an mpi4py communicator."""

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.rank: int = comm.rank
        self.size: int = comm.size

    def broadcast(self, produce: Callable[[], T]) -> T:
        message: list[Any] = []
        if self.rank == 0:
            try:
                message = ["", produce()]
            except tuple(_ERRORS.values()) as error:
                message = [type(error).__name__, str(error)]
        kind, value = json.loads(self._broadcast_bytes(json.dumps(message).encode()))
        if kind:
            raise _ERRORS[kind](value)
        return value

    def assisted(self, work: Callable[[bytes], bytes], produce: Callable[[Each], T]) -> T:
        def each(many: Sequence[bytes]) -> list[bytes]:
            done = [b""] * len(many)
            mine = self.comm.scatter([many[rank :: self.size] for rank in range(self.size)])
            for rank, theirs in enumerate(self.comm.gather(list(map(work, mine)))):
                done[rank :: self.size] = theirs
            return done

        def to_the_end() -> T:
            try:
                return produce(each)
            finally:
                self.comm.scatter([None] * self.size)

        while self.rank > 0 and (mine := self.comm.scatter(None)) is not None:
            self.comm.gather(list(map(work, mine)))
        return self.broadcast(to_the_end)

    def share(self, arrays: Mapping[str, NDArray] | None) -> dict[str, NDArray]:
        here = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
        header = [[name, array.dtype.str, array.shape] for name, array in here.items()]
        shared = {}
        for name, dtype, shape in json.loads(self._broadcast_bytes(json.dumps(header).encode())):
            array = here[name] if self.rank == 0 else np.empty(shape, dtype=dtype)
            octets = array.reshape(-1).view(np.uint8)
            for start in range(0, len(octets), _MESSAGE):
                self.comm.Bcast([octets[start : start + _MESSAGE], _mpi().BYTE])
            shared[name] = array
        return shared

    def gather(self, array: NDArray) -> NDArray | None:
        array = np.ascontiguousarray(array)
        item = array.dtype.itemsize * int(np.prod(array.shape[1:]))
        lengths = np.empty(self.size, dtype=np.int64)
        self.comm.Gather(np.array([len(array)], dtype=np.int64), lengths)
        joined = np.empty((int(lengths.sum()), *array.shape[1:]), array.dtype) if self.rank == 0 else None
        if item == 0:
            return joined
        with _row_of(item) as row:
            receive = [joined, (lengths, None), row] if self.rank == 0 else None
            self.comm.Gatherv([array, len(array), row], receive)
        return joined

    def deal(self, array: NDArray | None, start: int, stop: int) -> NDArray:
        ranges = np.empty((self.size, 2), dtype=np.int64)
        self.comm.Gather(np.array([start, stop], dtype=np.int64), ranges)
        kind = self.broadcast(lambda: [array.dtype.str, array.shape[1:]])
        part = np.empty((stop - start, *kind[1]), kind[0])
        item = part.dtype.itemsize * int(np.prod(part.shape[1:]))
        if item == 0:
            return part
        if self.rank == 0:
            array = np.ascontiguousarray(array)
            part[...] = array[start:stop]
        with _row_of(item) as row:
            # one by one: a Scatterv may not send anything twice
            for other in range(1, self.size) if self.rank == 0 else ():
                first, end = ranges[other].tolist()
                self.comm.Send([array[first:end], end - first, row], other)
            if self.rank > 0:
                self.comm.Recv([part, len(part), row], 0)
        return part

    def joining(self, values: NDArray[np.float64], here: slice) -> Callable[[], None]:
        lengths = self.comm.allgather(here.stop - here.start)
        # made once: to look at buffers takes mpi4py as long as a message. Equal pieces are faster with both libraries
        if len(set(lengths)) == 1:
            join, pieces = self.comm.Allgather, [values, lengths[0], _mpi().DOUBLE]
        else:
            join, pieces = self.comm.Allgatherv, [values, (lengths, None), _mpi().DOUBLE]
        return partial(join, _mpi().IN_PLACE, pieces)

    def start_maximum(self, values: Sequence[int]) -> Callable[[], list[int]]:
        buffers = np.array([values, values], dtype=np.int64)  # sent and received; both live until the request is done
        request = self.comm.Iallreduce(buffers[0], buffers[1], op=_mpi().MAX)

        def wait() -> list[int]:
            request.Wait()
            return buffers[1].tolist()

        return wait

    def group(self, ranks: Sequence[int]) -> World:
        members = self.comm.Get_group().Incl(list(ranks))
        return Mpi(self.comm.Create_group(members))

    def free(self) -> None:
        self.comm.Free()

    def hosts(self) -> list[str]:
        names = self.comm.gather(os.uname().nodename)
        return list(dict.fromkeys(names)) if names else []

    def collect(self, value: T) -> list[T]:
        return self.comm.allgather(value)

    def _broadcast_bytes(self, message: bytes) -> bytes:
        length = np.array([len(message)], dtype=np.int64)
        self.comm.Bcast(length)
        buffer = np.empty(int(length[0]), dtype=np.uint8)
        if self.rank == 0:
            buffer[:] = np.frombuffer(message, dtype=np.uint8)
        self.comm.Bcast([buffer, _mpi().BYTE])
        return buffer.tobytes()


@contextmanager
def _row_of(n_bytes: int) -> Iterator[Any]:
    """One row of the first axis of an array as an item of messages, so that counts stay small."""
    row = _mpi().BYTE.Create_contiguous(n_bytes).Commit()
    try:
        yield row
    finally:
        row.Free()


def world(comm: Any = None) -> World:
    """The processes this one was started with: those of `comm`, or of the launcher, or itself alone.

    Raises ConfigError if a launcher started several processes and the MPI library in use knows nothing of it: they
    would all write the same files.
    """
    if comm is not None:
        return Mpi(comm)
    launcher = _launcher()
    if launcher is None:
        return Serial()
    try:
        comm = _mpi().COMM_WORLD
    except RuntimeError as error:
        raise ConfigError(
            f"MPI: started by {launcher.name}, but mpi4py finds no MPI library: {' '.join(str(error).split())}"
        ) from None
    if launcher.size is not None and launcher.size != comm.size:
        raise ConfigError(
            f"MPI: {launcher.name} started {launcher.size} processes, but {_library()} sees {comm.size}: "
            "launcher and library do not belong together (mcmc info shows the library)"
        )
    return Mpi(comm)


class _Launcher(NamedTuple):
    name: str
    size: int | None
    rank: int


def _launcher() -> _Launcher | None:
    """The launcher that started this process, from the variables it left; None without one."""
    for name, size, rank in (
        ("Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        ("a PMI launcher", "PMI_SIZE", "PMI_RANK"),
        ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ):
        # a batch script itself runs in a step of Slurm's, with no MPI about it
        if size in os.environ and not (name == "srun" and not _is_srun_task()):
            return _Launcher(name, int(os.environ[size]), int(os.environ.get(rank, 0)))
    if "PMIX_RANK" in os.environ:
        return _Launcher("a PMIx launcher", None, int(os.environ["PMIX_RANK"]))
    return None


def _is_srun_task() -> bool:
    """Whether srun started this process as one of several tasks, or as an MPI task."""
    several = os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    return several or "PMIX_RANK" in os.environ


def launcher_rank() -> int:
    """Rank of this process as its launcher counts, whatever the MPI library says; 0 without a launcher."""
    launcher = _launcher()
    return 0 if launcher is None else launcher.rank


def _mpi() -> Any:
    with warnings.catch_warnings():  # `world` judges launcher and library itself
        warnings.simplefilter("ignore", RuntimeWarning)
        from mpi4py import MPI

    return MPI


def _library() -> str:
    return _mpi().Get_library_version().splitlines()[0].split(",")[0].strip(" \0")


def describe() -> str:
    """MPI library and launcher, for `mcmc info`."""
    launcher = _launcher()
    how = "no launcher: serial" if launcher is None else f"started by {launcher.name}, {launcher.size or '?'} processes"
    try:
        library = _library()
    except RuntimeError:  # its message lists every path that was tried
        library = "mpi4py finds no MPI library"
    return f"{library} ({how})"


@contextmanager
def fail_together(world: World, *alike: type[BaseException]) -> Iterator[None]:
    """An error that leaves this block ends every rank at once, after it was printed with its rank.

    alike: errors that every rank raises at the same point; they pass.
    """
    try:
        yield
    except BaseException as error:
        if world.size == 1 or isinstance(error, alike):
            raise
        told = f"mcmc: rank {world.rank} of {world.size} failed, ending all ranks:\n{traceback.format_exc()}"
        print(told, end="", file=sys.stderr, flush=True)
        time.sleep(_LAST_WORDS)
        faulthandler.dump_traceback_later(_ABORT, exit=True, file=sys.__stderr__)  # needs no lock of Python's
        _mpi().COMM_WORLD.Abort(1)
        os._exit(1)  # MPICH's Abort may return


class Piece(NamedTuple):
    """Walkers start .. stop - 1 of an instance, numbered copy * n_rungs + rung of birth."""

    instance: int
    start: int
    stop: int


def layout(n_instances: int, n_walkers: int, size: int) -> list[list[Piece]]:
    """The pieces of each rank: contiguous in (instance, walker), in the order of the ranks.

    n_walkers is per instance. Instances stay whole where that costs little, because a whole instance exchanges inside
    the kernel; otherwise the flattened list of walkers is cut evenly. Ranks beyond the number of walkers get nothing.
    """
    per_rank = -(-n_instances // size)
    if size <= n_instances and n_instances / (per_rank * size) >= _WHOLE_INSTANCES_ENOUGH:
        cuts = [n_walkers * (n_instances * rank // size) for rank in range(size + 1)]
    else:
        cuts = [n_instances * n_walkers * rank // size for rank in range(size + 1)]
    return [_pieces(start, stop, n_walkers) for start, stop in pairwise(cuts)]


def _pieces(start: int, stop: int, n_walkers: int) -> list[Piece]:
    pieces = []
    while start < stop:
        instance, walker = divmod(start, n_walkers)
        end = min(stop, (instance + 1) * n_walkers)
        pieces.append(Piece(instance, walker, walker + end - start))
        start = end
    return pieces
