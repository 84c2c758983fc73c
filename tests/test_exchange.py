"""Exchange diagnostics on histories of walkers whose law is known, and advice on ladders that are good or bad."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from mcmc.analysis.exchange import Exchange, Histogram, advice, rungs_wanted, travels
from mcmc.analysis.results import Results
from mcmc.schema import VARIABLES
from synthetic import synthetic

N_LADDERS, N_ROUNDS = 16, 12_000
RUN_TOML = 'seed = 1\n[model.loss]\nname = "hinge"\n[ladder]\nexchange_every = {}\n[schedule]\nsweeps = 1\n'


def alternating(row: int, rng: np.random.Generator) -> int:
    """The even-odd scheme."""
    return row % 2


def at_random(row: int, rng: np.random.Generator) -> int:
    """Even or odd pairs by a coin: the walkers diffuse."""
    return int(rng.integers(2))


def history(
    rejection: np.ndarray,
    rng: np.random.Generator,
    parity: Callable[[int, np.random.Generator], int] = alternating,
    n_rounds: int = N_ROUNDS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walkers whose exchanges are rejected independently: (rung, ladder, row), and accepted and proposed (swap,)."""
    n = len(rejection) + 1
    now = rng.permuted(np.tile(np.arange(n), (N_LADDERS, 1)), axis=1)
    rows = np.empty((n_rounds, N_LADDERS, n), dtype=np.uint16)
    accepted, proposed = np.zeros(n - 1, dtype=int), np.zeros(n - 1, dtype=int)
    for row in range(n_rounds):
        low = np.arange(parity(row, rng), n - 1, 2)
        swap = rng.random((N_LADDERS, len(low))) >= rejection[low]
        a, b = now[:, low], now[:, low + 1]
        now[:, low], now[:, low + 1] = np.where(swap, b, a), np.where(swap, a, b)
        accepted[low] += swap.sum(axis=0)
        proposed[low] += N_LADDERS
        rows[row] = now
    return np.moveaxis(rows, 0, -1).swapaxes(0, 1), accepted, proposed


