"""The table of a scan and its pictures: maps over two axes, curves along one, seeds averaged."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from mcmc import analysis
from mcmc.analysis import Results, plots, scans
from mcmc.analysis.statistics import student_factor
from mcmc.analysis.summary import Summary
from mcmc.cli import run_command
from mcmc.errors import ConfigError
from synthetic import synthetic

Axes = dict[str, list[float] | list[str]]
ALPHA: Axes = {"alpha": [0.5, 1.0, 2.0]}
SEEDS: Axes = {"seed": [1, 2, 3]}
TUNED = ((0.5, 0.9, 1.5), (0.5, 1.1, 1.5), (0.5, 0.8, 1.1, 1.5))
"""Ladders of three seeds."""


@pytest.fixture(scope="module")
def summary() -> Summary:
    return Results(synthetic(n_samples=200)).summary()


def with_energy(summary: Summary, energy: float, verdict: str = "equilibrated") -> Summary:
    """Of all rungs, with the error 0.1."""

    def changed(name: str, value: float, rung: object) -> object:
        return rung.estimates[name]._replace(mean=value, error=0.1)

    rungs = [
        replace(
            rung,
            estimates=rung.estimates | {"energy_per_pattern": changed("energy_per_pattern", energy, rung)},
            verdict=verdict,
            reasons=(),
        )
        for rung in summary.rungs
    ]
    return replace(summary, rungs=rungs)


def with_ladder(summary: Summary, beta: tuple[float, ...]) -> Summary:
    """The rungs at other betas, the last one as often as it takes."""
    rungs = [replace(summary.rungs[min(n, len(summary.rungs) - 1)], beta=at) for n, at in enumerate(beta)]
    return replace(summary, rungs=rungs)


def table_of(
    summary: Summary,
    axes: Axes,
    missing: tuple[tuple[int, ...], ...] = (),
    ladders: tuple[tuple[float, ...], ...] = (),
) -> xr.Dataset:
    """The energy counts the points, 0, 1, ... in the order of the grid; points of the last axis have `ladders`."""
    positions = list(product(*(range(len(values)) for values in axes.values())))
    found = {
        at: with_energy(with_ladder(summary, ladders[at[-1]]) if ladders else summary, number)
        for number, at in enumerate(positions)
        if at not in missing
    }
    return scans.table(list(axes), {name: (name, np.array(values)) for name, values in axes.items()}, found)


def test_table(summary: Summary) -> None:
    table = table_of(summary, ALPHA | SEEDS, missing=((1, 2),))
    assert table["energy_per_pattern"].dims == ("alpha", "seed", "rung")
    assert table["energy_per_pattern"].sel(alpha=2.0, seed=2).to_numpy().tolist() == [7, 7, 7]
    assert table["overlap"].isel(alpha=0, seed=0).to_numpy().tolist() == [
        rung.estimates["overlap"].mean for rung in summary.rungs
    ]
    assert np.isnan(table["energy_per_pattern"].sel(alpha=1.0, seed=3)).all()
    assert table["verdict"].sel(alpha=1.0, seed=3).to_numpy().tolist() == [-1, -1, -1]
    assert table["beta"].isel(alpha=0, seed=0).to_numpy().tolist() == [0.5, 1.0, 1.5]


def test_over_seeds(summary: Summary) -> None:
    """Means of 0, 1, 2 and, with one missing, of 3 and 4; of one seed its own error; the worst verdict."""
    table = table_of(summary, ALPHA | SEEDS, missing=((1, 2), (2, 1), (2, 2)))
    table["verdict"][0, 1] = 2
    table["is_trusted"][0, 1] = False
    found = scans.over_seeds(table)
    assert found["energy_per_pattern"].dims == ("alpha", "rung")
    assert found["energy_per_pattern"].isel(rung=1).to_numpy().tolist() == [1.0, 3.5, 6.0]
    expected = [student_factor(3) / np.sqrt(3), student_factor(2) * np.sqrt(0.5) / np.sqrt(2), 0.1]
    np.testing.assert_allclose(found["energy_per_pattern_error"].isel(rung=1), expected)
    assert found["verdict"].isel(rung=0).to_numpy().tolist() == [2, 0, 0]
    assert found["is_trusted"].isel(rung=0).to_numpy().tolist() == [False, True, True]
    np.testing.assert_array_equal(found["beta"], np.tile([0.5, 1.0, 1.5], (3, 1)))


def test_coldest_of_ladders_of_their_own(summary: Summary) -> None:
    short = replace(summary, rungs=summary.rungs[:2])
    table = scans.table(["alpha"], {"alpha": ("alpha", np.array([1.0, 2.0]))}, {(0,): summary, (1,): short})
    assert scans.coldest(table)["beta"].to_numpy().tolist() == [1.5, 1.0]
    assert set(plots.scans.figures(table)) == {"scan_maps", "scan_curves"}


def test_over_seeds_leaves_out_rungs_of_different_betas(summary: Summary) -> None:
    """Rung 0 has one beta in all seeds; rungs 1 and 2 have not, rung 3 is there in one seed of three."""
    found = scans.over_seeds(table_of(summary, ALPHA | SEEDS, ladders=TUNED))
    assert found["energy_per_pattern"].isel(rung=0).to_numpy().tolist() == [1, 4, 7]
    np.testing.assert_array_equal(found["beta"], np.tile([0.5, np.nan, np.nan, np.nan], (3, 1)))
    rest = found.isel(rung=slice(1, None))
    assert all(rest[name].isnull().all() for name in ("energy_per_pattern", "energy_per_pattern_error", "overlap"))
    assert (rest["verdict"] == -1).all()
    assert found["verdict"].dtype == np.int8
    assert not rest["is_trusted"].any()


def test_common_ladders(summary: Summary) -> None:
    """Betas may differ by rounding; a seed without a run has no ladder, one with a shorter ladder another one."""

    def is_common(*ladders: tuple[float, ...], missing: tuple[tuple[int, ...], ...] = ()) -> bool:
        return scans.has_common_ladders(table_of(summary, SEEDS, missing, ladders))

    assert is_common((0.1, 0.3), (0.1, 0.1 + 0.2), (0.1, 0.3))
    assert is_common((0.1, 0.3), (0.1, 0.3), (0.1, 0.4), missing=((2,),))
    assert not is_common((0.1, 0.3), (0.1, 0.3), (0.1, 0.301))
    assert not is_common((0.1, 0.3), (0.1, 0.3), (0.1,))
    assert scans.has_common_ladders(table_of(summary, ALPHA, (), TUNED))


def test_ends_of_tuned_ladders(summary: Summary) -> None:
    """Each seed's own coldest rung, wherever it is in its ladder, then means; a missing seed changes nothing."""
    table = table_of(summary, ALPHA | SEEDS, missing=((1, 0),), ladders=TUNED)
    table["energy_per_pattern"][:, 2, 3] = 100.0
    found = scans.over_seeds(scans.ends(table))
    assert found["rung"].to_numpy().tolist() == ["hottest", "coldest"]
    np.testing.assert_array_equal(found["beta"], np.tile([0.5, 1.5], (3, 1)))
    np.testing.assert_allclose(found["energy_per_pattern"], [[1, 101 / 3], [4.5, 52], [7, 113 / 3]])
    spread = student_factor(2) * 96 / 2  # of 4 and 100: standard deviation 96 / sqrt(2), of two
    assert found["energy_per_pattern_error"].sel(alpha=1.0, rung="coldest").item() == pytest.approx(spread)
    for name in ("beta", "energy_per_pattern", "energy_per_pattern_error", "verdict", "is_trusted"):
        cold = scans.over_seeds(scans.coldest(table))[name]
        np.testing.assert_array_equal(cold, found[name].sel(rung="coldest"))


