"""Verdicts on runs known to be stuck and known to be good: synthetic series with a known tau, and short real runs.

No run of the first kind may be called equilibrated, at most 5 % of the second may be called stuck.
"""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import mcmc
from enumeration import Enumeration
from mcmc.analysis import statistics, thermalisation
from mcmc.analysis.exchange import trips_of_ladders
from mcmc.analysis.summary import Summary
from mcmc.analysis.thermalisation import (
    BIASED,
    MIXES,
    NISHIMORI_HOLDS,
    NO_SIDES,
    ROUND_TRIPS,
    STARTS_AGREE,
    UNADJUSTED,
    VERDICTS,
    Evidence,
    Setting,
    log_z_of_branch,
    posterior_beta,
)
from mcmc.data import teacher_instance
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.samplers import CONTINUOUS, SAMPLERS
from problems import PERCEPTRON
from running import tables
from synthetic import ar1

MAX_STUCK = 0.05
ERROR_COUNT = {"model": {"n_inputs": 101, "loss": {"name": "error-count"}}, "data": {"source": "teacher"}}
BOTH = np.array([False, True])
Series = dict[str, np.ndarray]
Verdict = tuple[str, tuple[str, ...]]


def setting(planted: np.ndarray, beta: list[float] | None = None, config: dict[str, Any] = ERROR_COUNT) -> Setting:
    return Setting(np.array(beta or [1.0]), planted, 101, 101, config)


def verdict(series: Series, where: Setting) -> Verdict:
    sizes = statistics.effective_sample_size(series["energy"])
    return thermalisation.verdicts([thermalisation.evidence(series, sizes, 1.0, where)], where, None)[0]


