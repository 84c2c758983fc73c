"""The engine: sweeps, exchange, measurement, checkpoints and stopping, on any number of ranks.

The run advances in stretches of some 50 ms. Between them the ranks agree, by one maximum over a few integers, whether
to stop or to write a checkpoint, and how long a stretch to come shall be. The maximum is started after stretch k and
acted on after stretch k + 1, so nobody waits for it and nobody can disagree. Stretches differ from run to run;
nothing that is recorded depends on them.

A divergence is found by one rank, which asks for a checkpoint; before it is written, all ranks raise it instead. Ranks
without a walker take part in the maximum, too: a signal may reach just one of them.

A pilot run is a run as any other, with its checkpoints in a directory of its own inside that of the run it is for.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcmc import ladder, pilot, slurm
from mcmc._version import __version__
from mcmc.errors import ConfigError, DivergenceError, StorageError
from mcmc.kernels import cpu
from mcmc.kernels.chain import LADDER_COUNTS
from mcmc.netcdf import deflated
from mcmc.parallel import Each, Serial, World, layout
from mcmc.part import Part
from mcmc.problem import Problem
from mcmc.progress import Progress
from mcmc.schema import VARIABLES
from mcmc.stop import REASONS, Stop
from mcmc.storage import RESULTS, RUN_TOML, Checkpoint, RunDirectory, Segment
from mcmc.watchdog import watchdog

if TYPE_CHECKING:
    from mcmc.config import Config

DONE, STOPPED = 0, 75
"""What `run` returns: complete, or stopped early at a checkpoint."""

_SAMPLE = "reference"
"""Name of the array in a checkpoint that is the reference of the constraint, where that is a sample of another run."""

FIRST_BETA = "first_beta"
"""Name of the array in a checkpoint that is the ladder at sweep 0, where pilot runs have found it."""

_PILOT = "pilot"
"""Name of the attribute of a checkpoint that is the number of the pilot run it is of."""

_OF_THE_RUN = {"beta", FIRST_BETA, "start", "waiting_time", "lag_time", _SAMPLE}
"""Arrays of a checkpoint that no part continues from."""

_CONSTANTS = ("step_size", "teacher_norm", "teacher_second_layer", "correlation", "waiting_time", "lag_time")
"""Arrays of a checkpoint, where they exist, that go into the results as they are."""

_STRETCH = 0.05
"""Seconds of a stretch on the slowest rank."""
_STRETCH_BYTES = 8 << 20
"""What the weights in the rows of one stretch may take on the busiest rank."""
_ROWS_BYTES = 64 << 20
"""Bytes of observables waiting on all ranks that make rank 0 gather and write them before the next checkpoint."""
_NOTHING_DUE, _ROWS_DUE, _CHECKPOINT_DUE = range(3)
_END = (0, 0, 0, 0)
"""What the ranks tell in the last maximum: no reason, and a stretch without sweeps."""
_RESULTS_RATE = 3e7
"""Bytes of time series that are compressed in a second, at the least (docs/output.md)."""
_SHORT = 1.0
"""Seconds that results may take even after a reason to stop."""
_STATUS_EVERY = 2.0
"""Seconds between two writings of status.json."""


def run(config: Config, directory: Path, world: World, walltime: float | None = None, quiet: bool = False) -> int:
    """Run what `config` asks for in `directory`, or continue what is there.

    walltime: seconds from now after which to stop at a checkpoint; under Slurm the end of the job is a limit, too.
    Returns DONE, or STOPPED after a limit or a signal. Raises ConfigError (and has created nothing), StorageError
    and DivergenceError on every rank alike.
    """
    with Stop(walltime, slurm.seconds_left if world.rank == 0 else None) as stop, watchdog(world):
        return _Run(_problem(config, directory, world), directory, world, quiet).execute(stop)


def _choice(waits: NDArray[np.int8]) -> str:
    """What was chosen at the end of the burn-in, for the log; waits: (instance, rung)."""
    by_rung = ", ".join(f"{n} of {len(waits)}" for n in waits.sum(axis=0))
    return f"end of burn-in: waiting times instead of metropolis, instances by rung: {by_rung}"


def _problem(config: Config, directory: Path, world: World) -> Problem:
    """The problem on every rank. Rank 0 alone reads files, and hands the others what it has found to be right.

    A sample of another run comes from the checkpoint in `directory`, else from that run.
    """
    made: list[Problem] = []
    world.broadcast(lambda: made.append(Problem(config, kept_sample(config, directory))))
    was_read = world.share(made[0].was_read if made else None)
    return made[0] if made else Problem.of_read(config, was_read)


def kept_sample(config: Config, directory: Path) -> NDArray[np.int8] | None:
    """The sample of another run in the checkpoint that there is, of pilot runs too; None without one."""
    files = RunDirectory(directory)
    if config.constraint.reference != "run" or files.run_toml() is None:
        return None
    checkpoint = files.read_checkpoint(segments=False) or files.pilots.read_checkpoint()
    return None if checkpoint is None else checkpoint.arrays.get(_SAMPLE)


def check_sources(problem: Problem, checkpoint: Checkpoint, directory: Path) -> None:
    """StorageError if what the problem was read from is not what the run in `directory` was started with."""
    sources = ("fingerprint", problem.config.data_path), ("reference", problem.config.constraint_path)
    for (name, path), fingerprint in zip(sources, problem.fingerprints, strict=True):
        if checkpoint.attrs[name] != fingerprint:
            raise StorageError(f"{path}: has changed since the run in {directory} was started, or is another file")


def _outcome(produce: Callable[[], int]) -> Callable[[], int]:
    """Calls `produce` now; what is returned gives its result or raises its error."""
    try:
        code = produce()
    except (ConfigError, StorageError, DivergenceError) as error:
        found = error

        def fail() -> int:
            raise found

        return fail
    return lambda: code


class _Run:
    """One run on the ranks of `everybody`, of which some may be without a walker; rank 0 owns the files."""

    name = ""
    """What its lines in the log begin with."""

    def __init__(self, problem: Problem, directory: Path, everybody: World, quiet: bool) -> None:
        self.problem, self.everybody, self.quiet = problem, everybody, quiet
        self.config = problem.config
        self.world = everybody
        """The ranks with a walker, as soon as the number of rungs is known."""
        self.files = RunDirectory(directory)
        self.home = self.files
        """Where status and log are."""
        self.pilot: Checkpoint | None = None
        """Of the pilot run to go on with, on rank 0."""
        self.is_new = False
        """Whether pilot runs have just found the ladder, and no checkpoint has it."""
        self.sweeps = self.config.schedule.sweeps
        self.sweep = self.checkpointed = 0
        self.beta = problem.beta
        """Of the ladder as it is by now."""
        self.segments: list[Segment] = []
        self.parts: list[Part] = []
        self.groups: list[World] = []
        """Of the parts."""
        self.divergences: list[DivergenceError] = []
        """On this rank, of parts that could not even be made."""
        self.checkpoint_arrays: dict[str, NDArray] = {}
        """Of the latest checkpoint, on rank 0."""
        self.rate: float | None = None
        """Proposals in a second; None until this process has swept."""
        self.status_due = 0.0
        self.checkpoint_seconds = 0.0
        self.started, self.began = time.time(), time.monotonic()

    def execute(self, stop: Stop) -> int:
        """See `run`. The directory is locked meanwhile, unless the run in it is complete."""
        try:
            return self._execute(stop)
        except (ConfigError, StorageError, DivergenceError):  # all ranks are here, and may have more to run
            self._free_groups()
            raise
        finally:
            self.files.unlock()

    def _free_groups(self) -> None:
        for group in self.groups:
            group.free()
        self.groups = []

    def _execute(self, stop: Stop) -> int:
        state = self.everybody.broadcast(lambda: self._open(stop))
        if state == "complete":
            self._say(f"{self.files.path}: complete already, {self.sweep} sweeps")
            return DONE
        if state == "stopped":
            self._say(f"{self.files.path}: stopped while another process held it; the same command continues")
            return STOPPED
        self.hosts = self.everybody.hosts()
        self.everybody.broadcast(self._begin)
        if self.config.seeks_rungs and not self._find_ladder(stop):
            return STOPPED
        n_active = min(self.everybody.size, self.problem.n_instances * self.problem.n_walkers)
        if n_active == self.everybody.size:
            return self._complete(stop)
        outcome: Callable[[], int] = int  # idle ranks have none to tell
        if self.everybody.rank < n_active:
            self._warn_of_idle(n_active)
            self.world = self.everybody.group(range(n_active))
            outcome = _outcome(lambda: self._complete(stop))
            self.world.free()
            self.everybody.start_maximum(_END)()
        else:
            while self.everybody.start_maximum([stop.reason(0), *_END[1:]])()[-1]:
                pass
        return self.everybody.broadcast(outcome)

    def _warn_of_idle(self, n_active: int) -> None:
        if self.everybody.rank == 0:
            idle = ", ".join(map(str, range(n_active, self.everybody.size)))
            self._warn(f"only {n_active} walkers: idle ranks {idle}")

    def _complete(self, stop: Stop) -> int:
        """On ranks with a walker: everything that is left to do; see `run`."""
        try:
            self._make_parts()
            if self.is_new:  # nobody shall look for the ladder again
                self._checkpoint()
                self.world.broadcast(self.files.clean)
            reason = self._advance_to_end(stop) or self._make_results(stop)
        except BaseException as error:
            self._failed(error)
            raise
        self._free_groups()
        if reason:
            rest = "continues" if self.sweep < self.sweeps else "makes the results: all sweeps are done"
            self._end("stopped", f"stopped by {reason} at sweep {self.sweep}; the same command {rest}")
            return STOPPED
        self._end("complete", f"complete, {self.sweeps} sweeps")
        return DONE

    # --- the beginning ---

    def _begin(self) -> None:
        """Rank 0: the first entries of status and log."""
        self.home.write_status(self._status("running", ""))
        self.status_due = time.monotonic() + _STATUS_EVERY
        where = f"{self.everybody.size} ranks on {', '.join(self.hosts)}"
        self._log(f"mcmc {__version__}: sweep {self.sweep} to {self.sweeps}, {where}, {cpu.level()} kernels")
        if self.problem.constraint is not None:
            self._log(str(self.problem.constraint))

    def _open(self, stop: Stop) -> str:
        """Rank 0: makes the directory, or finds where the run in it stands.

        Returns "complete" if nothing is left to do, "stopped" if there was a reason to stop before a silent process on
        another host could be given up, else "". Of a complete run nothing is written: it is found so without the lock,
        in a directory that is read-only too; a lock that nobody holds is removed.
        """
        if self._is_complete():
            self.files.remove_stale_lock()
            return "complete"
        if not self.files.lock(self._warn, lambda: stop.reason(0) > 0):
            return "stopped"
        if self._is_complete():  # by now: somebody else has just done it
            return "complete"
        if self._find():
            self.files.clean()
            self.files.replace_run_toml(self.config.text)
        elif self.files.run_toml() is None:
            self.files.create(self.config.text)
            self.files.clean()  # of one that was killed while it created the directory
        else:
            if (self.files.path / RESULTS).exists():
                raise StorageError(f"{self.files.path}: holds results but no checkpoint to continue from; use another")
            self.files.clean()
            self.files.replace_run_toml(self.config.text)
            if self.pilot is None:
                self._log("no checkpoint yet: starting anew")
        return ""

    def _is_complete(self) -> bool:
        said_so = (self.files.read_status() or {}).get("state") == "complete"
        return said_so and self._find() and self.sweep == self.sweeps and self._has_results()

    def _has_results(self) -> bool:
        """Whether results.h5 is whole, and that of this run at its end."""
        try:
            shapes, attributes = self.files.results_shapes()
        except StorageError:
            return False
        is_long_enough = shapes["sweep"] == (self.sweeps // self.config.schedule.measure_every,)
        return is_long_enough and not self.config.changes_since(str(attributes["run_toml"]))

    def _find(self) -> bool:
        """Whether the directory holds a checkpoint, from which this run then continues; of one of a pilot run False.

        StorageError if it is one of another run.
        """
        found = self.files.run_toml()
        checkpoint = None if found is None else self.files.read_checkpoint()
        is_pilot = found is not None and checkpoint is None
        if is_pilot:
            checkpoint = self.files.pilots.read_checkpoint()
        if checkpoint is None:
            return False
        try:
            differences = self.config.changes_since(found)
        except ConfigError as error:
            raise StorageError(f"{self.files.path / RUN_TOML}: damaged: {error}") from None
        if differences:
            raise StorageError(
                f"{self.files.path}: holds a run with another configuration: {'; '.join(differences)}; choose another "
                "directory (only checkpoint.* and a larger schedule.sweeps may change)"
            )
        if foreign := self.config.changes_since(str(checkpoint.attrs["run_toml"])):
            raise StorageError(
                f"{self.files.path}: its checkpoint is of another run than its {RUN_TOML}: {'; '.join(foreign)}; "
                "restore the right one from a backup, or run again into another directory"
            )
        if checkpoint.warning:
            self._warn(checkpoint.warning)
            self._log(checkpoint.warning)
        check_sources(self.problem, checkpoint, self.files.path)
        if is_pilot:
            if _PILOT not in checkpoint.attrs:
                raise StorageError(f"{self.files.pilots.path}: holds a checkpoint that is of no pilot run; remove it")
            self.pilot = checkpoint
            return False
        self.sweep = self.checkpointed = int(checkpoint.attrs["sweep"])
        self.segments = checkpoint.segments
        self.checkpoint_arrays = checkpoint.arrays
        return True

    def _make_parts(self) -> None:
        """The parts of this rank in the order of the walkers, at their initial weights or those of the checkpoint."""
        pieces = layout(self.problem.n_instances, self.problem.n_walkers, self.world.size)
        ranks_of: dict[int, list[int]] = {}
        for rank, mine in enumerate(pieces):
            for piece in mine:
                ranks_of.setdefault(piece.instance, []).append(rank)
        self.parts = []
        for piece in pieces[self.world.rank]:
            ranks = ranks_of[piece.instance]
            group = Serial() if len(ranks) == 1 else self.world.group(ranks)
            self.groups.append(group)
            try:
                self.parts.append(Part(self.problem, piece, group))
            except DivergenceError as error:
                self.divergences.append(error)
        self._raise_divergence()
        walkers = max(sum(piece.stop - piece.start for piece in mine) for mine in pieces)
        self.row_bytes = walkers * self.problem.weight_bits * self.problem.n_weights / 8
        """Bytes of the weights in a row on the busiest rank."""
        self.sweep = self.checkpointed = self.world.broadcast(lambda: self.sweep)
        self.first_row = self.sweep // self.config.schedule.measure_every
        if self.sweep:
            self._restore()

    def _restore(self) -> None:
        """Deals the latest checkpoint out: no rank but the first ever holds the states of all walkers."""
        if self.problem.tuning_sweeps:
            self._set_beta(self.world.broadcast(lambda: self.checkpoint_arrays["beta"].tolist()))
        n, first, last = self.problem.n_walkers, self.parts[0].piece, self.parts[-1].piece
        walkers = first.instance * n + first.start, last.instance * n + last.stop
        instances = first.instance, last.instance + 1
        dealt = {}
        for name in self.world.broadcast(lambda: sorted(self.checkpoint_arrays.keys() - _OF_THE_RUN)):
            array = self.checkpoint_arrays.get(name)
            if name == "correlation" and array is not None:
                array = array.reshape(-1, *array.shape[len(self.problem.by_rung) :])
            dealt[name] = self.world.deal(array, *(walkers if Part.is_of_walkers(name) else instances))
        of_walkers = {name: array for name, array in dealt.items() if Part.is_of_walkers(name)}
        of_instances = {name: array for name, array in dealt.items() if name not in of_walkers}
        done = 0
        for number, part in enumerate(self.parts):
            here = slice(done, done + part.piece.stop - part.piece.start)
            part.restore(
                {name: array[here] for name, array in of_walkers.items()},
                {name: array[number : number + 1] for name, array in of_instances.items()},
            )
            done = here.stop

    # --- the loop ---

    def _advance_to_end(self, stop: Stop) -> str:
        """Sweeps up to the end or to a reason to stop, which is returned; a checkpoint at the end."""
        if self.sweep == self.sweeps:
            return ""
        per_sweep = self.problem.proposals_per_sweep
        progress = Progress(self.sweeps, self.sweep, per_sweep, self.quiet or self.world.rank > 0, self.name)
        stretch, longest = 1, 0.0  # the first stretch tells how long a sweep takes
        checkpoint_due = time.monotonic() + self.config.checkpoint.every
        agreement: Callable[[], list[int]] | None = None
        reason, start, loop_began = 0, self.sweep, time.monotonic()
        while self.sweep < self.sweeps and not reason:
            began, first = time.monotonic(), self.sweep
            self._advance(min(self.sweeps, first + stretch, *self._next_tuning()))
            seconds = time.monotonic() - began
            self.rate = per_sweep * (self.sweep - start) / max(time.monotonic() - loop_began, 1e-9)
            progress.update(self.sweep)
            self._write_status()
            if agreement is not None:
                reason, due, nanoseconds, length = agreement()
                stretch = self._bounded(min(_STRETCH * 1e9 / max(nanoseconds, 1), 4.0) * length)
                longest = nanoseconds * 1e-9
                if due == _ROWS_DUE and not reason:
                    self._write_rows()
                if due == _CHECKPOINT_DUE and not reason:
                    self._checkpoint()
                    checkpoint_due = time.monotonic() + self.config.checkpoint.every
            # the first rank of an instance holds its rows
            held = sum(part.held_bytes for part in self.parts) * min(self.world.size, self.problem.n_instances)
            due = _ROWS_DUE if held > _ROWS_BYTES else _NOTHING_DUE
            if time.monotonic() >= checkpoint_due or self._has_diverged():
                due = _CHECKPOINT_DUE
            reserve = 2 * max(longest, seconds) + 2 * self.checkpoint_seconds
            agreement = self.everybody.start_maximum(
                [stop.reason(reserve), due, int(1e9 * seconds), self.sweep - first]
            )
        agreement()  # never leave a reduction under way
        progress.close()
        if self.checkpointed < self.sweep:
            self._checkpoint()
        return REASONS[reason] if self.sweep < self.sweeps else ""

    def _make_results(self, stop: Stop) -> str:
        """After the last sweep; returns a reason to stop before they are made."""
        reason = self._no_time_for_results(stop)
        if not reason:
            self.world.assisted(deflated, self._write_results)
        return reason

    def _no_time_for_results(self, stop: Stop) -> str:
        """After the last sweep: a reason to leave long results to the next job, which has all its time for them."""
        seconds = self.problem.series_bytes(self.config) / _RESULTS_RATE
        if self.rate is None or seconds < _SHORT:
            return ""
        return REASONS[self.everybody.start_maximum([stop.reason(seconds), 0, 0, 1])()[0]]

    def _has_diverged(self) -> bool:
        return bool(self.divergences) or any(part.divergence is not None for part in self.parts)

    def _raise_divergence(self) -> None:
        """DivergenceError on every rank if a chain of one of them has diverged: the first, whatever the layout."""
        if not self.world.start_maximum([self._has_diverged()])()[0]:
            return
        here = [*self.divergences, *(part.divergence for part in self.parts if part.divergence is not None)]
        told = self.world.collect([[*error.at, str(error)] for error in here])
        *at, message = min(error for of_rank in told for error in of_rank)
        raise DivergenceError(f"{self.name}{message}", tuple(at))

    def _bounded(self, sweeps: float) -> int:
        """A length of a stretch, such that its rows fit into memory."""
        most = self.config.schedule.measure_every * max(1, int(_STRETCH_BYTES / self.row_bytes))
        return int(min(max(sweeps, 1), most))

    def _advance(self, last: int) -> None:
        """All parts to sweep `last`.

        Parts that share their instance with other ranks wait for them. Even instances come first, odd ones last and
        whole ones in between: in that order neighbouring ranks meet at the same instance at the same time.
        """

        def order(part: Part) -> int:
            return 1 if part.group.size == 1 else 2 * (part.piece.instance % 2)

        for part in sorted(self.parts, key=order):
            part.advance(self.sweep + 1, last)
        self.sweep = last
        if last in self.problem.tuning_sweeps:
            self._tune()

    # --- the ladder ---

    def _find_ladder(self, stop: Stop) -> bool:
        """Takes the ladder to start with: that of the checkpoint, else of pilot runs; False if they were stopped."""
        number, beta = self.everybody.broadcast(self._known_ladder)
        schedule, every = self.config.schedule, self.config.ladder.exchange_every
        pilots = list(enumerate(ladder.pilot_sweeps(schedule.burn_in, every), 1))[number - 1 :] if number else []
        for number, sweeps in pilots:
            run = _Pilot(self, number, np.array(beta), sweeps)
            if run.execute(stop) == STOPPED:
                return False
            beta, settled = self.everybody.broadcast(run.next_ladder)
            if settled:
                break
        self.is_new = bool(pilots)
        self.problem = self.problem.on_ladder(np.array(beta))
        self.beta = self.problem.beta
        return True

    def _known_ladder(self) -> tuple[int, list[float]]:
        """Rank 0: the number of the pilot run to go on with, and its ladder; 0 with that of the run at sweep 0."""
        if FIRST_BETA in self.checkpoint_arrays:
            return 0, self.checkpoint_arrays[FIRST_BETA].tolist()
        if self.pilot is None:
            return 1, self.problem.beta.tolist()
        return int(self.pilot.attrs[_PILOT]), self.pilot.arrays["beta"].tolist()

    def _next_tuning(self) -> list[int]:
        """The sweep at whose end the ladder moves next, if it does."""
        return [sweep for sweep in self.problem.tuning_sweeps if sweep > self.sweep][:1]

    def _tune(self) -> None:
        """Moves the ladder by what all instances have counted since the last time; it is the same on all ranks."""
        found = self.world.gather(np.concatenate([part.ladder_counts for part in self.parts]))

        def move() -> list[float]:
            counts = dict(zip(LADDER_COUNTS, found.sum(axis=0), strict=True))
            tuned = ladder.tuned(self.config.ladder.tune, self.beta, counts)
            self._log(self._in_words(tuned, int(counts["arrived"].sum())))
            return tuned.beta.tolist()

        self._set_beta(self.world.broadcast(move))

    def _in_words(self, tuned: ladder.Tuned, arrivals: int) -> str:
        """What the log says of a ladder that moves now."""
        worst, asked = int(np.argmax(tuned.rejection)), self.config.ladder.tune
        low, high = self.beta[worst : worst + 2]
        rule = tuned.rule if tuned.rule == asked else f"{tuned.rule}, for {asked} only {arrivals} arrivals at an end"
        return (
            f"ladder moved at sweep {self.sweep} ({rule}): barrier {tuned.rejection.sum():.3g}, acceptance "
            f"{1 - tuned.rejection[worst]:.2g} at the worst pair, beta {low:.4g} to {high:.4g}"
        )

    def _set_beta(self, beta: list[float]) -> None:
        self.beta = np.array(beta)
        for part in self.parts:
            part.set_beta(self.beta)

    # --- files ---

    def _write_rows(self) -> None:
        """Writes the rows since the last segment as one more, which counts once a checkpoint lists it.

        After a divergence raises that instead.
        """
        self._raise_divergence()
        last_row = self.sweep // self.config.schedule.measure_every
        if last_row == self.first_row:
            return
        series, snapshots = self._gather_rows(last_row - self.first_row)

        def write() -> None:
            number, attributes = len(self.segments), self._attributes()
            self.segments.append(self.files.write_segment(number, self.first_row, series, attributes, snapshots))

        self.world.broadcast(write)
        self.first_row = last_row

    def _checkpoint(self) -> None:
        """Writes the rows since the last segment, and a checkpoint that lists all segments."""
        began = time.monotonic()
        self._write_rows()
        arrays = self._gather_states([part.walker_state() for part in self.parts])
        arrays |= self._gather_states([part.instance_state() for part in self.parts])
        if self.world.rank == 0 and "correlation" in arrays:
            times = self.parts[0].two_time
            arrays["correlation"] = arrays["correlation"].reshape(self.problem.by_rung + times.correlation.shape[1:])
            arrays |= {"waiting_time": np.array(times.waiting), "lag_time": times.lags}
        chosen_before = self.checkpointed >= self.config.schedule.burn_in
        self.checkpointed = self.sweep
        if self.world.rank == 0:
            self.checkpoint_arrays = arrays

        def write() -> None:
            named = {"beta": self.beta, "start": np.array(self.problem.starts)}
            if self.config.seeks_rungs:
                named[FIRST_BETA] = self.problem.beta
            if self.problem.sample is not None:
                named[_SAMPLE] = self.problem.sample
            if "waits" in arrays and not chosen_before and self.sweep >= self.config.schedule.burn_in:
                self._log(_choice(arrays["waits"]))
            read = dict(zip(("fingerprint", "reference"), self.problem.fingerprints, strict=True))
            attributes = self._attributes() | {"sweep": self.sweep} | read
            self.files.write_checkpoint(named | arrays, attributes, self.segments)

        self.world.broadcast(write)
        self.checkpoint_seconds = time.monotonic() - began

    def _gather_rows(self, n_rows: int) -> tuple[dict[str, NDArray], dict[str, NDArray] | None]:
        """Time series (instance, rows, ...) since the last segment, and snapshots if asked for, on rank 0."""
        taken = [part.take_rows() for part in self.parts if part.is_root]

        def joined(name: str, shape: tuple[int, ...], dtype: str) -> NDArray | None:
            here = np.empty((len(taken), *shape[1:]), dtype)
            for row, rows in zip(here, taken, strict=True):
                np.copyto(row, rows[name] if rows else 0, casting="same_kind")
            return self.world.gather(here)

        problem, every = self.problem, self.config.schedule.measure_every
        series = {name: joined(name, problem.shape(name, n_rows), VARIABLES[name].dtype) for name in problem.series}
        series["sweep"] = every * (np.arange(self.first_row, self.first_row + n_rows) + 1)
        if problem.annealing is not None:
            series["annealed_beta"] = np.array([problem.annealing.beta(int(sweep)) for sweep in series["sweep"]])
        weights_every = self.config.output.weights_every
        if not weights_every:
            return series, None
        sweeps = series["sweep"][series["sweep"] % weights_every == 0]
        dtype = "f8" if problem.prior.is_real else "u8"
        return series, {"sweep": sweeps, "weights": joined("weights", problem.snapshot_shape(len(sweeps)), dtype)}

    def _gather_states(self, states: list[dict[str, NDArray]]) -> dict[str, NDArray]:
        """Arrays of all parts joined along the first axis, on rank 0."""
        joined = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
        return {name: self.world.gather(array) for name, array in joined.items()}

    def _attributes(self) -> dict[str, int | str]:
        """Root attributes of the files."""
        return {
            "mcmc_version": __version__,
            "seed": self.config.seed,
            "run_toml": self.config.text,
            "burn_in": self.config.schedule.burn_in,
            "n_weights": self.problem.n_weights,
            "n_patterns": self.problem.n_patterns,
        }

    def _write_results(self, deflate: Each) -> None:
        """Rank 0: results.h5 from the segments and the last checkpoint."""
        self.files.write_results(*self._constant_results(), self.segments, deflate)

    def _constant_results(self) -> tuple[dict[str, NDArray], dict[str, object] | None, dict[str, int | str]]:
        """Rank 0: what results.h5 holds beside the time series: constants, data, root attributes."""
        problem, schedule, arrays = self.problem, self.config.schedule, self.checkpoint_arrays
        rows_after_burn_in = schedule.sweeps // schedule.measure_every - schedule.burn_in // schedule.measure_every
        constants = {
            "beta": self.beta,
            "magnetisation": arrays["weight_sum"] / rows_after_burn_in,
            "start": np.array(problem.starts),
        }
        if "waits" in arrays:
            constants["method"] = np.where(arrays["waits"], "waiting-time", "metropolis")
        constants |= {name: arrays[name] for name in _CONSTANTS if name in arrays}
        if "chain_first_passage" in arrays:
            constants["first_passage"] = arrays["chain_first_passage"].reshape(problem.by_rung)
        if problem.n_rungs > 1:
            constants |= {name: arrays[name] for name in ("exchange_accepted", "exchange_proposed")}
        data = self._data() if self.config.output.store_data else None
        return constants, data, self._attributes() | {"complete": 1}

    def _data(self) -> dict[str, object]:
        """The group `data`. Instances are made once more, one at a time, so that memory holds only one."""
        numbers = range(self.problem.n_instances)
        drawn, references = [], []
        for number, instance in zip(numbers, map(self.problem.instance, numbers), strict=True):
            drawn.append((instance.labels, instance.teacher))
            if self.problem.constraint is not None:
                references.append(self.problem.constraint.of(number, instance).reference)
        data: dict[str, object] = {
            "inputs": (self.problem.instance(number).inputs.dense() for number in numbers),
            "labels": np.array([labels for labels, _ in drawn]),
        }
        if self.problem.has_teacher:
            data["teacher"] = np.array([teacher for _, teacher in drawn])
        if references:
            data["reference"] = np.array(references)
        return data

    # --- status, log, messages: rank 0 ---

    def _log(self, line: str) -> None:
        self.home.log(f"{self.name}{line}")

    def _write_status(self) -> None:
        if self.world.rank == 0 and time.monotonic() >= self.status_due:
            with suppress(StorageError):  # if the disk is full, the next checkpoint says so on every rank
                self.home.write_status(self._status("running", ""))
            self.status_due = time.monotonic() + _STATUS_EVERY

    def _status(self, state: str, message: str) -> dict[str, object]:
        left = None
        if self.rate:
            left = (self.sweeps - self.sweep) * self.problem.proposals_per_sweep / self.rate
        return {
            "state": state,
            "sweep": self._sweep_of_run(),
            "sweeps": self.sweeps,
            "rate_proposals_per_s": self.rate,
            "seconds_left": left,
            "heartbeat": time.time(),
            "started": self.started,
            "elapsed_seconds": time.monotonic() - self.began,
            "hosts": self.hosts,
            "ranks": self.world.size,
            "pid": os.getpid(),
            "run_file_directory": os.path.abspath(self.config.directory),
            "message": message,
        }

    def _sweep_of_run(self) -> int:
        """Which status.json tells."""
        return self.sweep

    def _end(self, state: str, message: str) -> None:
        """The last entries; "complete" in status.json is the mark that a run has succeeded."""

        def write() -> None:
            self._log(message)
            self.home.write_status(self._status(state, f"{self.name}{message}"))

        self.world.broadcast(write)
        self._say(f"{self.home.path}: {self.name}{message}")
        if state == "complete":
            self._say(f"{self.files.path / RESULTS}")

    def _failed(self, error: BaseException | None) -> None:
        """The last entries. Of an error that all ranks raise alike rank 0 tells, of another the rank that has it."""
        if self.world.rank > 0 and isinstance(error, ConfigError | StorageError | DivergenceError):
            return
        where = f"{self.name}failed on rank {self.world.rank} at sweep {self.sweep}"
        message = f"{where}: {type(error).__name__}: {error}"
        if isinstance(error, DivergenceError):
            left = f"the last checkpoint is that of sweep {self.checkpointed}" if self.checkpointed else "no checkpoint"
            message = f"diverged: {error}; {left}"
            self.sweep = error.at[0]  # others have gone on
        with suppress(StorageError):  # the disk may be what failed
            before = self.home.read_status() or {}
            self.home.write_status(before | {"state": "failed", "sweep": self._sweep_of_run(), "message": message})
            self.home.log(message)

    def _warn(self, line: str) -> None:
        print(f"mcmc: warning: {line}", file=sys.stderr, flush=True)

    def _say(self, line: str) -> None:
        if self.world.rank == 0 and not self.quiet:
            print(line, flush=True)


class _Pilot(_Run):
    """A pilot run for the run `whole`, whose status and log tell of it. It leaves a checkpoint after its last sweep.

    That is in a directory of its own, which other commands do not take for a run; they find none yet.
    """

    def __init__(self, whole: _Run, number: int, beta: NDArray[np.float64], sweeps: int) -> None:
        files = whole.files.pilots
        super().__init__(whole.problem.trial(beta, sweeps), files.path, whole.everybody, whole.quiet)
        self.files, self.home, self._whole = files, whole.files, whole
        self.name, self.number = f"pilot run {number}: ", number
        self.started, self.began = whole.started, whole.began
        self._found: pilot.Finding | None = None

    def next_ladder(self) -> tuple[list[float], bool]:
        """Rank 0, after the last sweep: the ladder of the next run, and whether that shall be the run itself."""
        return self._found.beta, self._found.settled

    def _make_results(self, stop: Stop) -> str:
        self.world.broadcast(self._judge)
        return ""

    def _judge(self) -> None:
        """Rank 0."""
        accepted, proposed = (self.checkpoint_arrays[f"exchange_{what}"] for what in ("accepted", "proposed"))
        self._found = pilot.judge(self.number, self.beta, accepted.sum(axis=(0, 1)), proposed.sum(axis=(0, 1)))
        self._log(f"{self.sweeps} sweeps, {self.beta.size} rungs, {self._found.line}")

    def _open(self, stop: Stop) -> str:
        self.files.make()
        found, self._whole.pilot = self._whole.pilot, None
        if found is not None:
            self.sweep = self.checkpointed = int(found.attrs["sweep"])
            self.checkpoint_arrays = found.arrays
            self._log(f"continues at sweep {self.sweep}")
        return ""

    def _begin(self) -> None:
        """Nothing: the run has begun."""

    def _find_ladder(self, stop: Stop) -> bool:
        """It is given."""
        return True

    def _attributes(self) -> dict[str, int | str]:
        return super()._attributes() | {_PILOT: self.number}

    def _status(self, state: str, message: str) -> dict[str, object]:
        message = message or f"{self.name}sweep {self.sweep} of {self.sweeps}, {self.beta.size} rungs"
        return super()._status(state, message) | {"sweeps": self._whole.sweeps, "seconds_left": None}

    def _sweep_of_run(self) -> int:
        return 0

    def _end(self, state: str, message: str) -> None:
        if state != "complete":
            super()._end(state, message)

    def _warn(self, line: str) -> None:
        """Nothing: ranks that are idle now may have walkers of the run."""


class Replay(_Run):
    """A run made once more on this process, in a directory of its own, up to the sweep `last`.

    It begins at sweep 0, or at `start`. It leaves segments, a checkpoint at `last`, and at the end of the schedule
    results without the time series.
    """

    def __init__(
        self, problem: Problem, directory: Path, last: int, start: Checkpoint | None = None, quiet: bool = False
    ) -> None:
        super().__init__(problem, directory, Serial(), quiet)
        self.sweeps, self._start = last, start

    def _open(self, stop: Stop) -> str:
        self.files.lock()
        self.files.create(self.config.text)
        if self._start is not None:
            self.sweep = self.checkpointed = int(self._start.attrs["sweep"])
            self.checkpoint_arrays = self._start.arrays
        return ""

    def _find_ladder(self, stop: Stop) -> bool:
        """It is given."""
        return True

    def _restore(self) -> None:
        try:
            super()._restore()
        except (KeyError, IndexError, ValueError) as error:
            raise StorageError(f"the checkpoint to start from holds no state of this run: {error}") from None

    def _write_results(self, deflate: Each) -> None:
        if self.sweeps == self.config.schedule.sweeps:
            self.files.write_results(*self._constant_results(), [], deflate)

    def _say(self, line: str) -> None:
        """Nothing: who asked for the replay tells what it gave."""
