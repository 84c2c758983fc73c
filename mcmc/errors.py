"""The errors a user can meet, one class per exit code."""


class ConfigError(ValueError):
    """The run file, the command line or a data file of the user's is wrong (exit code 2).

    The message is one line: the key, what was given, what is allowed.
    """


class StorageError(RuntimeError):
    """A file that `mcmc` wrote is damaged, missing, or belongs to another run (exit code 3)."""


class DivergenceError(RuntimeError):
    """A walker has left the numbers: an energy that is not finite in the state of a chain.

    The message is one line: instance, walker, sweep, beta and step size.
    """
