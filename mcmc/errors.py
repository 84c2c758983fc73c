"""The errors a user can meet, one class per exit code."""


class ConfigError(ValueError):
    """The run file, the command line or a data file of the user's is wrong (exit code 2).

    The message is one line: the key, what was given, what is allowed.
    """


class StorageError(RuntimeError):
    """A file that `mcmc` wrote is damaged, missing, or belongs to another run (exit code 3)."""


class HeldError(StorageError):
    """Another process is at work in the directory of the run."""


class DivergenceError(RuntimeError):
    """A computation has left the numbers: weights or energies that are not finite, or a mass matrix without a root.

    The message is one line; of a walker: instance, walker, sweep, beta and step size.

    at: (sweep, instance, walker), by which ranks agree on the first of several; unknown to ranks without walkers.
    """

    def __init__(self, message: str, at: tuple[int, int, int] = (0, 0, 0)) -> None:
        super().__init__(message)
        self.at = at
