"""The pictures: every kind of run gives files with labelled axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from mcmc.analysis import Results, plots
from mcmc.errors import ConfigError
from synthetic import synthetic

CASES = {
    "usual": {"n_instances": 3, "disorder": 1.0},
    "one rung, one copy, no teacher": {"beta": (1.0,), "n_copies": 1, "source": "random"},
    "no teacher": {"source": "random", "beta": (0.05, 0.5, 2.0)},
    "few samples": {"n_samples": 3},
    "several units": {"architecture": "parity", "n_hidden": 3, "n_weights": 303},
    "tree": {"architecture": "tree-committee", "n_hidden": 3, "n_weights": 303},
}


@pytest.mark.parametrize("case", CASES)
def test_files(case: str, tmp_path: Path) -> None:
    results = Results(synthetic(**{"n_samples": 200} | CASES[case]))
    paths = results.plot(tmp_path / "pictures")
    one_rung = case.startswith("one rung")
    assert [path.name for path in paths] == ["overview.png", "traces.png"] + ([] if one_rung else ["exchange.png"])
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_pdf_into_the_directory_of_the_run(tmp_path: Path) -> None:
    paths = Results(synthetic(n_samples=100), tmp_path).plot(format="pdf")
    assert paths[0] == tmp_path / "plots" / "overview.pdf"
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths)


def labels(figure: Figure) -> list[str]:
    assert all(ax.get_xlabel() or ax.get_shared_x_axes().get_siblings(ax)[1:] for ax in figure.axes)
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


def test_error_bars_are_those_of_the_summary() -> None:
    results = Results(synthetic(n_samples=1000, n_instances=2, disorder=1.0))
    (container,) = [c for c in plots.overview(results).axes[0].containers if len(c.lines[0].get_xdata())]
    bars = np.array([segment[:, 1] for segment in container.lines[2][0].get_segments()])
    errors = [rung.estimates["energy_per_pattern"].error for rung in results.summary().rungs]
    np.testing.assert_allclose((bars[:, 1] - bars[:, 0]) / 2, errors)


def test_without_exchange_and_accept_step() -> None:
    data = synthetic(n_samples=100)
    data["exchange_proposed"][:] = 0
    data["exchange_accepted"][:] = 0
    data["acceptance"][:] = np.nan
    texts = [text.get_text() for ax in plots.exchange(Results(data)).axes for text in ax.texts]
    assert texts == ["no exchange", "no accept step"]


def test_wrong_use_is_told(tmp_path: Path) -> None:
    results = Results(synthetic(n_samples=100))
    with pytest.raises(ConfigError, match="directory"):
        results.plot()
    with pytest.raises(ConfigError, match="format: got 'gif'"):
        results.plot(tmp_path / "new", format="gif")
    assert not (tmp_path / "new").exists()
