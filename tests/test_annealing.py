"""Simulated annealing in the burn-in: the steps, what a run makes of them, and when walkers first have no energy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcmc
from mcmc import config
from mcmc.annealing import Annealing
from mcmc.errors import ConfigError
from mcmc.kernels import NEVER
from mcmc.parallel import Piece, Serial
from mcmc.part import Part
from mcmc.problem import Problem
from mcmc.samplers import CONTINUOUS
from running import CASES, GAUSSIAN, tables

BETA = np.array([0.5, 1.0, 3.0])
SOLVABLE = {
    "model.n_inputs": 51,
    "data": {"source": "random", "alpha": 0.3, "n_instances": 3},
    "ladder.beta": [1.0, 4.0],
    "schedule": {"sweeps": 220, "burn_in": 200, "measure_every": 1},
    "schedule.annealing": {"beta": 0.2},
}
TUNED = GAUSSIAN | {"sampler.method": "hmc"}


@pytest.mark.parametrize("spacing", ["linear", "geometric", "linear-temperature"])
@pytest.mark.parametrize("sweeps", [2, 3, 17, 999, 1000, 1001, 5432])
def test_steps(spacing: str, sweeps: int) -> None:
    """From the first beta to the last, never down, in steps that end where they say; then the ladder's own bits."""
    annealing = Annealing(0.5, BETA, spacing, sweeps)
    betas = np.array([annealing.beta(sweep) for sweep in range(1, sweeps + 3)])
    np.testing.assert_array_equal(betas[0], 0.5)
    for late in betas[sweeps - 1 :]:
        np.testing.assert_array_equal(late, BETA)
    assert (np.diff(betas, axis=0) >= 0).all()
    changes = np.flatnonzero((np.diff(betas, axis=0) != 0).any(axis=1)) + 1  # the last sweep of every step
    ends, sweep = [], 0
    while (sweep := annealing.end_of_step(sweep + 1)) != NEVER:
        ends.append(sweep)
    assert ends == changes.tolist()
    assert len(ends) == min(sweeps, 1000) - 1
    lengths = np.diff([0, *ends, sweeps])
    assert lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize(
    ("spacing", "of"), [("linear", lambda b: b), ("geometric", np.log), ("linear-temperature", lambda b: 1 / b)]
)
def test_spacings(spacing: str, of) -> None:
    """Equal steps of beta, of its logarithm, of the temperature."""
    annealing = Annealing(0.1, BETA, spacing, 11)
    way = of(np.array([annealing.beta(sweep) for sweep in range(1, 12)]))
    np.testing.assert_allclose(np.diff(way, axis=0), np.broadcast_to((way[-1] - way[0]) / 10, (10, 3)), rtol=1e-9)


@pytest.mark.parametrize("method", ["metropolis", "heat-bath", "waiting-time"])
def test_a_run_is_a_chain_whose_beta_is_set(method: str, tmp_path: Path) -> None:
    """Sweep by sweep, by hand."""
    asked = tables(SOLVABLE | {"sampler.method": method, "ladder.exchange_every": 3})
    found = mcmc.run(asked, tmp_path, quiet=True).dataset
    problem = Problem(config.load(asked))
    annealing = problem.annealing
    expected_beta = np.array([annealing.beta(sweep) for sweep in found["sweep"].to_numpy()])
    np.testing.assert_array_equal(found["annealed_beta"], expected_beta)
    np.testing.assert_array_equal(found["beta"], [1.0, 4.0])
    plain = Problem(config.load(_without_annealing(asked)))
    for instance in range(problem.n_instances):
        part = Part(plain, Piece(instance, 0, plain.n_walkers), Serial())
        for sweep in range(1, 221):
            part.chain.set_beta(annealing.beta(sweep))
            part.advance(sweep, sweep)
        rows = part.take_rows()
        np.testing.assert_array_equal(rows["energy"], found["energy"][instance])
        np.testing.assert_array_equal(rows["walker"], found["walker"][instance])


def _without_annealing(asked: dict) -> dict:
    schedule = {name: value for name, value in asked["schedule"].items() if name != "annealing"}
    return asked | {"schedule": schedule}


