"""Ladders that move in the burn-in: the rules on models whose barrier or flow is known, the kernel's counts against a
twin, whole runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

import mcmc
from mcmc import config, ladder
from mcmc.cli import run_command
from mcmc.errors import ConfigError
from mcmc.kernels.chain import LADDER_COUNTS
from mcmc.parallel import Piece, Serial
from mcmc.part import Part
from mcmc.problem import Problem
from mcmc.samplers import CONTINUOUS, SAMPLERS
from running import CASES, contents, tables, write_cases, write_run_file

COUNTS = tuple(LADDER_COUNTS)
STEEP = ladder.spaced("geometric", 0.02, 4.0, 14)
"""A ladder whose cold pairs hardly exchange in the models below."""

# --- when ---


@given(st.integers(0, 2**53 - 1), st.integers(1, 1000))
def test_rounds_double(burn_in: int, every: int) -> None:
    """The last one ends in the middle of the burn-in, and each has as many exchanges as are wanted."""
    ends = ladder.tuning_sweeps(burn_in, every)
    assert (len(ends) > 0) == (burn_in // 2 >= ladder.LEAST_EXCHANGES * every)
    if ends:
        assert ends[-1] == burn_in // 2
        assert ladder.LEAST_EXCHANGES * every <= ends[0] < 2 * ladder.LEAST_EXCHANGES * every
    assert all(end == following // 2 for end, following in pairwise(ends))


# --- where to ---

increments = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30)


@given(increments, st.data())
def test_equal_shares(steps: list[float], data: st.DataObject) -> None:
    """The ends stay, the order too, and a rung below which a whole number of shares lies stands where it stood."""
    weight = np.array(data.draw(st.lists(st.floats(1e-3, 1.0), min_size=len(steps), max_size=len(steps))))
    beta = np.concatenate([[0.0], np.cumsum(steps)])
    found = ladder.equal_shares(beta, weight)
    assert found[[0, -1]].tolist() == beta[[0, -1]].tolist()
    assert (np.diff(found) > 0).all()
    below = np.concatenate([[0.0], np.cumsum(weight)])
    wanted = below[-1] * np.arange(beta.size) / (beta.size - 1)
    between = np.searchsorted(below, wanted, side="right")
    for new, right in zip(found[1:-1], between[1:-1], strict=True):  # each in the interval where its share ends
        assert beta[right - 1] <= new <= beta[min(right, beta.size - 1)] * (1 + 1e-12)


@given(increments)
def test_equal_weights_move_nothing(steps: list[float]) -> None:
    beta = np.concatenate([[0.0], np.cumsum(steps)])
    found = ladder.equal_shares(beta, np.full(len(steps), 0.25))  # sums of which are exact
    np.testing.assert_allclose(found, beta, rtol=1e-12)


def test_slopes_of_the_cubic() -> None:
    """Inside as scipy has them; at the ends the chords'."""
    rng = np.random.default_rng(1)
    x, y = np.cumsum(rng.random((2, 12)), axis=1)
    found = ladder._monotone_slopes(x, y)
    np.testing.assert_allclose(found[1:-1], PchipInterpolator(x, y).derivative()(x)[1:-1])
    assert (found[0], found[-1]) == ((y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2]))


def test_the_cubic_meets_a_smooth_curve() -> None:
    """Of weights that are integrals of a known density, the new rungs stand where the density says."""
    x = np.linspace(0, 1, 16)[[0, 1, 2, 3, 4, 5, 7, 9, 11, 13, 15]]
    beta = x + x**2  # density of weight 1 / (1 + 2 beta')
    wanted = np.linspace(0, 1, 11)
    np.testing.assert_allclose(ladder.equal_shares(beta, np.diff(x)), wanted + wanted**2, atol=2e-3)
    straight = np.interp(wanted, x, beta)
    assert np.abs(straight - wanted - wanted**2).max() > 2e-3  # straight lines do not


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=20))
def test_falling(counted: list[tuple[int, int]]) -> None:
    part, of = (np.array(column) for column in zip(*counted, strict=True))
    expected = isotonic_regression(part / of, weights=of, increasing=False).x
    np.testing.assert_allclose(ladder._falling(part, of), expected, atol=1e-12)