def good(rng: np.random.Generator, shape: tuple[int, int, int], phi: float) -> Series:
    """AR(1) series of a rung in equilibrium, in units of their standard deviations."""
    n_instances, n_copies, n_rows = shape
    series = {"energy": ar1(rng, phi, shape), "teacher_overlap": ar1(rng, phi, shape)}
    if n_copies > 1:
        series["overlap"] = ar1(rng, phi, (n_instances, n_copies * (n_copies - 1) // 2, n_rows))
    return series


# --- synthetic series ---


@pytest.mark.parametrize(
    ("shape", "phi", "found"),
    [
        ((1, 2, 1000), 0.8, "equilibrated"),
        ((1, 4, 500), 0.9, "equilibrated"),
        ((10, 2, 300), 0.05, "equilibrated"),
        ((1, 3, 300), 0.95, "not contradicted"),  # 23 effective samples
        ((2, 2, 400), 0.9, "not contradicted"),  # some 10 of each start
        ((12, 1, 200), 0.9, "not contradicted"),
    ],
)
def test_good_series_are_rarely_called_stuck(shape: tuple[int, int, int], phi: float, found: str) -> None:
    """Of 80 each; they are equilibrated (two starts) where they are long enough for it."""
    rng = np.random.default_rng(1)
    planted = np.arange(shape[1]) >= (shape[1] + 1) // 2
    verdicts = Counter(verdict(good(rng, shape, phi), setting(planted))[0] for _ in range(80))
    assert verdicts["stuck"] <= MAX_STUCK * 80
    assert verdicts.most_common(1)[0][0] == found


@pytest.mark.parametrize("name", ["energy", "overlap", "teacher_overlap"])
def test_logarithmic_binning(name: str) -> None:
    """A series that relaxes as the logarithm of time, by one standard deviation every factor of two."""
    rng = np.random.default_rng(2)
    series = good(rng, (2, 2, 2000), 0.5)
    series[name] -= np.log2(np.arange(200, 2200))
    found, reasons = verdict(series, setting(BOTH))
    assert found == "stuck"
    assert any(f"the {name.replace('_', ' ')} drifts" in reason for reason in reasons)


@pytest.mark.parametrize("name", ["energy", "teacher_overlap"])
@pytest.mark.parametrize("instance", [0, 5])
def test_one_instance_whose_starts_differ_is_enough(name: str, instance: int) -> None:
    rng = np.random.default_rng(3)
    series = good(rng, (20, 4, 500), 0.5)
    planted = np.array([False, False, True, True])
    assert verdict(series, setting(planted)) == ("equilibrated", (STARTS_AGREE,))
    series[name][instance, planted] += 1.5
    found, reasons = verdict(series, setting(planted))
    assert found == "stuck"
    assert f"starts differ in {name}" in reasons[0]


def test_pairs_of_copies_that_differ() -> None:
    """Two valleys: copies 0 and 1 in one, 2 and 3 in the other, with equal energies."""
    series = good(np.random.default_rng(4), (1, 4, 500), 0.5)
    series["overlap"][0, [0, 5]] += 2
    found, reasons = verdict(series, setting(np.zeros(4, dtype=bool)))
    assert found == "stuck"
    assert "pairs of copies differ in overlap" in reasons[0]


def test_starts_that_have_not_met_in_a_few_effective_samples() -> None:
    rng = np.random.default_rng(5)
    series = good(rng, (1, 2, 300), 0.99)
    series["teacher_overlap"][:, 1] = 8.0  # frozen at the teacher
    series["energy"][:, 1] = 0.0
    assert verdict(series, setting(BOTH))[0] == "stuck"


def test_starts_that_agree_away_from_the_teacher() -> None:
    """Both at E = 25 of 101 patterns, R = 0.5: at beta = 2 the teacher, E = 0, may have more weight, and was left."""
    series = good(np.random.default_rng(6), (2, 2, 1000), 0.5)
    series["energy"] = 25 + 3 * series["energy"]
    series["teacher_overlap"] = 0.5 + 0.05 * series["teacher_overlap"]
    found = {beta: verdict(series, setting(BOTH, [beta])) for beta in (0.5, 2.0)}
    assert found[0.5] == ("equilibrated", (STARTS_AGREE,))
    assert found[2.0] == ("not contradicted", ("both starts have left the teacher, whose state may be the better one",))
    series["teacher_overlap"][..., ::50] = 1.0  # not if they keep coming back
    assert verdict(series, setting(BOTH, [2.0])) == ("equilibrated", (STARTS_AGREE,))


@pytest.mark.parametrize("name", ["energy", "teacher_overlap"])
def test_starts_that_differ_by_little_but_for_sure_do_not_agree(name: str) -> None:
    """A fifth of a standard deviation, R-hat 1.01: too little to be stuck, 14 errors away from agreement."""
    series = good(np.random.default_rng(13), (2, 2, 10_000), 0.0)
    assert verdict(series, setting(BOTH)) == ("equilibrated", (STARTS_AGREE,))
    series[name][1, 1] += 0.2
    assert statistics.gelman_rubin(series[name]).max() < 1.02
    assert verdict(series, setting(BOTH)) == ("not contradicted", (NO_SIDES,))


@pytest.mark.parametrize("planted", [[False, False], [True, True]])
def test_one_side_is_no_proof(planted: list[bool]) -> None:
    found = verdict(good(np.random.default_rng(6), (4, 2, 1000), 0.5), setting(np.array(planted)))
    assert found == ("not contradicted", (NO_SIDES,))


def test_frozen_copies_are_no_agreement() -> None:
    """All at the teacher, the energy 0: neither a proof nor a contradiction."""
    series = {name: np.full((2, 2, 500), value) for name, value in (("energy", 0.0), ("teacher_overlap", 1.0))}
    series["overlap"] = np.ones((2, 1, 500))
    assert verdict(series, setting(BOTH)) == ("not contradicted", ("too short: the energy never changes",))
    moving = good(np.random.default_rng(7), (2, 2, 500), 0.5)
    for name, values in moving.items():
        values[1] = series[name][1]
    assert verdict(moving, setting(BOTH)) == ("not contradicted", (NO_SIDES,))
    series["overlap"][1] = 0.4
    assert verdict(series, setting(BOTH)) == ("stuck", ("copies frozen in different states",))


def test_blocking_checks_the_autocorrelation_time() -> None:
    """Slow steps of half a standard deviation under white noise, which the initial sequence of rho does not see."""
    rng = np.random.default_rng(8)
    slow = np.repeat(rng.choice([-0.5, 0.5], size=(1, 1, 20)), 200, axis=-1)
    energy = rng.normal(size=(1, 1, 4000)) + slow
    sizes = np.array([3000.0])  # as if tau were 1.3
    here = thermalisation.evidence({"energy": energy}, sizes, 1.0, setting(np.zeros(1, dtype=bool)))
    assert "times the error of the autocorrelation time" in here.short[0]
    right = statistics.effective_sample_size(energy)
    assert not thermalisation.evidence({"energy": energy}, right, 1.0, setting(np.zeros(1, dtype=bool))).short


@pytest.mark.parametrize(("off", "doubtful"), [(0.0, False), (0.8, True)])
def test_copies_that_differ_by_chance_are_no_proof(off: float, doubtful: bool) -> None:
    """By 0.8 standard deviations, and their errors are half of one each: neither stuck nor proven."""
    energy = ar1(np.random.default_rng(2), 0.98, (1, 2, 2000))
    energy = (energy - energy.mean(axis=-1, keepdims=True)) / energy.std(axis=-1, keepdims=True)
    energy[0, 1] += off
    sizes = np.array([60.0])
    here = thermalisation.evidence({"energy": energy}, sizes, 1.0, setting(np.zeros(2, dtype=bool)))
    assert here.against == ()
    assert any("which may be chance" in reason for reason in here.short) == doubtful


# --- round trips ---


def hot(n_instances: int = 2, energy: float = 45.0, **other: Any) -> Evidence:
    """A rung of 101 patterns that has nothing against it."""
    known = {"energy": np.full(n_instances, energy), "sizes": np.full(n_instances, 500.0), "r_hat": 1.0}
    known |= {"variance": 25.0, "against": (), "short": (), "agreements": ()}
    return Evidence(**known | other)


RANDOM_LABELS = ERROR_COUNT | {"data": {"source": "random"}}


def by_trips(
    rungs: list[Evidence], trips: int = 30, late: int = 15, beta: float = 0.2, config: dict[str, Any] = RANDOM_LABELS
) -> list[Verdict]:
    betas = [beta + 0.2 * rung for rung in range(len(rungs))]
    count = np.full((len(rungs), 4, 2), [trips, late])
    count[0] = 0
    return thermalisation.verdicts(rungs, setting(np.zeros(2, dtype=bool), betas, config), count)


def test_round_trips_to_a_hot_rung() -> None:
    rungs = [hot(), hot(energy=40.0)]
    assert by_trips(rungs) == [("equilibrated", (MIXES,)), ("equilibrated", (ROUND_TRIPS,))]
    assert "fewer than 10 round trips" in by_trips(rungs, trips=9)[1][1][0]
    assert "last half" in by_trips(rungs, late=2)[1][1][0]
    for wrong in (
        [hot(short=("few",)), rungs[1]],
        [hot(against=("drift",)), rungs[1]],
        [hot(sizes=np.array([500.0, np.nan])), rungs[1]],
        [hot(energy=20.0), hot(energy=19.0)],  # too cold: beta (P/2 - E) / n = 0.06 at beta = 0.2, but 0.3 at beta = 1
    ):
        assert by_trips(wrong, beta=1.0 if wrong[1].energy[0] == 19.0 else 0.2)[1][0] == "not contradicted"
    stuck = by_trips([hot(), hot(against=("drift",)), hot(energy=40.0)])
    assert [found for found, _ in stuck] == ["equilibrated", "stuck", "not contradicted"]
    assert stuck[2][1] == by_trips([hot(against=("drift",)), rungs[1]])[1][1] == ("a hotter rung is stuck",)


def test_a_rung_that_free_energies_call_stuck_is_no_way_down() -> None:
    rungs, trips = [hot(), hot(energy=40.0), hot(energy=38.0)], np.full((3, 4, 2), 30)
    where = setting(np.zeros(2, dtype=bool), [0.2, 0.4, 0.6], RANDOM_LABELS)
    assert [found for found, _ in thermalisation.verdicts(rungs, where, trips)] == ["equilibrated"] * 3
    found = thermalisation.verdicts(rungs, where, trips, metastable=[(), ("entropy below 0",), ()])
    assert found[1:] == [("stuck", ("entropy below 0",)), ("not contradicted", ("a hotter rung is stuck",))]


def test_one_ladder_without_trips_is_enough() -> None:
    counts = np.full((2, 4, 2), 100)
    counts[1, 3] = [100, 0]
    found = thermalisation.verdicts([hot(), hot()], setting(np.zeros(2, dtype=bool), [0.2, 0.4], RANDOM_LABELS), counts)
    assert found[1][0] == "not contradicted"


def test_round_trips_do_not_nucleate_the_teacher() -> None:
    """The same energies with a teacher, whose weight is 1: enough where Z is large, not where it may be below 1."""
    warm = [hot(), *(hot(energy=44.0 - rung) for rung in range(1, 8))]
    verdicts = [found for found, _ in by_trips(warm, config=ERROR_COUNT)]
    curve = [50.5, *(here.energy[0] for here in warm)]
    z = [101 * np.log(2) - 0.2 * (sum(curve[: rung + 2]) - (curve[0] + curve[rung + 1]) / 2) for rung in range(8)]
    assert verdicts == ["equilibrated" if log_z > np.log(100) else "not contradicted" for log_z in z]
    assert set(verdicts) == {"equilibrated", "not contradicted"}
    visited = [hot(), *(hot(energy=44.0 - rung, at_teacher=True) for rung in range(1, 8))]
    assert {found for found, _ in by_trips(visited, config=ERROR_COUNT)} == {"equilibrated"}
    smooth = copy.deepcopy(ERROR_COUNT)
    smooth["model"]["loss"]["name"] = "logistic"
    assert by_trips(warm[:2], config=smooth)[1][0] == "not contradicted"


def test_images_of_the_teacher_count() -> None:
    """With 5! orders of the units the teacher has more than a hundredth of a weight of 1000."""
    committee = copy.deepcopy(ERROR_COUNT)
    committee["model"] |= {"architecture": "committee", "n_hidden": 5, "activation": "sign"}
    found = []
    for config in (ERROR_COUNT, committee):
        where = Setting(np.array([2.0]), np.zeros(2, dtype=bool), 101, 101, config)
        energy = np.array([(101 * np.log(2) - np.log(1000)) - 50.5])  # by one trapezium from E = P/2 at beta = 0
        found.append(thermalisation._teacher_may_outweigh(0, [hot(energy=energy[0])], where))
    assert found == [False, True]


def test_a_fixed_overlap_excludes_the_teacher_but_not_its_images() -> None:
    """Two units of a parity machine turned round are the teacher again, at another overlap with it."""
    parity = copy.deepcopy(ERROR_COUNT)
    parity["model"] |= {"architecture": "tree-parity", "n_hidden": 4}
    for config, may in ((ERROR_COUNT, False), (parity, True)):
        fixed = config | {"constraint": {"reference": "teacher", "overlap": 0.0}}
        where = Setting(np.array([4.0]), np.zeros(2, dtype=bool), 52, 208, fixed)
        assert thermalisation._teacher_may_outweigh(0, [hot(energy=80.0)], where, unknown=True) is may


def test_trips_of_ladders() -> None:
    """A walker that goes up and down eight times, but not in the last half."""
    here = np.array([0, 1] * 8 + [0] * 16)
    walker = np.stack([here, 1 - here])[:, None]
    both = trips_of_ladders(np.concatenate([walker, walker[:, :, ::-1]], axis=1), np.array([0.1, 0.2]))
    np.testing.assert_array_equal(both[0], 0)
    assert both[1, 0, 0] == both[1, 1, 0] > 10
    assert both[1, 0, 1] == 0 < both[1, 1, 1]


# --- what else speaks against a rung ---


def of_method(method: str, config: dict[str, Any]) -> dict[str, Any]:
    return config | {"sampler": {"method": method}}


def test_methods_that_are_biased() -> None:
    """As the samplers say themselves."""
    assert {name for name, method in (SAMPLERS | CONTINUOUS).items() if not method.is_exact} == set(UNADJUSTED)


@pytest.mark.parametrize("method", UNADJUSTED)
def test_biased_methods_are_never_called_equilibrated(method: str) -> None:
    """Whichever two sides agree: they do so in the wrong law. The same series from hmc are equilibrated."""
    series = good(np.random.default_rng(14), (1, 2, 1000), 0.5)
    rungs = [hot(), hot(energy=40.0)]
    for name, wanted in (("hmc", "equilibrated"), (method, "not contradicted")):
        starts = verdict(series, setting(BOTH, config=of_method(name, ERROR_COUNT)))
        trips = by_trips(rungs, config=of_method(name, RANDOM_LABELS))
        assert {starts[0], *(found for found, _ in trips)} == {wanted}
        assert ({reasons for _, reasons in [starts, *trips]} == {(BIASED,)}) == (name == method)
    stuck = by_trips([hot(against=("drift",)), rungs[1]], config=of_method(method, RANDOM_LABELS))
    assert stuck[0] == ("stuck", ("drift",))


def by_free_energy(
    metastable: list[tuple[str, ...]], inconsistent: list[tuple[str, ...]], **here: Any
) -> list[Verdict]:
    """Of a ladder that round trips prove, but for what the free energies say."""
    trips = np.full((3, 4, 2), 30)
    where = setting(np.zeros(2, dtype=bool), [0.2, 0.4, 0.6], RANDOM_LABELS)
    rungs = [hot(), hot(energy=42.0, **here), hot(energy=40.0)]
    return thermalisation.verdicts(rungs, where, trips, metastable, inconsistent)


def test_contradictions_of_the_free_energy_are_a_veto() -> None:
    """On the rungs concerned: what is impossible makes them stuck, ways that disagree no more than doubtful."""
    nothing = [()] * 3
    assert [found for found, _ in by_free_energy(nothing, nothing)] == ["equilibrated"] * 3
    one = [(), ("why",), ()]
    assert by_free_energy(one, nothing)[1] == ("stuck", ("why",))
    assert by_free_energy(nothing, one)[1] == ("not contradicted", ("why",))
    assert by_free_energy(one, one)[1] == ("stuck", ("why",))
    assert [found for found, _ in by_free_energy(nothing, one)][::2] == ["equilibrated"] * 2
    assert by_free_energy(one, nothing)[0][0] == "equilibrated"
    assert by_free_energy(one, nothing, against=("drift",))[1] == ("stuck", ("drift", "why"))
    assert by_free_energy(nothing, one, short=("few",))[1] == ("not contradicted", ("too short: few",))


@pytest.mark.parametrize("n_rungs", [1, 3, 25])
def test_log_z_of_a_branch_is_below_the_exact_one(n_rungs: int) -> None:
    n, betas = 13, np.linspace(3.0 / n_rungs, 3.0, n_rungs)
    instance = teacher_instance(1, 0, n, 13)
    model = MODELS["perceptron"](PERCEPTRON.of(n), Loss("error-count"))
    exact = Enumeration(lambda states: model.block(instance, states).energy, n)
    log_z = np.array([np.log(np.exp(-beta * exact.energy).sum()) for beta in betas])
    energies = np.array([exact.law(beta) @ exact.energy for beta in betas])[:, None]
    where = Setting(betas, BOTH, n, 13, ERROR_COUNT)
    found = np.array([log_z_of_branch(energies[: rung + 1], where)[0] for rung in range(n_rungs)])
    assert (found < log_z).all()
    if n_rungs == 25:
        assert (log_z - found < 0.05).all()


# --- Nishimori ---


def task(loss: dict[str, Any], data: dict[str, Any], **model: Any) -> dict[str, Any]:
    return {"model": {"n_inputs": 99, "loss": loss, **model}, "data": {"source": "teacher", **data}}


@pytest.mark.parametrize(
    ("config", "beta"),
    [
        (task({"name": "error-count"}, {"label_noise": 0.25}), np.log(3)),
        (task({"name": "error-count"}, {}), None),
        (task({"name": "error-count", "margin": 0.5}, {"label_noise": 0.25}), None),
        (task({"name": "hinge"}, {"label_noise": 0.25}), None),
        (task({"name": "logistic", "sharpness": 2.0}, {"labels": "logistic"}), 2.0),
        (task({"name": "logistic"}, {}), None),
        (task({"name": "square"}, {"labels": "real", "output_noise": 0.5}), 2.0),
        (task({"name": "square"}, {"labels": "real"}), None),
        (task({"name": "error-count"}, {"label_noise": 0.25, "teacher": {"weights": "spherical"}}), None),
        (task({"name": "error-count"}, {"label_noise": 0.25}, architecture="committee", n_hidden=3), np.log(3)),
        (
            task(
                {"name": "error-count"},
                {"label_noise": 0.25, "teacher": {"n_hidden": 5}},
                architecture="committee",
                n_hidden=3,
            ),
            None,
        ),
        (task({"name": "error-count"}, {"label_noise": 0.25}) | {"sampler": {"method": "sgld"}}, None),
        (task({"name": "error-count"}, {"label_noise": 0.25}) | {"constraint": {"reference": "teacher"}}, None),
        ({"model": {"loss": {"name": "error-count"}}, "data": {"source": "random"}}, None),
    ],
)
def test_posterior_beta(config: dict[str, Any], beta: float | None) -> None:
    assert posterior_beta(config) == (None if beta is None else pytest.approx(beta))


NOISE = 1 / (1 + np.e)


def posterior_series(rng: np.random.Generator, n_instances: int, n_patterns: int = 101) -> Series:
    """Series that have the identities: each instance has a mean energy and a mean overlap of its own."""
    of_disorder = rng.normal(size=(3, n_instances, 1, 1))
    energy_sd = np.sqrt(n_patterns * NOISE * (1 - NOISE) / 2)  # half of the variance is thermal
    energy = n_patterns * NOISE + energy_sd * (of_disorder[0] + ar1(rng, 0.5, (n_instances, 2, 400)))
    q = 0.4 + 0.03 * of_disorder[1]
    overlap = q + 0.08 * ar1(rng, 0.5, (n_instances, 1, 400))
    teacher_overlap = q + 0.06 * of_disorder[2] + 0.05 * ar1(rng, 0.5, (n_instances, 2, 400))
    return {"energy": energy, "overlap": overlap, "teacher_overlap": teacher_overlap}


NISHIMORI = task({"name": "error-count"}, {"label_noise": NOISE})


@pytest.mark.parametrize("n_instances", [1, 4, 20])
def test_nishimori_identities(n_instances: int) -> None:
    """Violated by 5 errors they are seen; from copies that all start at the teacher they say nothing."""
    rng = np.random.default_rng(9)
    random = setting(np.zeros(2, dtype=bool), config=NISHIMORI)
    found = Counter(verdict(posterior_series(rng, n_instances), random) for _ in range(40))
    assert found["equilibrated", (NISHIMORI_HOLDS,)] >= 36
    series = posterior_series(rng, n_instances)
    planted = setting(np.ones(2, dtype=bool), config=NISHIMORI)
    assert verdict(series, planted)[1] == (NO_SIDES,)
    for name, shift in (("energy", np.sqrt(101 * NOISE * (1 - NOISE))), ("teacher_overlap", 0.1)):
        wrong = series | {name: series[name] + 7 * shift / np.sqrt(n_instances)}
        assert verdict(wrong, random)[0] == "stuck"
        assert "Nishimori identity" in verdict(wrong, random)[1][0]
    assert verdict(series, setting(np.zeros(2, dtype=bool)))[0] == "not contradicted"  # without noise there is none


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_energy_identity_of_the_square_loss(noise: float) -> None:
    """E/P = noise / 2: of a Gaussian posterior, drawn and averaged exactly, over data of its own process."""
    rng = np.random.default_rng(12)
    n, n_patterns, energies = 20, 40, []
    for _ in range(400):
        g, teacher = rng.normal(size=(n_patterns, n)) / np.sqrt(n), rng.normal(size=n)
        y = g @ teacher + np.sqrt(noise) * rng.normal(size=n_patterns)
        inverse = np.linalg.inv(g.T @ g / noise + np.eye(n))
        rest = y - g @ (inverse @ g.T @ y / noise)
        energies.append(rest @ rest / 2 + np.trace(g.T @ g @ inverse) / 2)
    mean, variance, _ = thermalisation._teacher_energy(
        task({"name": "square"}, {"labels": "real", "output_noise": noise})
    )
    spread = np.std(energies, ddof=1)
    assert np.mean(energies) == pytest.approx(mean * n_patterns, abs=4 * spread / np.sqrt(400))
    assert spread**2 < variance * n_patterns  # the bound; the rest is thermal


def test_nishimori_is_no_proof_where_the_labels_may_tell_the_teacher() -> None:
    """A metastable state has the identities too: with more than ln 2 nats of labels a weight the teacher may win."""
    told = np.log(2) - stats.bernoulli(NOISE).entropy()
    enough = np.log(2) / told  # patterns per weight
    for alpha, holds in ((0.9 * enough, True), (1.1 * enough, False)):
        n = round(alpha * 101)
        where = Setting(np.array([1.0]), np.zeros(2, dtype=bool), 101, n, NISHIMORI)
        found = verdict(posterior_series(np.random.default_rng(10), 20, n), where)
        assert found[0] == ("equilibrated" if holds else "not contradicted")


# --- real runs ---

RUN: dict[str, Any] = {
    "model.n_inputs": 101,
    "data.alpha": 1.0,
    "data.n_instances": 2,
    "ladder": {"beta": [1.0], "n_copies": 4},
    "schedule": {"sweeps": 2500, "burn_in": 500, "measure_every": 5},
    "output": {"store_data": False},
}
RANDOM_START, BOTH_STARTS, PLANTED = ({"schedule.start": start} for start in ("random", "both", "teacher"))
COLD = {"model.n_inputs": 301, "ladder.beta": [4.0]}
BETWEEN_COLD = {"model.n_inputs": 201, "data.alpha": 1.4, "ladder.beta": [5.0]}
BETWEEN_WARM = {"model.n_inputs": 301, "data.alpha": 2.5}
COLD_LADDER = {
    "model.n_inputs": 101,
    "data.alpha": 1.4,
    "ladder.beta": {"min": 0.2, "max": 4.0, "n": 16, "spacing": "linear"},
    "ladder.n_copies": 2,
}
# At T = 1 the line is at alpha = 2.33; copies of the random branch exchange freely along this ladder.
WARM_LADDER = {
    "model.n_inputs": 201,
    "data.alpha": 2.6,
    "ladder.beta": {"min": 0.2, "max": 1.0, "n": 8, "spacing": "linear"},
    "ladder.n_copies": 2,
    "schedule.sweeps": 5000,
}
STUCK = {
    "cold": COLD,
    "cold-one-copy": COLD | {"ladder.n_copies": 1, "data.n_instances": 1, "schedule.sweeps": 10000},
    "cold-random-labels": COLD | {"data.source": "random"},
    "all-cold-ladder": COLD | {"ladder.beta": [3.6, 3.7, 3.8, 3.9, 4.0], "ladder.n_copies": 2},
    "between-cold-random": BETWEEN_COLD | RANDOM_START,
    "between-cold-both": BETWEEN_COLD | BOTH_STARTS,
    "between-cold-planted": BETWEEN_COLD | PLANTED,
    "between-warm-random": BETWEEN_WARM | RANDOM_START,
    "between-warm-both": BETWEEN_WARM | BOTH_STARTS,
    "between-warm-planted": BETWEEN_WARM | PLANTED,
    "just-beyond-the-line-both": {"data.alpha": 2.4, "data.n_instances": 1, "ladder.n_copies": 2} | BOTH_STARTS,
    "between-cold-ladder": COLD_LADDER,
    "between-cold-ladder-both": COLD_LADDER | BOTH_STARTS,
    "between-warm-ladder": WARM_LADDER,
    "below-the-line-both": {"model.n_inputs": 201, "data.alpha": 2.0} | BOTH_STARTS,
}
SMALL_LADDER = {
    "model.n_inputs": 51,
    "ladder.beta": {"min": 0.2, "max": 1.2, "n": 6, "spacing": "linear"},
    "ladder.n_copies": 2,
}
REAL = {"model.n_inputs": 21, "model.weights": "gaussian", "data.inputs": "gaussian", "ladder.n_copies": 2}
LOGISTIC = {"model.loss.name": "logistic", "data.labels": "logistic", "sampler.method": "mala"}
SQUARE = {"model.loss.name": "square", "data.labels": "real", "data.output_noise": 1.0, "sampler.method": "hmc"}
GOOD = {  # and by which two sides they are found equilibrated, None: by none
    "hot-both": ({"ladder.beta": [0.3]} | BOTH_STARTS, STARTS_AGREE),
    "hot-random": ({"ladder.beta": [0.3]}, None),
    "hot-parity": (
        {"ladder.beta": [0.3], "model.architecture": "parity", "model.n_hidden": 3, "model.n_inputs": 21} | BOTH_STARTS,
        STARTS_AGREE,
    ),
    "hot-committee": (
        {"ladder.beta": [0.3], "model.architecture": "committee", "model.n_hidden": 3, "model.n_inputs": 21}
        | BOTH_STARTS,
        STARTS_AGREE,
    ),
    "ladder": (SMALL_LADDER, ROUND_TRIPS),
    "ladder-random-labels": (SMALL_LADDER | {"data.source": "random", "data.alpha": 0.7}, ROUND_TRIPS),
    "nishimori": (
        {"model.n_inputs": 51, "data.label_noise": NOISE, "ladder.n_copies": 2, "data.n_instances": 10},
        NISHIMORI_HOLDS,
    ),
    "logistic": (REAL | LOGISTIC | BOTH_STARTS, STARTS_AGREE),
    "square": (REAL | SQUARE | BOTH_STARTS, STARTS_AGREE),
    "spherical": (
        REAL | {"model.weights": "spherical", "model.n_inputs": 31, "ladder.beta": [0.5]} | BOTH_STARTS,
        STARTS_AGREE,
    ),
}


def summary_of(changes: dict[str, Any], seed: int, path: Path) -> Summary:
    return mcmc.run(tables(RUN | changes | {"seed": seed}), path / f"run-{seed}", quiet=True).summary()


@pytest.mark.parametrize("name", STUCK)
def test_no_stuck_run_is_called_equilibrated(name: str, tmp_path: Path) -> None:
    """The coldest rung; one that starts at both sides is always called stuck, since they have not met."""
    for seed in range(3):
        found = summary_of(STUCK[name], seed, tmp_path)
        assert found.verdict != "equilibrated"
        assert found.rungs[-1].verdict != "equilibrated"
        if name.endswith("both") and not name.startswith("just"):  # there, at N = 101, planted copies may melt
            assert found.verdict == found.rungs[-1].verdict == "stuck"


def test_good_runs_are_rarely_called_stuck(tmp_path: Path) -> None:
    """Four of each kind, of which most are called equilibrated by the two sides that there are."""
    stuck = 0
    for name, (changes, sides) in GOOD.items():
        found = [summary_of(changes, seed, tmp_path / name) for seed in range(4)]
        stuck += sum(each.verdict == "stuck" for each in found)
        reasons = [each.rungs[-1].reasons for each in found if each.rungs[-1].verdict == "equilibrated"]
        if sides is None:
            assert reasons == []
        else:
            assert sum(sides in given for given in reasons) >= 3, name
    assert stuck <= MAX_STUCK * 4 * len(GOOD)


def test_the_verdict_of_a_run_is_that_of_its_worst_rung(tmp_path: Path) -> None:
    found = summary_of(SMALL_LADDER, 1, tmp_path)
    assert found.verdict == max((rung.verdict for rung in found.rungs), key=VERDICTS.index)
    assert f"Verdict: {found.verdict}" in found.table()