def results_of(
    walker: np.ndarray,
    accepted: np.ndarray,
    proposed: np.ndarray,
    energy: np.ndarray | None = None,
    exchange_every: int = 1,
    measure_every: int = 1,
) -> Results:
    """A run of 4 instances and N_LADDERS / 4 copies in which walkers (rung, ladder, row) went so."""
    n, n_ladders, n_rows = walker.shape
    shape = 4, n_ladders // 4, n, n_rows

    def series(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.moveaxis(values, 1, 0).reshape(shape), -1, 1)

    share = np.full((4, n_ladders // 4, 1), 4 / n_ladders / 4)
    data = {
        "walker": series(walker).astype(np.int32),
        "energy": series(np.zeros(walker.shape) if energy is None else energy),
        "exchange_accepted": accepted * share,
        "exchange_proposed": proposed * share,
    }
    variables = {name: (VARIABLES[name].dims, values) for name, values in data.items()}
    coordinates = {
        "beta": ("rung", 0.5 * np.arange(1, n + 1)),
        "sweep": ("sample", measure_every * np.arange(1, n_rows + 1)),
    }
    return Results(
        xr.Dataset(variables, coordinates, {"burn_in": 0, "run_toml": RUN_TOML.format(exchange_every)}),
    )


def diagnosed(rejection: list[float], seed: int = 0, **how: Callable[[int, np.random.Generator], int]) -> Exchange:
    return results_of(*history(np.array(rejection), np.random.default_rng(seed), **how)).exchange()


# --- what walkers do ---


def brute_travels(walker: np.ndarray, hot: int, cold: int) -> dict[str, np.ndarray]:
    """`travels`, row by row."""
    n, n_rows = walker.shape
    trips, last = np.zeros(n, dtype=int), np.full(n, -1)
    visits, passages = np.zeros((2, n), dtype=int), np.zeros((n, n), dtype=int)
    end = [None] * n  # hot or cold, whichever the walker saw last
    from_cold = [False] * n  # whether it has been at the cold end before that
    for row in range(n_rows):
        for rung in range(n):
            w = walker[rung, row]
            if rung == hot:
                end[w] = "hot"
            elif rung == cold:
                if end[w] == "hot" and from_cold[w]:
                    trips[w] += 1
                    last[w] = row
                end[w], from_cold[w] = "cold", True
            if end[w] is not None:
                visits[int(end[w] == "cold"), rung] += 1
            if row:
                passages[int(np.flatnonzero(walker[:, row - 1] == w)[0]), rung] += 1
    return {"round_trips": trips, "last_arrival": last, "visits": visits, "passages": passages}


@pytest.mark.parametrize("n_rungs", [2, 3, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_travels(n_rungs: int, reverse: bool) -> None:
    rng = np.random.default_rng(n_rungs)
    walker = history(np.full(n_rungs - 1, 0.3), rng, n_rounds=300)[0][:, 0]
    hot, cold = (n_rungs - 1, 0) if reverse else (0, n_rungs - 1)
    found, expected = travels(walker, hot, cold), brute_travels(walker, hot, cold)
    assert expected["round_trips"].sum() > 5
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, name)


def test_travels_of_one_row_and_of_walkers_that_stay() -> None:
    found = travels(np.arange(3, dtype=np.uint16)[:, None], 0, 2)
    assert found["round_trips"].tolist() == [0, 0, 0]
    assert found["visits"].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert found["passages"].sum() == 0
    stay = travels(np.tile(np.arange(3, dtype=np.uint16)[:, None], 70_000), 0, 2)  # beyond one piece of rows
    assert stay["passages"].tolist() == (69_999 * np.eye(3, dtype=int)).tolist()


@pytest.mark.parametrize("rejection", [[0.5] * 5, [0.1, 0.3, 0.8, 0.2], [0.0, 0.0, 0.0], [0.6]])
def test_round_trips_are_as_predicted(rejection: list[float]) -> None:
    """The even-odd scheme with independent rejections: rate 1 / (2 + 2 sum r / (1 - r)), by round and ladder.

    More than 7000 trips, more regular than a Poisson process, that begin and end outside cost less than 1 %: beyond
    4 % with a chance of less than 1e-3 altogether.
    """
    found, r = diagnosed(rejection), np.array(rejection)
    n = len(r) + 1
    exact = 1 / (2 + 2 * np.sum(r / (1 - r))) / n
    assert found.rate == pytest.approx(exact, rel=0.04)
    assert found.predicted_rate == pytest.approx(exact, rel=0.04)
    assert found.highest_rate == pytest.approx(1 / (2 + 2 * r.sum()) / n, rel=0.04)
    assert found.highest_rate >= found.predicted_rate
    assert found.barrier == pytest.approx(r.sum(), abs=0.05)
    assert found.round_trips.shape == (4, N_LADDERS // 4, n)


def test_diffusion_is_slower() -> None:
    """The negative control: the rate is that of the even-odd scheme, not of any history with these rejections."""
    found = diagnosed([0.3] * 7, parity=at_random)
    assert found.rate < 0.5 * found.predicted_rate


def test_sweeps_between_rounds() -> None:
    walker, *counts = history(np.full(3, 0.4), np.random.default_rng(3), n_rounds=2000)
    every, once = (results_of(walker, *counts, exchange_every=n, measure_every=n).exchange() for n in (5, 1))
    for name in ("rate", "predicted_rate", "highest_rate"):
        assert getattr(every, name) == pytest.approx(getattr(once, name) / 5)
    np.testing.assert_array_equal(every.since_last, 5 * once.since_last)
    assert every.lag == 5


def test_time_since_the_last_trip() -> None:
    walker = history(np.full(2, 0.2), np.random.default_rng(5), n_rounds=200)[0]
    still = np.repeat(walker[..., -1:], 50, axis=-1)
    counts = np.array([1, 1]), np.array([2, 2])
    moving, halted = (results_of(w, *counts).exchange() for w in (walker, np.concatenate([walker, still], axis=-1)))
    np.testing.assert_array_equal(halted.since_last, moving.since_last + 50)
    none = results_of(still, *counts).exchange()
    assert np.isnan(none.since_last).all()
    assert none.round_trips.sum() == 0


# --- flow, mixing, barrier, overlap ---


def test_flow_falls_where_walkers_are_held() -> None:
    found = diagnosed([0.2, 0.2, 0.95, 0.2, 0.2])
    assert (found.flow[0], found.flow[-1]) == (1, 0)
    assert int(np.argmin(np.diff(found.flow))) == 2
    assert (np.diff(found.flow) < 0).all()


def test_flow_of_equal_pairs() -> None:
    """By symmetry the same on both sides, and falling alike: 12000 rounds of 16 ladders tell it to about 0.01."""
    flow = diagnosed([0.5] * 6).flow
    np.testing.assert_allclose(flow + flow[::-1], 1, atol=0.03)
    np.testing.assert_allclose(np.diff(flow)[1:-1], np.diff(flow)[1:-1].mean(), atol=0.03)


def test_mixing_matrix() -> None:
    """One round moves a walker by one rung at most, with half the acceptance: half of the rounds try a pair."""
    found = diagnosed([0.3, 0.6])
    expected = [[0.65, 0.35, 0], [0.35, 0.45, 0.2], [0, 0.2, 0.8]]
    np.testing.assert_allclose(found.mixing, expected, atol=0.01)
    np.testing.assert_allclose(found.mixing.sum(axis=1), 1)


def test_local_barrier_adds_up() -> None:
    walker = history(np.full(8, 0.5), np.random.default_rng(1), n_rounds=100)[0]
    rejection = np.linspace(0.2, 0.6, 8)
    found = results_of(walker, np.array((1 - rejection) * 1000), np.full(8, 1000)).exchange()
    np.testing.assert_allclose(found.rejection, rejection)
    assert found.barrier == pytest.approx(rejection.sum())
    np.testing.assert_allclose(found.local_barrier[1:-1], (rejection[1:] + rejection[:-1]) / 2 / 0.5, rtol=0.05)
    assert found.barrier_error == 0  # all instances alike


def overlap_of(a: np.ndarray, b: np.ndarray) -> float:
    return Histogram(a).overlap(Histogram(b))


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("whole", [True, False])
def test_histogram_overlap(distance: float, whole: bool) -> None:
    """Of two normal laws of deviation 12, 2 Phi(-d / 2)."""
    rng = np.random.default_rng(8)
    a, b = 12 * rng.normal(size=100_000), 12 * (rng.normal(size=100_000) + distance)
    found = overlap_of(np.rint(a), np.rint(b)) if whole else overlap_of(a, b)
    assert found == pytest.approx(2 * stats.norm.cdf(-distance / 2), abs=0.025)


def test_overlaps_that_are_certain() -> None:
    assert overlap_of(np.zeros(5), np.zeros(3)) == 1
    assert overlap_of(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 0
    assert overlap_of(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == 0.5
    assert overlap_of(np.array([0.0, 1.0]), np.array([0.5])) == 0  # only one of integers
    assert overlap_of(np.array([1e9, 0.0]), np.array([0.0, 0.0])) == 0.5  # too far apart for a bin each
    assert np.isnan(overlap_of(np.array([0.0, np.inf]), np.array([1.0])))


def test_overlap_of_all_neighbours() -> None:
    walker, *counts = history(np.full(2, 0.4), np.random.default_rng(4), n_rounds=4000)
    energy = np.random.default_rng(5).normal(size=walker.shape) + np.array([0.0, 1.0, 3.0])[:, None, None]
    found = results_of(walker, *counts, energy=energy).exchange().overlap
    np.testing.assert_allclose(found, 2 * stats.norm.cdf([-0.5, -1.0]), atol=0.03)


# --- advice ---


def test_a_good_ladder_gets_no_advice() -> None:
    assert diagnosed([0.5] * 5).advice == ()


def test_advice_on_a_bad_pair() -> None:
    first, *rest = diagnosed([0.3, 0.3, 0.97, 0.3]).advice
    assert first.startswith("a pair exchanges at less than 10%, worst between beta = 1.5 and 2 (0.03")
    assert "barrier at least 1.8" in first
    assert "its 5 rungs are enough if they stand elsewhere (ladder.tune = 'barrier')" in first
    assert rest[0].startswith("rejections from 0.3")
    assert "'barrier'" in rest[0]


def test_advice_on_too_few_rungs() -> None:
    lines = diagnosed([0.95] * 4).advice
    assert "4 pairs exchange at less than 10%" in lines[0]
    assert f"about {rungs_wanted(3.8)} rungs are wanted" in lines[0]
    assert len(lines) == 1  # equal ones, and walkers go as the rejections say


def test_advice_on_a_ladder_tuned_to_its_flow() -> None:
    """It has few exchanges where walkers are fast, which is as it should be; below 1 % it is not."""
    few, hardly = diagnosed([0.3, 0.3, 0.97, 0.3]), diagnosed([0.3, 0.3, 0.995, 0.3])
    assert advice(few, "flow") == ()
    (line,) = advice(hardly, "flow")
    assert line.startswith("a pair exchanges at less than 1%, worst between beta = 1.5 and 2 (0.00")
    assert line.endswith("if they stand elsewhere (a longer burn-in to tune in)")
    for found in (few, hardly):
        assert advice(found, "barrier")[0].startswith("a pair exchanges at less than 10%")
        assert advice(found, "barrier")[0].endswith("(a longer burn-in to tune in)")
        assert advice(found)[0].endswith("(ladder.tune = 'barrier')")


def test_no_advice_to_tune_what_annealing_moves() -> None:
    """Every kind of advice but that."""
    walker, *counts = history(np.array([0.3, 0.3, 0.97, 0.3]), np.random.default_rng(0), n_rounds=300)
    found = results_of(walker, *counts)
    assert "ladder.tune" in "".join(found.exchange().advice)
    found.dataset.attrs["run_toml"] += "[schedule.annealing]\nbeta = 0.1\n"
    annealed = Results(found.dataset).exchange().advice
    assert len(annealed) == len(found.exchange().advice) == 3
    assert "tune" not in "".join(annealed)


def test_advice_on_few_trips() -> None:
    walker, *counts = history(np.full(5, 0.5), np.random.default_rng(2), n_rounds=60)
    assert any("fewer than 10" in line for line in results_of(walker, *counts).exchange().advice)


def test_advice_on_walkers_that_are_held() -> None:
    """Exchanges succeed, but always the same two walkers go to and fro between two halves."""
    halves = [history(np.full(2, 0.4), np.random.default_rng(seed))[0] for seed in (1, 2)]
    walker = np.concatenate([halves[0], halves[1] + 3])
    found = results_of(walker, np.full(5, 600), np.full(5, 1000)).exchange()
    assert found.rate == 0
    held = found.advice[-1]
    assert "walkers are held" in held
    assert "between beta = 1.5 and 2," in held
    assert "ladder.tune = 'flow' puts more rungs there" in held
    assert advice(found, "flow")[-1] == advice(found, "")[-1] == held.partition("; ladder.tune")[0]
    rare = results_of(walker, np.full(5, 600), np.full(5, 1000), measure_every=10).exchange()
    assert not any("held" in line for line in rare.advice)  # trips may have been missed


@pytest.mark.filterwarnings("error")
def test_rungs_that_no_walker_reaches_from_an_end() -> None:
    """Their flow is not known; it falls somewhere among them."""
    pair = history(np.array([0.4]), np.random.default_rng(1), n_rounds=500)[0]
    last = np.full((1, N_LADDERS, 500), 4)
    walker = np.concatenate([pair, pair + 2, last])
    for order, where in ((slice(None), "1 and 2.5"), (slice(None, None, -1), "0.5 and 2")):
        found = results_of(walker[order], np.full(4, 600), np.full(4, 1000)).exchange()
        assert np.isnan(found.flow).sum() == 2
        assert f"between beta = {where}, where the flow falls" in found.advice[-1]


def test_no_exchange() -> None:
    walker = np.tile(np.arange(3)[:, None, None], (1, N_LADDERS, 30))
    found = results_of(walker, np.zeros(2), np.zeros(2), exchange_every=0).exchange()
    assert np.isnan(found.rejection).all()
    assert np.isnan([found.barrier, found.predicted_rate, found.highest_rate]).all()
    assert found.rate == 0
    assert found.advice == ()


def test_one_rung() -> None:
    found = results_of(np.zeros((1, N_LADDERS, 30), dtype=int), np.zeros(0), np.zeros(0)).exchange()
    assert found.overlap.shape == found.rejection.shape == (0,)
    assert np.isnan([found.barrier, found.rate]).all()
    assert found.advice == ()


def test_rungs_wanted() -> None:
    assert [rungs_wanted(barrier) for barrier in (0.0, 0.5, 3.0, 3.1)] == [2, 2, 7, 8]


def test_the_summary_has_the_advice() -> None:
    """Wrapped as its table; nothing of a ladder that is good."""
    run = Results(synthetic(beta=(0.5, 1.0, 1.5), n_samples=1000))
    assert "Ladder:" not in str(run.summary())
    bad = run.dataset.assign(exchange_accepted=run.dataset["exchange_accepted"] * 0 + [400, 30])
    found = Results(bad).summary()
    lines = str(found).splitlines()
    assert any(
        line.startswith("Ladder: a pair exchanges at less than 10%, worst between beta = 1 and 1.5") for line in lines
    )
    assert max(map(len, lines)) <= 120
    assert found.to_json_dict()["exchange"]["advice"] == list(found.exchange.advice)