def test_rejections_are_never_certain() -> None:
    found = ladder.rejections(np.array([0, 0, 5, 3]), np.array([0, 5, 5, 6]))
    np.testing.assert_allclose(found, [1 / 2, 5.5 / 6, 0.5 / 6, 0.5])


# --- models whose rejections are known ---


def gaussian_rejections(beta: np.ndarray, deviation: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Of independent energies of variance s(beta)^2 = -dE/dbeta, nearly: erf of half the integral of s over the pair.

    Exact for constant s: x = (b - b') (E - E') is normal of mean -m and variance 2 m, m = s^2 (b - b')^2.
    """
    middle = (beta[1:] + beta[:-1]) / 2
    return special.erf(deviation(middle) * np.diff(beta) / 2)


def counted(rejection: np.ndarray, proposed: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    n = len(rejection) + 1
    counts = {name: np.zeros(n, dtype=np.int64) for name in COUNTS}
    counts["proposed"][:-1] = proposed
    counts["accepted"][:-1] = rng.binomial(proposed, 1 - rejection)
    return counts


MODELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": lambda beta: np.full_like(beta, 4.0),
    "bump": lambda beta: 1.0 + 12 * np.exp(-((beta - 1.5) ** 2) / 0.08),
    "freezing": lambda beta: 10 / (1 + beta**2),
}


@pytest.mark.parametrize("model", MODELS)
def test_barrier_makes_rejections_equal(model: str) -> None:
    """Within 0.1, after rounds that double from 16 proposals on: the last round has 2048, its errors are below 0.012,
    and of some 40 pairs none is off by 0.05 with a chance of 1e-3."""
    rng = np.random.default_rng(5)
    beta = STEEP
    before = gaussian_rejections(beta, MODELS[model])
    assert np.ptp(before) > 0.4  # there is something to do
    for k in range(8):
        beta = ladder.tuned("barrier", beta, counted(gaussian_rejections(beta, MODELS[model]), 16 << k, rng)).beta
    after = gaussian_rejections(beta, MODELS[model])
    assert np.ptp(after) < 0.1
    assert beta[[0, -1]].tolist() == STEEP[[0, -1]].tolist()


def test_the_barrier_is_that_of_the_model() -> None:
    """s (beta_max - beta_min) / sqrt(pi) for constant s and small steps (the local barrier is s / sqrt(pi))."""
    beta = ladder.spaced("linear", 0, 2, 101)
    rejection = gaussian_rejections(beta, MODELS["constant"])
    assert rejection.sum() == pytest.approx(4.0 * 2 / np.sqrt(np.pi), rel=1e-3)


def test_without_moving_rejections_are_not_equal() -> None:
    """The negative control: a rule that gives all pairs the same weight leaves the ladder bad."""
    beta = ladder.equal_shares(STEEP, np.full(13, 0.5))
    assert np.ptp(gaussian_rejections(beta, MODELS["bump"])) > 0.4


def diffusion(beta: np.ndarray, speed: Callable[[np.ndarray], np.ndarray], n_visits: int) -> dict[str, np.ndarray]:
    """Counts of walkers that diffuse in beta with the local coefficient D.

    They step over a pair of width d at the rate D / d^2, and the current is the same through all pairs: the flow falls
    in proportion to d^2 / D.
    """
    fall = np.diff(beta) ** 2 / speed((beta[1:] + beta[:-1]) / 2)
    f = 1 - np.concatenate([[0.0], np.cumsum(fall)]) / fall.sum()
    counts = {name: np.zeros(beta.size, dtype=np.int64) for name in COUNTS}
    counts["from_first"] = np.rint(n_visits * f).astype(np.int64)
    counts["from_last"] = n_visits - counts["from_first"]
    counts["arrived"][[0, -1]] = n_visits
    counts["proposed"][:-1], counts["accepted"][:-1] = 100, 50
    return counts


def test_flow_puts_rungs_where_walkers_are_slow() -> None:
    """Equal falls of f from rung to rung are what the rule converges to: then flow and current are the same by rung."""

    def speed(beta: np.ndarray) -> np.ndarray:
        return 1 - 0.95 * np.exp(-((beta - 1.5) ** 2) / 0.05)

    beta = ladder.spaced("linear", 0, 3, 21)
    for _ in range(6):
        found = ladder.tuned("flow", beta, diffusion(beta, speed, 10**7))
        assert found.rule == "flow"
        beta = found.beta
    width = np.diff(beta)
    assert width.min() < 0.3 * width.max()
    assert abs(beta[int(np.argmin(width))] - 1.5) < 0.1
    falls, even = (
        -np.diff(diffusion(at, speed, 10**7)["from_first"]) for at in (beta, ladder.spaced("linear", 0, 3, 21))
    )
    assert falls.max() / falls.min() < 1.2
    assert even.max() / even.min() > 5


def test_flow_with_few_arrivals_is_barrier() -> None:
    rng = np.random.default_rng(2)
    counts = counted(gaussian_rejections(STEEP, MODELS["bump"]), 100, rng)
    counts["from_first"], counts["from_last"] = rng.integers(1, 9, (2, STEEP.size))
    counts["arrived"][0] = ladder.LEAST_ARRIVALS * STEEP.size - 1
    found, barrier = (ladder.tuned(rule, STEEP, counts) for rule in ("flow", "barrier"))
    assert found.rule == "barrier"
    np.testing.assert_array_equal(found.beta, barrier.beta)
    counts["arrived"][0] += 1
    assert ladder.tuned("flow", STEEP, counts).rule == "flow"


@given(st.integers(3, 12), st.integers(0, 2**32))
def test_any_counts_give_a_ladder(n_rungs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = {name: rng.integers(0, 3, n_rungs) for name in COUNTS}
    counts["proposed"] = counts["accepted"] + rng.integers(0, 3, n_rungs)
    counts["from_last"][0], counts["from_first"][-1] = 0, 0
    counts["from_first"][0] += 1
    for arrived in (0, 1000):
        counts["arrived"][0] = arrived
        for rule in ("barrier", "flow"):
            beta = ladder.tuned(rule, ladder.spaced("geometric", 0.1, 5, n_rungs), counts).beta
            assert (beta[0], beta[-1]) == (0.1, 5)
            assert (np.diff(beta) > 0).all()


# --- the kernel ---

TUNED = {"ladder.tune": "barrier", "schedule.burn_in": 200, "schedule.sweeps": 400, "schedule.measure_every": 1}


def part_of(changes: dict[str, Any]) -> Part:
    problem = Problem(config.load(tables(changes)))
    return Part(problem, Piece(0, 0, problem.n_walkers), Serial())


def twin_counts(walker: np.ndarray) -> dict[str, np.ndarray]:
    """From the walkers after every round, (round, copy, rung), of which the first is round 1."""
    n_rounds, n_copies, n = walker.shape
    counts = {name: np.zeros(n, dtype=np.int64) for name in COUNTS}
    for copy in range(n_copies):
        before, end = list(range(n)), dict.fromkeys(range(n), "")
        for number in range(n_rounds):
            now = walker[number, copy].tolist()
            for s in range((number + 1) % 2, n - 1, 2):
                counts["proposed"][s] += 1
                counts["accepted"][s] += now[s] != before[s]
            for rung, name in ((0, "first"), (n - 1, "last")):
                counts["arrived"][rung] += end[now[rung]] not in ("", name)
                end[now[rung]] = name
            for rung in range(n):
                if end[now[rung]]:
                    counts[f"from_{end[now[rung]]}"][rung] += 1
            before = now
    return counts


@pytest.mark.parametrize("n_rungs", [3, 4])
def test_counts(n_rungs: int) -> None:
    """In the first half of the burn-in, and not beyond."""
    part = part_of(TUNED | {"ladder.beta": np.linspace(0.2, 1.0, n_rungs).tolist()})
    part.advance(1, 150)
    walker = part.take_rows()["walker"]
    found = dict(zip(COUNTS, part.ladder_counts[0], strict=True))
    expected = twin_counts(walker[:100])
    assert min(expected["arrived"][[0, -1]].min(), expected["accepted"][:-1].min()) > 0
    for name in COUNTS:
        np.testing.assert_array_equal(found[name], expected[name], name)
    assert (part.chain.exchange_proposed == 0).all()  # which counts after the burn-in alone
    part.set_beta(part.chain.beta)
    assert (part.ladder_counts == 0).all()  # counted anew


def chains() -> dict[str, dict[str, Any]]:
    """One case for every sampler."""
    gaussian = {"model.weights": "gaussian", "model.loss.name": "logistic", "model.n_inputs": 14}
    steps = {"langevin": 0.1, "underdamped": 0.1, "sgld": 0.05}
    found: dict[str, dict[str, Any]] = {name: {"sampler.method": name} for name in SAMPLERS}
    found["waiting-time-real"] = CASES["waiting-time-real"] | {"ladder.exchange_every": 1}
    found["constraint"] = {"constraint": {"reference": "teacher", "overlap": 0.5}}
    for name in CONTINUOUS:
        sampler = {"method": name} | ({"step_size": steps[name]} if name in steps else {})
        sampler |= {"batch_size": 3} if name == "sgld" else {}
        found[f"gaussian-{name}"] = gaussian | {"sampler": sampler}
    return found


@pytest.mark.parametrize("case", chains())
def test_a_chain_on_a_moved_ladder(case: str) -> None:
    """As one that has always been there: of every sampler, whatever it keeps that depends on beta.

    From the same state: the ladder is moved back and forth before the first sweep.
    """
    schedule = {"sweeps": 80, "burn_in": 64, "measure_every": 4}
    changes = {key: value for key, value in chains()[case].items() if not key.startswith("schedule.")}
    changes |= {"ladder.tune": "barrier", "schedule": schedule}
    there, moved, elsewhere = (
        part_of(changes | {"ladder.beta": beta})
        for beta in ([0.2, 0.6, 1.4, 2.0], [0.2, 0.3, 0.4, 2.0], [0.2, 0.3, 0.4, 2.0])
    )
    moved.set_beta(np.array([0.2, 0.6, 1.4, 2.0]))
    rows = []
    for part in (there, moved, elsewhere):
        part.advance(1, 80)
        rows.append(part.take_rows())
    for name, values in rows[0].items():
        np.testing.assert_array_equal(rows[1][name], values, name)
    assert (rows[2]["energy"] != rows[0]["energy"]).any()  # the ladder matters


@pytest.mark.parametrize("case", ["waiting-time", "waiting-time-real", "auto"])
def test_a_ladder_that_moves_on_the_way(case: str) -> None:
    """What waiting times know of a walker is forgotten: as after a restart, which knows nothing."""
    schedule = {"sweeps": 80, "burn_in": 64, "measure_every": 4}
    changes = {key: value for key, value in chains()[case].items() if not key.startswith("schedule.")}
    changes |= {"ladder.tune": "barrier", "schedule": schedule, "ladder.beta": [1.0, 2.0, 3.0, 4.0]}
    going, again = part_of(changes), part_of(changes)
    going.advance(1, 32)
    going.take_rows()
    again.restore(going.walker_state(), going.instance_state())
    for part in (going, again):
        part.set_beta(np.array([1.0, 1.2, 1.4, 4.0]))
        part.advance(33, 80)
    rows = [part.take_rows() for part in (going, again)]
    for name, values in rows[0].items():
        np.testing.assert_array_equal(rows[1][name], values, name)


def test_betas_that_are_none() -> None:
    part = part_of(TUNED)
    for bad in ([0.1, 0.2], [0.1, 0.2, np.nan, 1.0], [-1.0, 0.2, 0.3, 1.0]):
        with pytest.raises(ValueError, match="beta: expected 4 finite numbers >= 0"):
            part.chain.set_beta(bad)


# --- whole runs ---

RANDOM_LABELS = {
    "model.n_inputs": 101,
    "data": {"source": "random", "alpha": 0.5, "n_instances": 4},
    "ladder.beta": {"min": 0.05, "max": 6.0, "n": 8, "spacing": "geometric"},
    "ladder.n_copies": 4,
    "schedule": {"sweeps": 6000, "burn_in": 2000, "measure_every": 2},
}
"""Random labels below the capacity, down to T = 1/6: the geometric ladder has pairs that exchange at a few percent."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mcmc.Results]:
    """Of each rule, by name."""
    directory = tmp_path_factory.mktemp("tuned")
    found = {}
    for rule in ladder.RULES:
        file = write_run_file(directory / f"{rule}.toml", RANDOM_LABELS | {"ladder.tune": rule})
        assert run_command(["run", str(file), "-o", str(directory / rule), "--quiet"]) == 0
        found[rule] = mcmc.load(directory / rule)
    return found


def test_rejections_are_equal(runs: dict[str, mcmc.Results]) -> None:
    """Within 0.1 after tuning; before, they were not, and a pair exchanged at less than 5 %."""
    barrier, none = runs["barrier"].exchange(), runs["none"].exchange()
    assert np.ptp(barrier.rejection) < 0.1
    assert np.ptp(none.rejection) > 0.5
    assert none.acceptance.min() < 0.05
    assert barrier.beta[[0, -1]].tolist() == none.beta[[0, -1]].tolist() == [0.05, 6.0]
    assert "acceptance" in " ".join(none.advice)
    assert not any("equal ones" in line for line in barrier.advice)


@pytest.mark.parametrize("rule", ["barrier", "flow"])
def test_twice_as_many_round_trips(rule: str, runs: dict[str, mcmc.Results]) -> None:
    """16 ladders: by a one-sided test at 1e-3 over them."""
    before, after = (runs[name].exchange().round_trips.sum(axis=-1).ravel() for name in ("none", rule))
    assert after.sum() >= 2 * before.sum()
    change = after - before
    assert change.mean() / (change.std(ddof=1) / np.sqrt(change.size)) > 3.7  # Student's t, 15 degrees of freedom


GOOD = {
    "model.n_inputs": 51,
    "data": {"source": "random", "alpha": 0.5, "n_instances": 4},
    "ladder": {"beta": {"min": 0.5, "max": 2.0, "n": 6, "spacing": "geometric"}, "n_copies": 4},
    "schedule": {"sweeps": 4000, "burn_in": 1000, "measure_every": 1},
}
"""A ladder all of whose pairs exchange at some 60 to 70 %."""


def test_a_good_ladder_is_not_made_worse(tmp_path: Path) -> None:
    """Round trips of 16 ladders, one-sided at 1e-3 for each rule."""
    trips = {}
    for rule in ladder.RULES:
        file = write_run_file(tmp_path / f"{rule}.toml", GOOD | {"ladder.tune": rule})
        assert run_command(["run", str(file), "-o", str(tmp_path / rule), "--quiet"]) == 0
        trips[rule] = mcmc.load(tmp_path / rule).exchange().round_trips.sum(axis=-1).ravel()
    assert trips["none"].mean() > 50
    for rule in ("barrier", "flow"):
        change = trips[rule] - trips["none"]
        assert change.mean() / (change.std(ddof=1) / np.sqrt(change.size)) > -3.7


def test_exchanges_are_those_after_the_burn_in(runs: dict[str, mcmc.Results]) -> None:
    proposed = [run.dataset["exchange_proposed"].to_numpy() for run in runs.values()]
    for each in proposed:
        np.testing.assert_array_equal(each, 2000)  # every other round of 4000


def test_the_log_tells(runs: dict[str, mcmc.Results]) -> None:
    lines = {name: (run.path / "run.log").read_text().splitlines() for name, run in runs.items()}
    told = {name: [line for line in found if "ladder moved" in line] for name, found in lines.items()}
    assert {name: len(found) for name, found in told.items()} == {"none": 0, "barrier": 5, "flow": 5}
    for line, sweep in zip(told["barrier"], (62, 125, 250, 500, 1000), strict=True):
        assert f"ladder moved at sweep {sweep} (barrier): barrier " in line
    assert "(barrier, for flow only " in told["flow"][0]


def test_the_checkpoint_has_the_ladder(runs: dict[str, mcmc.Results]) -> None:
    results = runs["barrier"]
    found = contents(results.path / "checkpoint.h5")
    assert found["arrays/beta"][2] == results.dataset["beta"].to_numpy().tobytes()
    assert found["arrays/ladder_counts"][1] == (4, len(COUNTS), 8)
    assert "arrays/ladder_counts" not in contents(runs["none"].path / "checkpoint.h5")


@pytest.mark.parametrize("case", ["tuned-barrier", "tuned-flow"])
@pytest.mark.parametrize("option", [[], ["--from-checkpoint"], ["--fraction", "0.5"]])
def test_verify(case: str, option: list[str], tmp_path: Path) -> None:
    write_cases(tmp_path)
    out = tmp_path / "out"
    assert run_command(["run", str(tmp_path / f"{case}.toml"), "-o", str(out), "--quiet"]) == 0
    assert run_command(["verify", str(out), *option, "--quiet"]) == 0


def test_another_ladder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a replay that moves the ladder elsewhere is told apart."""
    write_cases(tmp_path)
    out = tmp_path / "out"
    assert run_command(["run", str(tmp_path / "tuned-barrier.toml"), "-o", str(out), "--quiet"]) == 0
    monkeypatch.setattr(ladder, "rejections", lambda accepted, proposed: (proposed - accepted + 1) / (proposed + 2))
    assert run_command(["verify", str(out), "--quiet"]) == 3


# --- the number of rungs, see test_pilots.py too ---


def test_rungs_of_a_known_barrier() -> None:
    """Constant local barrier 4 / sqrt(pi), length 3.98: Lambda = 8.98. From saturated rejections upwards."""
    beta = ladder.spaced("linear", 0.02, 4.0, 3)
    numbers = []
    for _ in range(6):
        rejection = gaussian_rejections(beta, MODELS["constant"])
        numbers.append(ladder.rungs_wanted(rejection.sum()))
        beta = ladder.equal_shares(beta, rejection, numbers[-1])
    assert numbers[0] == 5
    assert numbers == sorted(numbers)
    assert numbers[-1] == numbers[-2]
    barrier = 4 * 3.98 / np.sqrt(np.pi)
    assert 2 * barrier * 0.9 < numbers[-1] <= np.ceil(2 * barrier) + 1  # rejections of 1/2 add up to a little less


# --- what is refused, and what is said before ---


def test_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_run_file(tmp_path / "run.toml", RANDOM_LABELS | {"ladder.tune": "flow"})
    assert run_command(["run", str(file), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "6 at first; tuned (flow) at the end of sweeps 62, 125, 250, 500, 1000\n" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ladder.tune": "barier"},
            "ladder.tune: got 'barier', expected one of none, barrier, flow; did you mean 'barr",
        ),
        ({"schedule.burn_in": 0}, "schedule.burn_in: got 0, expected an integer >= 64, in which the ladder is tuned"),
        ({"ladder.exchange_every": 3}, "schedule.burn_in: got 100, expected an integer >= 192, in which"),
        ({"ladder.exchange_every": 0}, "ladder.exchange_every: got 0, expected an integer >= 1 with ladder.tune"),
        ({"ladder.beta": [1.0]}, "ladder.tune: got 'barrier', expected 'none' with 1 rungs: the ends of the ladder"),
        (
            {"ladder.tune": "none", "ladder.beta": {"min": 0.1, "max": 1.0, "n": "auto"}},
            "ladder.tune: got 'none', expected 'barrier' or 'flow' with ladder.beta.n = 'auto'",
        ),
        (
            {"ladder.beta": {"min": 0.1, "max": 1.0, "n": "many"}},
            "ladder.beta.n: got 'many', expected an integer >= 1, at most 65536, or \"auto\"",
        ),
        (
            {"ladder.beta": {"min": 1.0, "max": 1.0, "n": "auto"}},
            "ladder.beta.n: got 'auto', expected 1 where min = max",
        ),
        ({"ladder.beta": [1.0, 2.0]}, "ladder.tune: got 'barrier', expected 'none' with 2 rungs"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    asked = {"ladder.tune": "barrier", "schedule.burn_in": 100, "schedule.sweeps": 200} | changes
    with pytest.raises(ConfigError) as raised:
        config.load(tables(asked))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_steps_by_rung_are_refused() -> None:
    asked = CASES["spherical-langevin"] | {"ladder.tune": "barrier", "ladder.exchange_every": 1}
    asked |= {"schedule.burn_in": 100, "schedule.sweeps": 200}
    with pytest.raises(ConfigError, match=r"sampler.step_size: .* expected one number or 'auto' with ladder.tune"):
        config.load(tables(asked))
