"""The compiled kernels; everything else about the package is in pyproject.toml.

Every ext/NAME.pyx becomes the module mcmc.kernels.NAME. Two variables of the environment make other builds:

MCMC_SANITIZE=address,undefined   sanitizers, bounds checks on (`make sanitize`)
MCMC_TRACE=1                      line tracing for coverage of the Cython files

Neither is noticed by a build that is up to date: python setup.py build_ext --inplace --force.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZE = os.environ.get("MCMC_SANITIZE", "")
TRACE = os.environ.get("MCMC_TRACE") == "1"
JOBS = len(os.sched_getaffinity(0))

# None of these changes a value: contraction to FMA is off because every instruction set must give the same bits, and
# errno and traps are not part of any value. Never -ffast-math (reorders sums), never -march=native (one wheel runs
# everywhere; the kernels choose the instruction set at import).
VALUE_SAFE = ["-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]


def flags() -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """Compiler flags, linker flags and macros of the build that the environment asks for."""
    if SANITIZE:
        sanitizers = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
        return ["-O1", "-g", *sanitizers, *VALUE_SAFE], sanitizers, []
    if TRACE:
        # sys.monitoring reports no lines of compiled code to coverage's Cython plugin
        tracing = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
        return ["-O0", "-g0", *VALUE_SAFE], [], tracing
    return ["-O3", "-g0", *VALUE_SAFE], [], []


def extensions() -> list[Extension]:
    """One extension per ext/*.pyx; a changed header or flag rebuilds them all."""
    headers = sorted(str(path) for pattern in ("**/*.pxd", "include/*.h") for path in Path("ext").glob(pattern))
    compile_args, link_args, macros = flags()
    return [
        Extension(
            f"mcmc.kernels.{path.stem}",
            [str(path)],
            include_dirs=["ext/include"],
            depends=[*headers, "setup.py"],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
            define_macros=macros,
        )
        for path in sorted(Path("ext").glob("*.pyx"))
    ]


def main() -> None:
    modules = cythonize(
        extensions(),
        include_path=["ext"],
        nthreads=JOBS,
        build_dir=None if TRACE else "build/cython",  # the coverage plugin looks for the .c beside its .pyx
        compiler_directives={
            "language_level": 3,
            "boundscheck": bool(SANITIZE),
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
            "linetrace": TRACE,
        },
    )
    setup(ext_modules=modules, options={"build_ext": {"parallel": JOBS}})


if __name__ == "__main__":  # cythonize's worker processes may import this file
    main()
