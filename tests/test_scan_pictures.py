"""The table of a scan and its pictures: maps over two axes, curves along one, seeds averaged."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

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


def table_of(summary: Summary, axes: Axes, missing: tuple[tuple[int, ...], ...] = ()) -> xr.Dataset:
    """The energy counts the points, 0, 1, ... in the order of the grid."""
    positions = list(product(*(range(len(values)) for values in axes.values())))
    found = {at: with_energy(summary, number) for number, at in enumerate(positions) if at not in missing}
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
