"""A part: the walkers of one instance that live on this rank, with the rows they have produced.

A part that is the whole instance exchanges inside the kernel. One that shares its instance with other ranks stops at
every exchange round to gather energies; all ranks then take the same decision. Likewise where the chain adapts to what
it has counted. The first rank of the instance (the `root` of the part's group) reduces rows to observables, so that
only numbers travel further.

A part whose chain diverges keeps the error and stands still. The other ranks of its instance do not know yet, so it
still answers them, until all ranks of the run have agreed; what is recorded from then on is of no use to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mcmc import observables
from mcmc.errors import DivergenceError
from mcmc.kernels import NEVER
from mcmc.parallel import Piece, World
from mcmc.problem import Problem
from mcmc.two_time import TwoTime

_COUNTED_HERE = ("accepted", "counts")
"""What a chain counts of the walkers of its block alone."""
_ADDED = ("accepted", "energy_error")
"""What rows hold by rung of the walkers of a block alone, 0 where there is none."""


class Part:
    """Walkers piece.start .. piece.stop - 1 of an instance. `group`: the ranks that hold the instance."""

    def __init__(self, problem: Problem, piece: Piece, group: World) -> None:
        config = problem.config
        self.problem, self.piece, self.group = problem, piece, group
        instance = problem.instance(piece.instance)
        self.teacher = None if instance.teacher is None else (instance.teacher, problem.teacher_architecture)
        self.test = instance.test
        self.constraint = problem.constraint and problem.constraint.of(piece.instance, instance)
        # the block keeps the patterns in a form of its own; the instance itself is forgotten
        walkers = range(piece.start, piece.stop)
        self.block = problem.block(instance, problem.initial_weights(piece.instance, instance, walkers))
        self.exchange_every = config.ladder.exchange_every if problem.n_rungs > 1 else 0
        self.measure_every, self.burn_in = config.schedule.measure_every, config.schedule.burn_in
        self.chain = problem.sampler.chain(
            self.block,
            seed=problem.walker_seed,
            beta=problem.beta,
            prior=problem.prior,
            constraint=self.constraint,
            instance=piece.instance,
            n_copies=problem.n_copies,
            first=piece.start,
            exchange_every=self.exchange_every,
            burn_in=self.burn_in,
            measure_every=self.measure_every,
            tuned_until=max(problem.tuning_sweeps, default=0),
            notes_passage=problem.annealing is not None,
        )
        self.weights_every = config.output.weights_every
        self.divergence: DivergenceError | None = None
        """Why the chain stands still."""
        self.two_time = TwoTime(config.output.waiting_times, config.schedule.sweeps, len(walkers), problem.n_weights)
        self._note_times(0)
        shape = (int(self.is_root), problem.n_copies, problem.n_rungs, problem.n_weights)
        self.weight_sum = np.zeros(shape, dtype=np.float64 if problem.prior.is_real else np.int64)
        """Sum of each weight over the rows after burn-in, (1, n_copies, n_rungs, n_weights); the root alone has it."""
        self.rows: list[dict[str, NDArray]] = []
        """Observables since the last segment, in pieces, on the root; `weights` are those of the snapshots."""
        self.held_bytes = 0
        """Bytes of `rows`."""
        self._energies = np.empty(problem.n_walkers)
        """Of the whole instance, at its latest exchange round."""
        self._energies_here = self._energies[piece.start : piece.stop]

    @property
    def is_root(self) -> bool:
        return self.group.rank == 0

    def advance(self, first: int, last: int) -> None:
        """Sweeps first .. last, then the rows they gave."""
        advance = self._advance_alone if self.group.size == 1 else self._advance_together
        done = first - 1
        while done < last:
            stop = min(last, self.two_time.next_event(done), self._anneal(done + 1))
            advance(done + 1, stop)
            self._note_times(stop)
            done = stop
        self._collect(first, last)

    def _anneal(self, sweep: int) -> int:
        """Takes the betas of a sweep; returns the last sweep that has the same."""
        annealing = self.problem.annealing
        if annealing is None:
            return NEVER
        beta = annealing.beta(sweep)
        if (beta != self.chain.beta).any():
            self.chain.set_beta(beta)
        return annealing.end_of_step(sweep)

    def _note_times(self, sweep: int) -> None:
        if self.divergence is None and self.two_time.next_event(sweep - 1) == sweep:
            self.two_time.record(sweep, self.problem.prior.stored(self.block.weights))

    def _advance_alone(self, first: int, last: int) -> None:
        self._unless_diverged(self.chain.advance, first, last)

    def _unless_diverged(self, advance: Callable[[int, int], None], first: int, last: int) -> None:
        if self.divergence is None:
            try:
                advance(first, last)
            except DivergenceError as error:
                self.divergence = error

    def _advance_together(self, first: int, last: int) -> None:
        done, adaptation = first - 1, self.chain.next_adaptation(first - 1)
        exchange, row = _next(done, self.exchange_every), _next(done, self.measure_every)
        while done < last:  # a sweep of a few walkers takes microseconds, and so does all that stands here
            stop = min(last, adaptation, exchange, row)
            self._unless_diverged(self.chain.sweep, done + 1, stop)
            if stop == exchange:
                self._gather_energies()
                self.chain.exchange(stop, self._energies)
                exchange += self.exchange_every
            if stop == row:
                self.chain.record()
                row += self.measure_every
            if stop == adaptation:
                self._adapt_together(stop)
                adaptation = self.chain.next_adaptation(stop)
            done = stop

    def _gather_energies(self) -> None:
        """Of the whole instance. NaN after a divergence: with such a walker nobody swaps."""
        self._energies_here[...] = self.block.energy if self.divergence is None else np.nan
        self._join_energies()

    @cached_property
    def _join_energies(self) -> Callable[[], None]:
        return self.group.joining(self._energies, slice(self.piece.start, self.piece.stop))

    def _adapt_together(self, sweep: int) -> None:
        counts = self.group.gather(self.chain.counts[None])
        shared = self.group.share({"counts": counts.sum(axis=0)} if self.is_root else None)
        self.chain.adapt(sweep, shared["counts"])

    def _collect(self, first: int, last: int) -> None:
        sweeps = np.arange(_next(first - 1, self.measure_every), last + 1, self.measure_every)
        if sweeps.size == 0 or (self.divergence is not None and self.group.size == 1):
            return
        taken = self.chain.take()
        if self.divergence is not None:
            taken["energy"][...] = np.nan
        if self.group.size > 1:
            for name in sorted(taken.keys() - {"walker_at"}):  # in one order on all ranks
                taken[name] = (self._added if name in _ADDED else self._of_all_walkers)(taken[name])
            if not self.is_root:
                return
        if not np.isfinite(taken["energy"]).all():  # a divergence here or on another rank of the instance
            return
        problem = self.problem
        rows = observables.Rows.by_rung(
            **taken,
            n_weights=problem.n_weights,
            proposals=self.chain.proposals * self.measure_every,
            n_units=problem.architecture.n_hidden,
            second_layer=problem.architecture.second_layer,
        )
        series = observables.series(
            rows,
            problem.architecture,
            self.teacher,
            self.test,
            regression=problem.config.data.labels == "real",
            has_norm=problem.prior.has_norm,
        )
        if self.constraint is not None:
            series["reference_overlap"] = observables.teacher_overlap(rows, self.constraint.reference)
            self._check_constraint(series["reference_overlap"], rows.walker, sweeps)
        if self.weights_every:
            series["weights"] = rows.stored(sweeps % self.weights_every == 0)
        self.rows.append(series)
        self.held_bytes += sum(array.nbytes for array in self.rows[-1].values())
        equilibrated = sweeps > self.burn_in
        if equilibrated.any():
            observables.add_weights(rows.since(int(np.argmax(equilibrated))), self.weight_sum[0])

    def _check_constraint(self, overlap: NDArray, walker: NDArray, sweeps: NDArray) -> None:
        """RuntimeError unless every row (rows, n_copies, n_rungs) has the overlap of the constraint, exactly."""
        wrong = np.argwhere(overlap != self.problem.constraint.overlap)
        if len(wrong):
            row, copy, rung = wrong[0]
            raise RuntimeError(
                f"instance {self.piece.instance}, copy {copy}, walker {walker[row, copy, rung]}, sweep {sweeps[row]}: "
                f"overlap {overlap[row, copy, rung]} with the reference, expected {self.problem.constraint.overlap}"
            )

    def _of_all_walkers(self, rows: NDArray) -> NDArray | None:
        """Rows (rows, walkers here, ...) as (rows, walkers of the instance, ...) on the root."""
        joined = self.group.gather(np.moveaxis(rows, 1, 0))
        return None if joined is None else np.moveaxis(joined, 0, 1)

    def _added(self, rows: NDArray) -> NDArray | None:
        """The sum over ranks, on the root; of reals all terms but one are 0."""
        terms = self.group.gather(rows[None])
        return None if terms is None else terms.sum(axis=0)

    def take_rows(self) -> dict[str, NDArray]:
        """The time series, and snapshots, since the last call, on the root: name -> (rows, ...)."""
        names = self.rows[0] if self.rows else ()
        taken = {name: np.concatenate([piece[name] for piece in self.rows]) for name in names}
        self.rows, self.held_bytes = [], 0
        return taken

    # --- the ladder ---

    @property
    def ladder_counts(self) -> NDArray[np.int64]:
        """What the ladder is tuned by: (1, len(LADDER_COUNTS), n_rungs) on the root, (0, ...) on its other ranks."""
        return self.chain.ladder_counts[None][: int(self.is_root)]

    def set_beta(self, beta: NDArray[np.float64]) -> None:
        """Goes on with a ladder that has moved, (n_rungs,), and counts anew."""
        self.chain.set_beta(beta)
        self.chain.ladder_counts[...] = 0

    # --- what a checkpoint holds ---

    @staticmethod
    def is_of_walkers(name: str) -> bool:
        """Whether an array of a checkpoint is one of `walker_state`, rather than of `instance_state`."""
        return name in ("weights", "waiting_weights", "correlation") or name.startswith(("cache_", "chain_"))

    def walker_state(self) -> dict[str, NDArray]:
        """Arrays (walkers here, ...)."""
        state = {"weights": self.problem.prior.stored(self.block.weights)}
        state |= {f"cache_{name}": values for name, values in self.block.caches().items()}
        state |= self.two_time.state()
        return state | {f"chain_{name}": values for name, values in self.chain.walker_state().items()}

    def instance_state(self) -> dict[str, NDArray]:
        """Arrays of the instance: (1, ...) on the root, (0, ...) on its other ranks."""
        state = {name: array[None] for name, array in self.chain.state().items()}
        for name in _COUNTED_HERE:
            if name in state:
                counts = self.group.gather(state[name])
                state[name] = counts.sum(axis=0, keepdims=True) if self.is_root else state[name]
        state["weight_sum"] = self.weight_sum
        if self.chain.step_size is not None:
            state["step_size"] = self.chain.step_size[None]
        if self.problem.teacher_has_norm:
            state["teacher_norm"] = observables.norm_of(self.teacher[0])[None]
        if self.teacher is not None and self.teacher[1].second_layer:
            state["teacher_second_layer"] = self.teacher[0][None, self.teacher[1].n_first :]
        return {name: array[: int(self.is_root)] for name, array in state.items()}

    def restore(self, walkers: dict[str, NDArray], instance: dict[str, NDArray]) -> None:
        """Continue from what `walker_state` has given of the walkers here, and `instance_state` of the instance."""
        caches = {name: walkers[f"cache_{name}"] for name in self.block.caches()}
        self.block.restore(self.problem.prior.loaded(walkers["weights"], self.problem.n_weights), caches)
        self.chain.restore({name: instance[name][0] for name in self.chain.state()})
        self.chain.restore_walkers({name: walkers[f"chain_{name}"] for name in self.chain.walker_state()})
        if "waiting_weights" in walkers:
            self.two_time.restore(walkers)
        if self.is_root:
            self.weight_sum[...] = instance["weight_sum"]
        else:
            self.chain.accepted[...] = self.chain.counts[...] = 0  # the root carries what was counted


def _next(sweep: int, every: int) -> int:
    """The first multiple of `every` after a sweep; never for 0."""
    return (sweep // every + 1) * every if every else NEVER