def test_nothing_is_trusted_without_a_run(summary: Summary) -> None:
    found = scans.over_seeds(table_of(summary, ALPHA | SEEDS, missing=((1, 0), (1, 1), (1, 2), (2, 0))))
    assert found["is_trusted"].isel(rung=0).to_numpy().tolist() == [True, False, True]


def drawn(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    """The means of the energy that a figure of curves shows, by label: where they are, and what."""
    ax = figure.axes[0]
    curves = [line.get_xydata() for line in ax.get_lines() if line.get_alpha() == 0.6]
    labels = ax.get_legend_handles_labels()[1]
    return {
        label: [tuple(point) for point in curve.tolist() if np.isfinite(point).all()]
        for label, curve in zip(labels, curves, strict=True)
    }


def test_curves_at_the_ends_of_tuned_ladders(summary: Summary) -> None:
    """No map over beta; with one ladder for all seeds the same table gives one."""
    found = plots.scans.figures(table_of(summary, ALPHA | SEEDS, ladders=TUNED))
    assert list(found) == ["scan_curves"]
    figure, _ = found["scan_curves"]
    means = [(0.5, 1), (1.0, 4), (2.0, 7)]
    assert drawn(figure) == {r"$\beta$ = 0.5": means, r"$\beta$ = 1.5": means}
    assert "each seed has a ladder of its own" in figure.get_suptitle()
    found = plots.scans.figures(table_of(summary, ALPHA | SEEDS))
    assert list(found) == ["scan_maps", "scan_curves"]
    assert "own" not in found["scan_curves"][0].get_suptitle()


def test_curves_of_seeds_with_tuned_ladders(summary: Summary) -> None:
    """In their own betas, only of seeds that have a run."""
    axes = {"seed": [1, 2, 3, 4]}
    found = plots.scans.figures(table_of(summary, axes, missing=((1,),), ladders=(*TUNED, (0.5, 1.5))))
    assert list(found) == ["scan_curves"]
    figure, caption = found["scan_curves"]
    assert "inverse temperature" in caption
    assert "no means" in figure.get_suptitle()
    assert drawn(figure) == {
        "seed = 1": [(beta, 0) for beta in TUNED[0]],
        "seed = 3": [(beta, 2) for beta in TUNED[2]],
        "seed = 4": [(0.5, 3), (1.5, 3)],
    }


def test_maps_at_the_coldest_rungs_of_tuned_ladders(summary: Summary) -> None:
    axes = {"alpha": [0.5, 1.0], "label_noise": [0.0, 0.1]} | SEEDS
    table = table_of(summary, axes, ladders=TUNED)
    table["energy_per_pattern"][..., 0] = 50.0  # the one rung that has the same number in all ladders
    figure, _ = plots.scans.figures(table)["scan_maps"]
    columns = [mesh.get_array().ravel().tolist() for mesh in figure.axes[0].collections]
    assert columns == [[1, 4], [7, 10]]
    assert figure.get_suptitle() == "coldest rung"


def test_rounded_betas_are_one_beta(summary: Summary) -> None:
    """A mean over two seeds and one over three differ in the last digit."""
    ladders = ((0.1, 0.7), (0.1, 0.7), (0.1, np.nextafter(0.7, 1)))
    figure, _ = plots.scans.figures(table_of(summary, ALPHA | SEEDS, missing=((0, 2),), ladders=ladders))["scan_curves"]
    assert list(drawn(figure)) == [r"$\beta$ = 0.1", r"$\beta$ = 0.7"]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (ALPHA, ["scan_maps", "scan_curves"]),
        (ALPHA | SEEDS, ["scan_maps", "scan_curves"]),
        (ALPHA | {"method": ["metropolis", "heat-bath"]}, ["scan_maps"]),
        (ALPHA | {"label_noise": [0.0, 0.1], "n_inputs": [101, 201]}, ["scan_maps"]),
        (SEEDS, ["scan_curves"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_figures(summary: Summary, axes: Axes, expected: list[str]) -> None:
    """One axis and beta, two axes at the coldest rung, more at their first points; seeds alone: curves in beta."""
    found = plots.scans.figures(table_of(summary, axes, missing=((0,) * len(axes),)))
    assert list(found) == expected
    for figure, caption in found.values():
        assert caption.endswith(".")
        for ax in figure.axes:
            if ax.axison and ax.get_label() != "<colorbar>":
                assert ax.get_xlabel()
                assert ax.get_ylabel()
    if "scan_maps" in found:
        words = [text.get_text() for text in found["scan_maps"][0].axes[0].get_yticklabels()]
        assert ("heat-bath" in words) == ("method" in axes)


def test_the_map_has_the_values_of_the_table(summary: Summary) -> None:
    axes = {"alpha": [0.5, 1.0, 2.0], "label_noise": [0.0, 0.1]}
    figure, _ = plots.scans.figures(table_of(summary, axes))["scan_maps"]
    columns = [mesh.get_array().ravel().tolist() for mesh in figure.axes[0].collections]
    assert columns == [[0, 1], [2, 3], [4, 5]]
    assert figure.get_suptitle() == "coldest rung"


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_maps_where_there_are_runs(summary: Summary) -> None:
    """Of the third and fourth axis at the first point of both that has a run; a quantity without values is no error."""
    axes = {
        "alpha": [0.5, 1.0],
        "label_noise": [0.0, 0.1],
        "n_inputs": [101, 201],
        "method": ["metropolis", "langevin"],
    }
    positions = product(range(2), repeat=4)
    missing = tuple(at for at in positions if at[2:] == (0, 0) or at == (0, 0, 0, 1))
    table = table_of(summary, axes, missing)
    table["heat_capacity"][:] = np.nan
    figure, _ = plots.scans.figures(table)["scan_maps"]
    cells = [mesh.get_array().filled(np.nan).ravel() for mesh in figure.axes[0].collections]
    np.testing.assert_array_equal(cells, [[np.nan, 5], [9, 13]])
    assert figure.get_suptitle() == "n_inputs = 101, method = langevin, coldest rung"


def test_a_single_point_is_no_scan(summary: Summary) -> None:
    """Nor are several seeds of one."""
    for seeds in ([1], [1, 2]):
        table = table_of(replace(summary, rungs=summary.rungs[:1]), {"alpha": [1.0], "seed": seeds})
        with pytest.raises(ConfigError, match="single point, seeds apart, and one rung"):
            plots.scans.figures(table)


SCAN = """seed = 1
[model]
n_inputs = 21
[model.loss]
name = "error-count"
[data]
source = "teacher"
alpha = 1.0
[ladder]
beta = [0.5, 1.0]
[schedule]
sweeps = 400
burn_in = 40
measure_every = 10
[scan]
"data.alpha" = [0.5, 1.0, 2.0]
"""


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a scan of which one task is not there yet; and of none."""
    monkeypatch.setitem(plots.STYLE, "figure.dpi", 40)  # fast
    (tmp_path / "scan.toml").write_text(SCAN)
    out = tmp_path / "out"

    def scan(*options: str) -> int:
        return run_command(["scan", str(tmp_path / "scan.toml"), "-o", str(out), "--quiet", *options])

    assert scan("--task", "0") == 0
    assert scan("--task", "2") == 0
    capsys.readouterr()
    assert run_command(["plot", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out.split() == [str(out / "plots" / name) for name in ("scan_maps.png", "scan_curves.png")]
    assert "1 of 3 tasks are not complete: alpha=1\n" in told.err
    load = analysis.load

    def load_some(directory: Path) -> Results:
        if directory.name == "alpha=0.5":
            raise ConfigError(f"{directory}: no samples")
        return load(directory)

    monkeypatch.setattr(analysis, "load", load_some)
    assert run_command(["plot", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out
    assert "alpha=0.5: no samples\n" in told.err
    for task in out.glob("alpha=*"):
        (task / "status.json").unlink()
    assert run_command(["plot", str(out)]) == 3
    assert "no task is complete yet" in capsys.readouterr().err
