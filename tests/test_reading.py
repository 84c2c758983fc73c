"""Datasets that are read when they are used: the same values as in memory, whatever is asked of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mcmc
from mcmc import reading
from mcmc.analysis import results as results_module
from mcmc.errors import StorageError
from mcmc.reading import _between, read_dataset
from mcmc.schema import VARIABLES
from running import tables

RUN = {"data.n_instances": 2, "schedule.measure_every": 1, "schedule.burn_in": 20}
N_ROWS = 60


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_SMALL", -1)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A complete run, and one with three segments whose results are not there yet."""
    folder = tmp_path_factory.mktemp("runs")
    for name, ends in (("complete", (N_ROWS,)), ("running", (27, 31, N_ROWS))):
        for sweeps in ends:
            mcmc.run(tables(RUN | {"schedule.sweeps": sweeps}), folder / name, quiet=True)
    assert len(list((folder / "running" / "segments").iterdir())) == 3
    (folder / "running" / "results.h5").unlink()
    return {name: folder / name for name in ("complete", "running")}


@pytest.mark.parametrize("state", ["complete", "running"])
def test_dataset(state: str, directories: dict[str, Path]) -> None:
    """What h5netcdf makes of results.h5, whatever it is read from."""
    found = read_dataset(directories[state])
    with xr.open_dataset(directories["complete"] / "results.h5", engine="h5netcdf") as expected:
        assert list(found.variables) == [name for name in VARIABLES if name in found.variables]
        assert set(found.coords) == set(expected.coords)
        if state == "running":
            assert set(expected.data_vars) - set(found.data_vars) == {"magnetisation"}
            expected = expected.drop_vars("magnetisation").assign_attrs(complete=0)
        for name, values in found.variables.items():
            assert values.dtype == expected[name].dtype
            assert values.attrs == expected[name].attrs
        xr.testing.assert_identical(found.load(), expected.load())


def _slices(size: int) -> st.SearchStrategy[slice]:
    ends = st.none() | st.integers(-size - 2, size + 2)
    steps = st.none() | st.sampled_from([1, 2, 3, 7, 50, -1, -4])
    return st.builds(slice, ends, ends, steps)


def _keys(size: int) -> st.SearchStrategy:
    numbers = st.integers(-size, size - 1)
    return (
        numbers | _slices(size) | st.lists(numbers, max_size=5) | st.lists(st.booleans(), min_size=size, max_size=size)
    )


@settings(max_examples=100, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("state", ["complete", "running"])
def test_any_selection(state: str, directories: dict[str, Path], data: st.DataObject) -> None:
    """One after the other, too: a selection of a selection."""
    lazy = read_dataset(directories[state])["energy"]
    held, backwards = lazy.copy().load(), False
    for _ in range(2):
        dims = data.draw(st.lists(st.sampled_from(lazy.dims), unique=True)) if lazy.dims else []
        keys = {dim: data.draw(_keys(lazy.sizes[dim])) for dim in dims if lazy.sizes[dim]}
        lazy, held = lazy.isel(keys), held.isel(keys)
        backwards |= any(isinstance(key, slice) and (key.step or 1) < 0 for key in keys.values())
    assume(held.size or not backwards)  # xarray itself cannot take nothing backwards out of any file
    xr.testing.assert_identical(lazy.compute(), held)


def test_rows_of_a_piece() -> None:
    for start in range(5):
        for stop in range(start, 12):
            for step in (1, 2, 3, 20):
                rows = range(start, stop, step)
                for first in range(12):
                    assert list(_between(rows, first, first + 4)) == [r for r in rows if first <= r < first + 4]


def test_one_rung_reads_one_rung(directories: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of rungs are the whole, and the dataset they come from stays on the disk."""
    results = mcmc.load(directories["running"])
    whole = results.equilibrium().compute()
    for at_a_time, n_pieces in ((1, 4), (1 << 28, 1)):
        monkeypatch.setattr(results_module, "BYTES_AT_A_TIME", at_a_time)
        pieces = list(results.by_rungs())
        assert len(pieces) == n_pieces
        series = [name for name in whole.data_vars if {"sample", "rung"} <= set(whole[name].dims)]
        assert series
        for name in series:
            np.testing.assert_array_equal(np.concatenate([p[name] for p in pieces], -1), whole[name])
    assert not results.dataset["energy"].variable._in_memory


@pytest.mark.parametrize("state", ["complete", "running"])
def test_files_replaced_meanwhile(state: str, directories: dict[str, Path], tmp_path: Path) -> None:
    """Never values of another file than the one that was verified."""
    shutil.copytree(directories[state], tmp_path / "run")
    dataset = read_dataset(tmp_path / "run")
    before = dataset["overlap"].to_numpy()
    path = (
        max((tmp_path / "run").rglob("*0*.h5"), default=None) if state == "running" else tmp_path / "run" / "results.h5"
    )
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    with pytest.raises(StorageError, match="replaced"):
        dataset["energy"].to_numpy()
    np.testing.assert_array_equal(dataset["overlap"].to_numpy(), before)  # kept
    path.unlink()
    with pytest.raises(StorageError, match="missing"):
        dataset["energy"].to_numpy()


def test_small_runs_are_in_memory(directories: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    """Whatever happens to the files afterwards."""
    monkeypatch.setattr(reading, "_SMALL", 1 << 20)
    shutil.copytree(directories["complete"], tmp_path / "run")
    dataset = read_dataset(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    xr.testing.assert_identical(dataset, read_dataset(directories["complete"]))
