"""The pictures: every kind of run gives those it has data for, with labelled axes."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import mcmc
import spins
from mcmc.analysis import Results, distributions, plots
from mcmc.analysis.markup import class_of
from mcmc.analysis.plots.ladder import last_ends
from mcmc.analysis.plots.style import VERDICTS, edges
from mcmc.analysis.plots.thermalisation import _logarithmic_bins, _verdicts
from mcmc.analysis.statistics import time_average
from mcmc.cli import run_command
from mcmc.errors import ConfigError, StorageError
from synthetic import ar1, synthetic
from test_free_energy import completed, metastable

CASES = {
    "usual": {"n_instances": 3, "disorder": 1.0},
    "one rung, one copy, no teacher": {"beta": (1.0,), "n_copies": 1, "source": "random"},
    "no teacher": {"source": "random", "beta": (0.05, 0.5, 2.0)},
    "few samples": {"n_samples": 3},
    "no burn-in": {"burn_in": 0},
    "several units": {"architecture": "parity", "n_hidden": 3, "n_weights": 303},
    "tree": {"architecture": "tree-committee", "n_hidden": 3, "n_weights": 303},
}
OF_ALL = ["overview", "thermalisation", "energies", "traces"]
"""What every run has data for."""
RUN: dict[str, Any] = {
    "seed": 1,
    "model": {"n_inputs": 21, "loss": {"name": "error-count"}},
    "data": {"source": "teacher", "alpha": 1.0, "n_instances": 2},
    "ladder": {"beta": [0.0, 0.4, 0.8, 1.2], "n_copies": 2},
    "schedule": {"sweeps": 2100, "burn_in": 100, "measure_every": 4, "start": "both"},
    "output": {"weights_every": 40},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A run that has data for everything but correlations."""
    return mcmc.run(RUN, tmp_path_factory.mktemp("run"), quiet=True)


def check(figure: Figure) -> None:
    """Every axis has a label; shared ones, colour bars and empty panels apart."""
    for ax in figure.axes:
        if ax.axison and ax.get_label() != "<colorbar>":
            assert ax.get_xlabel() or ax.get_shared_x_axes().get_siblings(ax)[1:]
            assert ax.get_ylabel() or ax.get_shared_y_axes().get_siblings(ax)[1:]
        assert ax.axison or not ax.lines
    assert figure.get_suptitle()


@pytest.mark.parametrize("case", CASES)
def test_synthetic_runs(case: str) -> None:
    found = plots.figures(Results(synthetic(**{"n_samples": 200} | CASES[case])))
    one_rung = case.startswith("one rung")
    more = [] if one_rung else ["overlaps", "ladder"]
    assert list(found) == [name for name in plots.PICTURES if name in (*OF_ALL, *more)]
    for figure, caption in found.values():
        check(figure)
        assert caption.endswith(".")


