"""How benchmarks start programs under MPI: by the launchers that `make test` puts into .mpi/, or the machine's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_WHEELS = Path(__file__).resolve().parent.parent / ".mpi"
_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl": "^ofi",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""More ranks than cores, not bound to cores. Open MPI 5 reads the PRTE names, Open MPI 4 the OMPI ones."""


class Launcher(NamedTuple):
    """An `mpirun`, and the library that mpi4py loads under it; None: the one that it finds itself."""

    name: str
    mpirun: str
    library: str | None

    def run(self, n_ranks: int, program: Sequence[str], timeout: float = 600) -> str:
        """What a Python program, file and arguments, prints on so many ranks. CalledProcessError if it fails."""
        environment = os.environ | _ENVIRONMENT | ({"MPI4PY_LIBMPI": self.library} if self.library else {})
        command = [self.mpirun, "-n", str(n_ranks), sys.executable, *program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=True)
        return done.stdout

    def result(self, n_ranks: int, program: Sequence[str], timeout: float = 600) -> Any:
        """The JSON value in the line that starts with "result ", of rank 0."""
        lines = [line for line in self.run(n_ranks, program, timeout).splitlines() if line.startswith("result ")]
        if len(lines) != 1:
            raise RuntimeError(f"{self.name}: {len(lines)} ranks 0: launcher and library do not belong together")
        return json.loads(lines[0].removeprefix("result "))


def launchers() -> list[Launcher]:
    """Those in .mpi/; without any, the one on PATH or beside Python."""
    found = [
        Launcher(path.parent.parent.name, str(path), str(path.parent.parent / "lib"))
        for path in sorted(_WHEELS.glob("*/bin/mpirun"))
    ]
    mpirun = shutil.which("mpirun") or shutil.which("mpirun", path=Path(sys.executable).parent)
    return found or ([Launcher("site", mpirun, None)] if mpirun else [])
