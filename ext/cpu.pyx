"""The instruction-set level in use: the best one the CPU has, or the one MCMC_ISA names (portable, avx2, avx512)."""
import os

from mcmc.errors import ConfigError

cdef extern from "isa.h" nogil:
    int isa_best()

LEVELS = ("portable", "avx2", "avx512")


def available():
    """Levels this CPU can run, slowest first: tuple of str."""
    return LEVELS[: isa_best() + 1]


def level():
    """Name of the level that blocks built from now on use."""
    return LEVELS[_level]


def index():
    """Position of `level()` in LEVELS, for tables of function pointers."""
    return _level


def use(str name):
    """Choose a level for the blocks built from now on. ConfigError, a ValueError, if the CPU lacks it."""
    global _level
    if name not in available():
        raise ConfigError(f"MCMC_ISA: got {name!r}, this CPU has {', '.join(available())}")
    _level = LEVELS.index(name)


cdef int _level = isa_best()
if os.environ.get("MCMC_ISA"):
    use(os.environ["MCMC_ISA"])