def test_files_of_a_run(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plots.STYLE, "figure.dpi", 40)  # fast
    paths = results.plot()
    names = [name for name in plots.PICTURES if name != "two_time"]
    assert [path.name for path in paths] == [f"{name}.png" for name in names]
    assert {path.parent for path in paths} == {results.path / "plots"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    for figure, _ in plots.figures(results).values():
        check(figure)


@pytest.mark.parametrize(("file_format", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_vectors_are_the_same_each_time(file_format: str, start: bytes, tmp_path: Path) -> None:
    results = Results(synthetic(n_samples=100, beta=(1.0,), n_copies=1), tmp_path)
    texts = []
    for _ in range(2):
        found = {"overview": (plots.overview(results), "")}
        (path,) = plots.save(found, tmp_path / "pictures", file_format)
        texts.append(path.read_bytes())
    assert path.name == f"overview.{file_format}"
    assert texts[0].startswith(start)
    assert texts[0] == texts[1]


# --- what they show ---


def labels(figure: Figure) -> list[str]:
    return [ax.get_ylabel() for ax in figure.axes]


def test_panels() -> None:
    found = labels(plots.overview(Results(synthetic(n_samples=100))))
    assert [label.split()[0] for label in found] == ["energy", "overlap", "generalisation", "heat"]
    found = labels(plots.overview(Results(synthetic(n_samples=100, n_copies=1, source="random"))))
    assert [label.split()[0] for label in found] == ["energy", "heat"]


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("committee", ["$q$, two copies, units aligned", "$R$, teacher, units aligned", "specialisation"]),
        ("tree-committee", ["$q$, two copies", "$R$, teacher"]),
    ],
)
def test_overlaps_of_aligned_units(architecture: str, expected: list[str]) -> None:
    results = Results(synthetic(n_samples=1000, architecture=architecture, n_hidden=3, n_weights=303))
    (panel,) = [ax for ax in plots.overview(results).axes if ax.get_ylabel() == "overlap"]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == expected
    is_aligned = architecture == "committee"
    for figure in (plots.thermalisation(results), plots.overlaps(results)):
        texts = [ax.get_xlabel() + ax.get_ylabel() for ax in figure.axes]
        assert any("units aligned" in text for text in texts) == is_aligned


def test_error_bars_are_those_of_the_summary() -> None:
    results = Results(synthetic(n_samples=1000, n_instances=2, disorder=1.0))
    (container,) = [c for c in plots.overview(results).axes[0].containers if len(c.lines[0].get_xdata())]
    bars = np.array([segment[:, 1] for segment in container.lines[2][0].get_segments()])
    errors = [rung.estimates["energy_per_pattern"].error for rung in results.summary().rungs]
    np.testing.assert_allclose((bars[:, 1] - bars[:, 0]) / 2, errors)


def test_rungs_that_are_not_trusted_have_open_symbols() -> None:
    """Of a series that is long enough, and of one that is not."""
    for n_samples, is_trusted in ((1000, True), (10, False)):
        results = Results(synthetic(n_samples=n_samples))
        assert {rung.is_trusted for rung in results.summary().rungs} == {is_trusted}
        faces = [
            to_rgba(container.lines[0].get_markerfacecolor()) == to_rgba("white")
            for container in plots.overview(results).axes[0].containers
            if len(container.lines[0].get_xdata())
        ]
        assert faces == [not is_trusted]


def test_without_exchange_and_accept_step() -> None:
    data = synthetic(n_samples=100)
    data["exchange_proposed"][:] = 0
    data["exchange_accepted"][:] = 0
    data["acceptance"][:] = np.nan
    texts = [text.get_text() for ax in plots.ladder(Results(data)).axes for text in ax.texts]
    assert texts == ["no exchange", "no exchange", "no accept step"]


def test_log_z_of_the_picture_is_that_of_the_run(results: Results) -> None:
    """ln 2 at beta = 0, and points on the reweighted curve."""
    of_z = plots.free_energy(results).axes[0]
    (points,) = [c.lines[0] for c in of_z.containers if len(c.lines[0].get_xdata()) == 4][:1]
    mean = [estimate.mean / 21 for estimate in results.free_energy().log_z]
    assert mean[0] == pytest.approx(np.log(2))
    np.testing.assert_allclose(points.get_ydata(), mean)


def test_density_of_states_is_below_that_of_all(results: Results) -> None:
    """s(e) is that of part of the 2^n states, up to errors, and has the lowest energy at its left end."""
    ax = plots.density_of_states(results).axes[0]
    curves = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert len(curves) == 2
    assert min(len(line.get_xdata()) for line in curves) > 10
    assert max(line.get_ydata().max() for line in curves) < np.log(2)
    lowest = sorted(line.get_xdata()[0] for line in ax.lines if line.get_marker() == "v")
    np.testing.assert_allclose(lowest, np.sort(results.free_energy().lowest_energy) / 21)


def test_logarithmic_bins() -> None:
    """Of a straight line, its middles; the last bin holds the last half; errors are those of time averages."""
    sweeps = np.arange(1, 1025)
    times, means, errors = _logarithmic_bins(sweeps, sweeps[None, None] * 1.0)
    np.testing.assert_allclose(times, 1024 / 2.0 ** np.arange(len(times) - 1, -1, -1))
    np.testing.assert_allclose(means, 0.75 * times + 0.5)
    series = ar1(np.random.default_rng(0), 0.5, (1, 2, 1024))
    _, means, errors = _logarithmic_bins(sweeps, series)
    mean, error, _ = time_average(series[..., 512:])
    np.testing.assert_allclose((means[-1], errors[-1]), (mean[0], error[0]))


def test_two_time_correlations() -> None:
    """A curve for each waiting time on each of three rungs, without lag 0, which a logarithmic axis has not."""
    waiting, lag = np.array([10, 100]), np.array([0, 1, 10])
    values = np.arange(2 * 4 * 2 * 3, dtype=float).reshape(1, 2, 4, 2, 3)
    data = synthetic(n_samples=20, beta=(0.1, 0.2, 0.3, 0.4)).assign(
        waiting_time=("waiting", waiting),
        lag_time=("lag", lag),
        correlation=(("instance", "copy", "rung", "waiting", "lag"), values),
    )
    figure = plots.two_time(Results(data))
    check(figure)
    assert [len(ax.lines) for ax in figure.axes] == [2, 2, 2]
    np.testing.assert_array_equal(figure.axes[2].lines[1].get_ydata(), values.mean(axis=(0, 1))[3, 1, 1:])


@pytest.mark.parametrize(
    ("starts", "of_copies", "of_pairs"),
    [
        ("random random random", 1, 1),
        ("teacher teacher teacher", 1, 1),
        ("random random teacher", 2, 1),
        ("random random teacher teacher", 2, 2),
        ("random teacher", 2, 1),
    ],
)
def test_both_starts_are_apart(starts: str, of_copies: int, of_pairs: int) -> None:
    """A line by start and rung; of pairs from the same start, or of the only ones there are."""
    data = synthetic(n_samples=50, n_copies=len(starts.split()), beta=(0.5, 1.0))
    data["start"] = ("copy", starts.split())
    figure = plots.thermalisation(Results(data))
    lines = [len(ax.containers) for ax in figure.axes[:3]]
    assert lines == [2 * of_copies, 2 * of_pairs, 2 * of_copies]
    assert len(figure.axes[0].get_legend().get_texts()) == 2


def test_last_ends() -> None:
    """Walkers 0, 1, 2 by rung (rows) in time (columns): 1 from the hot end, 2 from the cold one, 0 from neither."""
    walker = np.array([[0, 1, 1, 1], [1, 0, 0, 2], [2, 2, 2, 0]])
    found = last_ends(walker, np.arange(4), walker[0], walker[-1])
    assert found.tolist() == [[1, 1, 1, 1], [0, 1, 1, 2], [2, 2, 2, 2]]


@pytest.mark.parametrize("n_rungs", [2, 5])
def test_last_ends_between_the_rows_that_are_shown_count(n_rungs: int) -> None:
    """Of every seventh row the same as of all; a diagram of these rows alone has others."""
    rng = np.random.default_rng(n_rungs)
    walker = np.array([rng.permutation(n_rungs) for _ in range(200)], dtype=np.uint16).T
    now, last = np.zeros(n_rungs, dtype=int), []
    for column in walker.T:
        now[column[0]], now[column[-1]] = 1, 2
        last.append(now[column])
    rows = np.arange(3, 200, 7)
    expected = np.array(last).T[:, rows]
    np.testing.assert_array_equal(last_ends(walker[:, rows], rows, walker[0], walker[-1]), expected)
    some = walker[:, rows]
    of_these = last_ends(some, np.arange(len(rows)), some[0], some[-1])
    assert (of_these != expected).any() == (n_rungs > 2)


def test_the_diagram_of_walkers_looks_at_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that is visited between two of the rows that are shown."""
    data = synthetic(n_samples=8, burn_in=0)
    data["walker"][:] = np.array([0, 1, 2])
    data["walker"][0, 5, 0] = np.array([1, 0, 2])  # rows 0, 4 are shown
    monkeypatch.setattr(import_module("mcmc.analysis.plots.ladder"), "COLUMNS", 2)
    diagram = plots.ladder(Results(data)).axes[-1]
    (mesh,) = diagram.collections
    assert np.array(mesh.get_array()).reshape(3, 2).tolist() == [[1, 1], [0, 0], [2, 2]]
    data["walker"][0, 5, 0], data["walker"][0, 3, 0] = np.array([0, 1, 2]), np.array([1, 0, 2])
    diagram = plots.ladder(Results(data)).axes[-1]
    (mesh,) = diagram.collections
    assert np.array(mesh.get_array()).reshape(3, 2).tolist() == [[1, 1], [0, 1], [2, 2]]
    texts = [text.get_text() for text in diagram.get_legend().get_texts()]
    assert texts == ["at neither end yet", "last at the hot end", "last at the cold end"]


def test_a_single_row_has_no_way_of_walkers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diagram = plots.ladder(Results(synthetic(n_samples=1))).axes[-1]
    assert [text.get_text() for text in diagram.texts] == ["a single row"]


def test_colours_of_the_rungs_are_those_of_the_bar() -> None:
    """Of uneven steps, too: where the bar says a beta, it has the colour of that rung's histogram."""
    beta = (0.1, 0.2, 0.3, 1.6)
    figure = plots.energies(Results(synthetic(n_samples=100, beta=beta)))
    (bar,) = [ax._colorbar for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert [tick.get_text() for tick in bar.ax.get_yticklabels()] == [f"{each:.4g}" for each in beta]
    curves = [to_rgba(line.get_color()) for line in figure.axes[0].lines]
    np.testing.assert_allclose(bar.mappable.to_rgba(bar.get_ticks()), curves)


def faces(ax: Any) -> dict[bool, list[float]]:
    """Where on the axis of beta the symbols with error bars are open, and where not."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for container in ax.containers:
        points = container.lines[0]
        if points is not None and points.get_marker() == "o":
            is_open = to_rgba(points.get_markerfacecolor()) == to_rgba("white")
            found[is_open] += points.get_xdata().tolist()
    return found


@pytest.mark.parametrize("order", [slice(None, None, 4), slice(None, None, -4)], ids=["increasing", "decreasing"])
def test_free_energies_that_are_not_trusted_have_open_symbols(order: slice) -> None:
    """On the cold rungs of a metastable run, in all panels."""
    results = Results(completed(metastable(both=False).isel(rung=order)))
    expected: dict[bool, list[float]] = {False: [], True: []}
    for rung in results.summary().rungs:
        expected[not rung.is_trusted].append(rung.beta)
    expected = {is_open: sorted(betas) for is_open, betas in expected.items()}
    assert all(expected.values())
    for ax in plots.free_energy(results).axes:
        assert {is_open: sorted(betas) for is_open, betas in faces(ax).items()} == expected


def test_heat_capacity_of_two_branches_is_that_of_one() -> None:
    """That of all copies, which has the distance between the branches in it, is not drawn."""
    figure = plots.free_energy(Results(completed(metastable(both=True))))
    of_z, _, of_c = figure.axes
    assert sum(map(len, faces(of_z).values())) == 33
    assert of_c.containers == []
    assert of_c.get_title() == "random start alone"
    assert len(of_c.lines) == 1


@pytest.mark.parametrize(("loss", "has_line"), [("error-count", True), ("symmetric", True), ("square", False)])
def test_states_are_counted_where_energies_are_whole(loss: str, has_line: bool) -> None:
    """Else exp(n s) is a density of states, and 0 no bound."""
    data = spins.spins(np.random.default_rng(3), np.linspace(0, 2, 5), noise=0.0 if has_line else 0.3)
    data.attrs["run_toml"] = data.attrs["run_toml"].replace("error-count", loss)
    ax = plots.density_of_states(Results(completed(data))).axes[0]
    assert ("$s = 0$: one state" in [line.get_label() for line in ax.lines]) == has_line


@pytest.mark.parametrize(
    ("loss", "lines"),
    [
        ('name = "error-count"', [0.0]),
        ('name = "hinge"\nmargin = 0.5', [0.5]),
        ('name = "symmetric"\nmargin = 0.7', [-0.7, 0.7]),
        ('name = "square"', []),
    ],
)
def test_margins(loss: str, lines: list[float], results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    laws = distributions.stabilities(results)
    monkeypatch.setattr(distributions, "stabilities", lambda _: laws)
    data = synthetic(n_samples=10, beta=(1.0,), n_copies=1)
    data.attrs["run_toml"] = data.attrs["run_toml"].replace('name = "error-count"', loss)
    ax = plots.stabilities(Results(data)).axes[0]
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"] == lines


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "", ""),
        ("sweeps = 1000", "sweeps = 1000\nannealing = { beta = 0.1 }", ", annealed: at other betas"),
        ("beta = [1.0]", 'beta = [1.0]\ntune = "barrier"', ", in which the ladder was tuned: at other betas"),
    ],
)
def test_burn_in_at_other_betas_is_told(old: str, new: str, words: str) -> None:
    data = synthetic(n_samples=20)
    data.attrs["run_toml"] = data.attrs["run_toml"].replace(old, new, 1)
    results = Results(data)
    assert plots.traces(results).axes[-1].get_xlabel().endswith(f"shaded: burn-in{words}")
    assert plots.thermalisation(results).get_suptitle().endswith(f"shaded: burn-in{words}")
    none = Results(synthetic(n_samples=20, burn_in=0))
    assert "burn-in" not in plots.traces(none).axes[-1].get_xlabel() + plots.thermalisation(none).get_suptitle()


def test_no_round_trip_is_not_one() -> None:
    summary = Results(synthetic(n_samples=20)).summary()
    rungs = [replace(rung, round_trips=trips) for rung, trips in zip(summary.rungs, (None, 0, 1), strict=True)]
    ax = Figure().subplots()
    _verdicts(ax, replace(summary, rungs=rungs))
    (line,) = [line for line in ax.lines if str(line.get_label()).startswith("round trips")]
    assert line.get_ydata().tolist() == [0, 1]
    bottom, none, one = ax.transAxes.inverted().transform(
        ax.transData.transform([(1.0, ax.get_ylim()[0]), (1.0, 0), (1.0, 1)])
    )[:, 1]
    assert bottom < none < one - 0.05


def test_verdicts_have_the_same_colours_on_the_page() -> None:
    css = resources.files("mcmc").joinpath("templates/report.css").read_text()
    found = dict(re.findall(r"\.verdict\.([\w-]+) \{ border-color: (#\w+);", css))
    assert found == {class_of(verdict): colour.lower() for verdict, (colour, _) in VERDICTS.items()}


def test_edges_are_halfway() -> None:
    np.testing.assert_allclose(edges(np.array([0.0, 1.0, 3.0])), [-0.5, 0.5, 2, 4])
    np.testing.assert_allclose(edges(np.array([1.0, 10.0, 100.0])), 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))


def test_wrong_use_is_told(tmp_path: Path) -> None:
    results = Results(synthetic(n_samples=100))
    with pytest.raises(ConfigError, match="directory"):
        results.plot()
    with pytest.raises(ConfigError, match="format: got 'gif'"):
        results.plot(tmp_path / "new", format="gif")
    assert not (tmp_path / "new").exists()


def no_room(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_for_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    for directory in (path, path / "below"):
        with pytest.raises(ConfigError, match=r"directory: got .*, expected a directory"):
            plots.save({}, directory)
    assert run_command(["plot", str(tmp_path), "-o", str(path)]) == 2
    told = f"-o: got {path}, which is a file, expected a directory"
    assert capsys.readouterr().err == f"mcmc: error: {told}\n"
    assert path.read_text() == "mine"


def test_disks_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture is the old one or the new one."""
    found = {"empty": (Figure(figsize=(1, 1)), "")}
    (path,) = plots.save(found, tmp_path / "plots")
    path.write_text("before")
    for call, told in (("os.replace", "cannot write"), ("os.mkdir", "cannot make")):
        directory = path.parent if call == "os.replace" else tmp_path / "new"
        with monkeypatch.context() as patch:
            patch.setattr(call, no_room)
            with pytest.raises(StorageError, match=f"{told}: No space left"):
                plots.save(found, directory)
    assert list(tmp_path.rglob("*")) == [path.parent, path]
    assert path.read_text() == "before"
