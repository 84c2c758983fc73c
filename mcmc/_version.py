"""The version, written here alone; a literal, because importlib.metadata would cost every process a directory scan."""

__version__ = "0.1.0"
