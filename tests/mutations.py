"""Wrong files, generated: changes of bytes, and changes of run files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tomli_w

# --- bytes ---

_SIGNATURES = (b"\x89HDF", b"OHDR", b"TREE", b"HEAP", b"SNOD", b"FRHP", b"BTHD", b"BTLF", b"FAHD", b"EAHD", b"PK")
"""Where structures of HDF5 (and of zip archives) begin."""


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one damage; half of them lie where the format keeps its structure."""
    changes = (_flip, _flip, _huge, _zero, _insert, _remove, _swap, _copy, _truncate)
    damaged = content
    while damaged == content:
        damaged = changes[rng.integers(len(changes))](content, _position(content, rng), rng)
    return damaged


def _position(content: bytes, rng: np.random.Generator) -> int:
    places = [place for signature in _SIGNATURES for place in _places(content, signature)]
    if places and rng.random() < 0.6:
        return min(int(rng.choice(places) + rng.integers(200)), len(content) - 1)
    return int(rng.integers(len(content)))


def _places(content: bytes, signature: bytes) -> Iterator[int]:
    place = content.find(signature)
    while place >= 0:
        yield place
        place = content.find(signature, place + 1)


def _flip(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]


def _huge(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    """A number where sizes and addresses stand."""
    value = int(rng.choice([2**63, 2**62, 2**40, 2**32 - 1, 2**31, 65535, 1]))
    return content[:at] + value.to_bytes(8, "little") + content[at + 8 :]


def _zero(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    size = min(int(rng.choice([1, 8, 64, 512])), len(content) - at)
    return content[:at] + bytes(size) + content[at + size :]


def _insert(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at] + rng.bytes(int(rng.integers(1, 64))) + content[at:]


def _remove(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at] + content[at + int(rng.integers(1, 64)) :]


def _swap(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    size = int(rng.choice([8, 64, 512]))
    one, two = sorted((at // size, int(rng.integers(len(content))) // size))
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    blocks[one], blocks[two] = blocks[two], blocks[one]
    return b"".join(blocks)


def _copy(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    """A piece from elsewhere, such as one structure over another."""
    size, source = int(rng.choice([4, 8, 32, 128])), int(rng.integers(len(content)))
    return content[:at] + content[source : source + size] + content[at + size :]


def _truncate(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at]


# --- run files ---

VALUES: tuple[Any, ...] = (
    *(True, False, -1, 0, 1, 2, 3, 1.5, -0.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")),
    *(2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**64, 10**30, "", " ", "x", "x\ny", "\x00", "auto", "é" * 300, "nan", "1"),
    *([], [[]], [0.1, "x"], [1, 1], [0.1] * 1000, {}, {"a": 1}, {"min": 0.1}, {"min": 0, "max": 1, "n": 10**9}),
    *("/dev/null", "/", "no/such/file.npz", "no/such/file.h5", "no/such/run", "../../..", "a" * 5000 + ".npz"),
)


def wrong_run_file(tables: dict[str, Any], rng: np.random.Generator) -> bytes:
    """A run file with one to three changes; some are right all the same."""
    tables = copy.deepcopy(tables)
    for _ in range(int(rng.integers(1, 4))):
        changes = (_replace, _replace, _replace, _delete, _misspell, _move, _borrow, _nest)
        changes[rng.integers(len(changes))](tables, rng)
    text = tomli_w.dumps(tables).encode()
    if rng.random() < 0.75:
        return text
    return _TEXTS[rng.integers(len(_TEXTS))](text, rng)


def _leaves(tables: dict[str, Any], every: bool = False) -> list[tuple[dict[str, Any], str]]:
    """Tables and keys of all values; every: of tables, too."""
    found = []
    for key, value in tables.items():
        is_table = isinstance(value, dict)
        found += [(tables, key)] * (every or not is_table) + (_leaves(value, every) if is_table else [])
    return found


def _some(tables: dict[str, Any], rng: np.random.Generator, every: bool = False) -> tuple[dict[str, Any], str]:
    found = _leaves(tables, every) or [(tables, "seed")]
    return found[rng.integers(len(found))]


def _replace(tables: dict[str, Any], rng: np.random.Generator) -> None:
    table, key = _some(tables, rng, every=rng.random() < 0.1)
    table[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])


def _delete(tables: dict[str, Any], rng: np.random.Generator) -> None:
    table, key = _some(tables, rng, every=True)
    table.pop(key, None)


def _misspell(tables: dict[str, Any], rng: np.random.Generator) -> None:
    table, key = _some(tables, rng, every=True)
    at = int(rng.integers(len(key)))
    name = str(rng.choice([key[:at] + key[at + 1 :], key[:at] + "x" + key[at:], key.upper(), key + "\n", key + "."]))
    table[name] = table.pop(key, 1)


def _move(tables: dict[str, Any], rng: np.random.Generator) -> None:
    (table, key), (other, _) = _some(tables, rng, every=True), _some(tables, rng)
    other[key] = copy.deepcopy(table.pop(key, 1))


def _borrow(tables: dict[str, Any], rng: np.random.Generator) -> None:
    """A key of another kind of run: often a contradiction."""
    table, key, value = _BORROWED[rng.integers(len(_BORROWED))]
    if isinstance(tables.setdefault(table, {}), dict):
        tables[table][key] = copy.deepcopy(value)


def _nest(tables: dict[str, Any], rng: np.random.Generator) -> None:
    table, key = _some(tables, rng)
    for _ in range(int(rng.choice([1, 3, 60]))):
        table[key] = [table.get(key)] if table.get(key) is not None else []


_BORROWED: tuple[tuple[str, str, Any], ...] = (
    ("model", "weights", "gaussian"),
    ("model", "weights", "spherical"),
    ("model", "architecture", "committee"),
    ("model", "n_hidden", 2),
    ("model", "activation", "relu"),
    ("model", "second_layer", "sampled"),
    ("model", "loss", {"name": "symmetric", "margin": 1}),
    ("model", "n_inputs", 1),
    ("data", "n_patterns", 7),
    ("data", "alpha", 1e9),
    ("data", "alpha", 1e-9),
    ("data", "source", "file"),
    ("data", "source", "random"),
    ("data", "path", "."),
    ("data", "labels", "real"),
    ("data", "n_instances", 2**31 - 1),
    ("data", "teacher", {"architecture": "parity", "n_hidden": 2}),
    ("sampler", "method", "hmc"),
    ("sampler", "order", "sequential"),
    ("sampler", "step_size", [0.1, 0.2]),
    ("sampler", "batch_size", 5),
    ("ladder", "beta", []),
    ("ladder", "n_copies", 2**31 - 1),
    ("schedule", "start", "both"),
    ("schedule", "sweeps", 2**53 - 1),
    ("schedule", "burn_in", 2**53 - 1),
    ("checkpoint", "every", "0 s"),
    ("output", "weights_every", 1),
    ("output", "waiting_times", [5, 3]),
    ("constraint", "reference", "run"),
    ("constraint", "overlap", 2),
)


def _line_twice(text: bytes, rng: np.random.Generator) -> bytes:
    lines = text.splitlines(keepends=True)
    at = int(rng.integers(len(lines)))
    return b"".join(lines[: at + 1] + lines[at:])


_TEXTS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    mutated,
    _line_twice,
    lambda text, rng: text[: rng.integers(len(text))],
    lambda text, rng: text.decode().encode("utf-16"),
    lambda text, rng: text + 'ä = "ö"\n'.encode("latin-1"),
    lambda text, rng: b"\xef\xbb\xbf" + text,
    lambda text, rng: text.replace(b"=", b":", 1),
    lambda text, rng: text.replace(b"\n", b"\r", 3),
    lambda text, rng: text.replace(b" = ", b" = 0", 1),
    lambda text, rng: b"x = " + b"[" * 20_000 + text,
    lambda text, rng: b"x." * 500 + b"y = 1\n" + text,
    lambda text, rng: b"seed = " + b"9" * 10_000 + b"\n" + text.replace(b"seed", b"# ", 1),
    lambda text, rng: b"",
)