@pytest.mark.parametrize("exchange_every", [0, 2])
def test_first_passage(exchange_every: int, tmp_path: Path) -> None:
    """The first row in which the walker, wherever it is, has no energy."""
    asked = tables(SOLVABLE | {"ladder.exchange_every": exchange_every, "data.alpha": 0.15})
    found = mcmc.run(asked, tmp_path, quiet=True).dataset
    energy, walker = (
        found[name].transpose("instance", "copy", "rung", "sample").to_numpy() for name in ("energy", "walker")
    )
    if exchange_every == 0:
        walker = np.broadcast_to(np.arange(2)[:, None], walker.shape)
    expected = np.full(energy.shape[:3], -1)
    for instance, copy, born in np.ndindex(expected.shape):
        solved = (energy[instance, copy] == 0) & (walker[instance, copy] == born)
        if solved.any():
            expected[instance, copy, born] = found["sweep"][np.flatnonzero(solved.any(axis=0))[0]]
    np.testing.assert_array_equal(found["first_passage"].transpose("instance", "copy", "rung"), expected)
    assert (expected > 20).any()


@pytest.mark.parametrize("case", ["annealed", "annealed-sgld"])
def test_first_passage_does_not_wait_for_a_row(case: str, tmp_path: Path) -> None:
    """Minibatches need no energies of their own; who looks out for E = 0 does, after every sweep."""
    runs = [tables(CASES[case] | {"ladder.exchange_every": 0, "schedule.measure_every": every}) for every in (1, 10)]
    each, tenth = (mcmc.run(run, tmp_path / str(k), quiet=True).dataset for k, run in enumerate(runs))
    np.testing.assert_array_equal(each["first_passage"], tenth["first_passage"])
    solved = each["energy"].transpose("instance", "copy", "rung", "sample").to_numpy() == 0
    assert solved.any(axis=-1).mean() > 0.5
    expected = np.where(solved.any(axis=-1), 1 + solved.argmax(axis=-1), -1)
    np.testing.assert_array_equal(each["first_passage"], expected)
    assert (expected % 10 > 0).any()


def test_annealing_reaches_lower_energies_than_a_quench(tmp_path: Path) -> None:
    """After the same number of sweeps; 30 instances."""
    asked = SOLVABLE | {"model.n_inputs": 101, "data.alpha": 0.7, "data.n_instances": 30, "ladder.beta": [6.0]}
    asked |= {"schedule": {"sweeps": 1600, "burn_in": 1500, "measure_every": 100}, "schedule.annealing": {"beta": 0.5}}
    runs = {"annealed": tables(asked), "quenched": _without_annealing(tables(asked))}
    energy = {
        name: mcmc.run(run, tmp_path / name, quiet=True).equilibrium()["energy"].mean(("sample", "copy", "rung"))
        for name, run in runs.items()
    }
    gain = (energy["quenched"] - energy["annealed"]).to_numpy()
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(len(gain))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule.annealing": {}}, "schedule.annealing.beta: missing"),
        ({"schedule.annealing": {"beta": 2.0}}, r"schedule.annealing.beta: got 2.0, expected a number <= 1.0"),
        ({"schedule.annealing": {"beta": 0.0, "spacing": "geometric"}}, "a number > 0 for geometric spacing"),
        ({"schedule.annealing": {"beta": 0.1, "spacing": "cubic"}}, "got 'cubic', expected one of linear, geometric"),
        ({"schedule.burn_in": 1}, "schedule.burn_in: got 1, expected an integer >= 2"),
        ({"ladder": {"beta": [1.0, 2.0, 4.0], "tune": "barrier"}}, "ladder.tune: got 'barrier', expected 'none'"),
        ({"schedule.annealing": 0.3}, r"expected a table \[schedule.annealing\]"),
        (TUNED, r"sampler.step_size: got .*, expected a number with schedule.annealing: tuned on hotter rungs"),
        (
            TUNED | {"sampler.step_size": "auto"},
            "sampler.step_size: got 'auto', expected a number with schedule.anneal",
        ),
    ],
)
def test_wrong_input(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        config.load(tables(SOLVABLE | changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("method", [name for name, kind in CONTINUOUS.items() if kind.target is not None])
def test_steps_must_be_given_where_they_would_be_tuned(method: str) -> None:
    """By every method that tunes; without annealing it may, with annealing it takes a number, or one for each rung."""
    asked = tables(SOLVABLE | GAUSSIAN | {"sampler.method": method})
    with pytest.raises(ConfigError, match=r"^sampler\.step_size: got nothing"):
        config.load(asked)
    config.load(_without_annealing(asked))
    for step_size in (0.1, [0.1, 0.05]):
        asked["sampler"]["step_size"] = step_size
        config.load(asked)


def test_methods_that_tune_nothing_need_no_step() -> None:
    for changes in ({"sampler.method": "heat-bath"}, GAUSSIAN | {"sampler.method": "elliptical-slice"}):
        config.load(tables(SOLVABLE | changes))
