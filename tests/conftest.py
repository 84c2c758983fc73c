"""Fixtures that several test files share."""

from __future__ import annotations

import pytest

from launchers import Launcher, available


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for `launcher` run under every MPI launcher there is, with the marker `mpi`."""
    if "launcher" in metafunc.fixturenames:
        launchers = available()
        skipped = pytest.param(None, marks=[pytest.mark.mpi, pytest.mark.skip(reason="no MPI launcher: make test")])
        marked = [pytest.param(launcher, marks=pytest.mark.mpi, id=str(launcher)) for launcher in launchers]
        metafunc.parametrize("launcher", marked or [skipped])


@pytest.fixture(scope="session")
def any_launcher() -> Launcher:
    """One launcher, for what does not depend on which."""
    launchers = available()
    if not launchers:
        pytest.skip("no MPI launcher: make test")
    return launchers[0]
