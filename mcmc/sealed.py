"""Files that are whole or not there: written under another name and renamed, and HDF5 files with a seal.

A seal is a line of ASCII behind the end of the HDF5 data, where HDF5 readers ignore it: kind of file, format version,
and the sha256 of all bytes before the seal. It is compared with the raw bytes before HDF5 sees them, because the HDF5
library does not survive every damaged file. `head -c -128 FILE | sha256sum` does the same by hand.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from mcmc import lock
from mcmc.errors import StorageError
from mcmc.schema import FORMAT_VERSION, OLDEST_VERSIONS

_BLOCK = 1 << 20
_SEAL_BYTES = 128
_SEAL = re.compile(rb"\nmcmc (\w+) format_version=(\d+) sha256=([0-9a-f]{64}) *\n")
_STALE_SECONDS = 600.0
_ADVICE = {
    errno.ENOSPC: "make room on the disk; then the same command continues",
    errno.EDQUOT: "make room within the quota; then the same command continues",
    errno.EFBIG: "raise the limit of the size of files, ulimit -f; then the same command continues",
    errno.EROFS: "make the file system writable; then the same command continues",
    errno.EACCES: "it needs the right to do so; then the same command continues",
    errno.EIO: "when the disk is mended, the same command continues",
}
"""What to do, by the error of the operating system."""


def write_atomically(
    path: str | os.PathLike[str],
    writer: Callable[[BinaryIO], object],
    *,
    durable: bool = True,
    keep: Path | None = None,
    confirm: Callable[[], object] = lambda: None,
) -> None:
    """Makes or replaces the file `path` with what `writer` puts into the open file that it is given.

    At every instant `path` is the old or the new file (with `keep`, where the old one is moved: or missing for a moment
    while the old one is there). `durable`: on the disk when this returns. `confirm`: called right before every
    renaming, as writing may have taken long; if it raises, that one is not done. Raises StorageError when the disk
    fails.
    """
    path = Path(path)
    temporary = path.with_name(
        f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}@{socket.gethostname()}.tmp"  # see owner
    )
    try:
        try:
            with open(temporary, "x+b") as file:
                writer(file)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            if keep is not None:
                confirm()
                os.replace(path, keep)
            confirm()
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        raise cannot("write", path, error) from error


def write(
    path: Path,
    kind: str,
    fill: Callable[[h5py.File], None],
    keep: Path | None = None,
    confirm: Callable[[], object] = lambda: None,
) -> str:
    """Writes a sealed HDF5 file whose contents `fill` makes; returns the sha256 of its seal."""
    digests = []

    def writer(file: BinaryIO) -> None:
        disk = _Disk(file)
        try:
            with h5py.File(disk, "w", libver=("earliest", "v110")) as h5:
                h5.attrs["format_version"] = FORMAT_VERSION
                fill(h5)
        finally:
            if disk.error is not None:
                raise disk.error
        n_bytes = file.seek(0, os.SEEK_END)
        digests.append(_sha256(file, n_bytes))
        file.seek(n_bytes)
        file.write(_seal(kind, digests[0]))

    write_atomically(path, writer, keep=keep, confirm=confirm)
    return digests[0]


class _Disk(io.RawIOBase):
    """A file as HDF5 sees it: after the first operation that fails, all others pretend to succeed.

    HDF5 cannot close a file that it cannot write to, and may crash at exit on one that it could not close.
    Like this it closes always, and the error is raised afterwards.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def _attempt(self, operation: Callable[..., int], *args: Any, otherwise: int) -> int:
        if self.error is None:
            try:
                return operation(*args)
            except OSError as error:
                self.error = error
        return otherwise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._attempt(self._file.seek, offset, whence, otherwise=offset)

    def readinto(self, buffer: memoryview) -> int:
        return self._attempt(self._file.readinto, buffer, otherwise=len(buffer))  # type: ignore[attr-defined]

    def write(self, buffer: memoryview) -> int:
        return self._attempt(self._file.write, buffer, otherwise=len(buffer))

    def truncate(self, size: int) -> int:
        return self._attempt(self._file.truncate, size, otherwise=size)

    def flush(self) -> None:
        """Nothing: `write_atomically` flushes once, at the end."""


def _seal(kind: str, sha256: str) -> bytes:
    line = f"\nmcmc {kind} format_version={FORMAT_VERSION} sha256={sha256}"
    return line.encode().ljust(_SEAL_BYTES - 1) + b"\n"


def _sha256(file: BinaryIO, n_bytes: int) -> str:
    """Of the first `n_bytes` of the file."""
    digest = hashlib.sha256()
    file.seek(0)
    while n_bytes > 0 and (block := file.read(min(_BLOCK, n_bytes))):
        digest.update(block)
        n_bytes -= len(block)
    return digest.hexdigest()


@contextmanager
def opened(path: Path, kind: str, sha256: str | None = None) -> Iterator[h5py.File]:
    # HDF5 reads through our file, not by name: these are the bytes that were verified, and no lock is taken on them
    with open_verified(path, kind, sha256) as file, h5py.File(file, "r") as h5:
        yield h5


def open_verified(path: Path, kind: str, sha256: str | None = None) -> BinaryIO:
    """Opens the file after comparing it with its seal (and with the digest that a checkpoint lists)."""
    file = open_file(path)
    try:
        _verify(file, path, kind, sha256)
    except OSError as error:
        file.close()
        raise cannot("read", path, error) from error
    except StorageError:
        file.close()
        raise
    file.seek(0)
    return file


def open_file(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise StorageError(f"{path}: missing") from error
    except OSError as error:
        raise cannot("read", path, error) from error


def identity(file: BinaryIO) -> tuple[int, ...]:
    """What tells an open file from another one that has taken its name, or from itself before it was changed."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _verify(file: BinaryIO, path: Path, kind: str, sha256: str | None) -> None:
    n_bytes = file.seek(0, os.SEEK_END) - _SEAL_BYTES
    file.seek(max(n_bytes, 0))
    seal = _SEAL.fullmatch(file.read()) if n_bytes > 0 else None
    if seal is None:
        raise StorageError(f"{path}: damaged: no checksum at its end (cut short, or changed by another program)")
    found, version, expected = (group.decode() for group in seal.groups())
    if found != kind:
        raise StorageError(f"{path}: is a {found} file, expected a {kind} file")
    if not OLDEST_VERSIONS.get(kind, FORMAT_VERSION) <= int(version) <= FORMAT_VERSION:
        raise StorageError(f"{path}: has format version {version}, this mcmc reads version {FORMAT_VERSION}")
    if _sha256(file, n_bytes) != expected:
        raise StorageError(f"{path}: damaged: its bytes do not match its checksum")
    if sha256 not in (None, expected):
        raise StorageError(f"{path}: is not the file that the checkpoint lists (its checksum differs)")


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def owner(name: str) -> tuple[int, str] | None:
    """Process and host of a temporary file, from its name; None for any other name."""
    match = re.fullmatch(r"\..+\.[0-9a-f]{8}\.(\d+)@(.*)\.tmp", name)
    return (int(match[1]), match[2]) if match else None


def stale(path: Path) -> bool:
    """Whether a temporary file's writer is dead; of one on another host, whether it has been quiet for ten minutes."""
    found = owner(path.name)
    if found is None:
        return False
    process, host = found
    if host == socket.gethostname() and (process == os.getpid() or not lock.runs(process)):
        return True  # of this number: an earlier one, this process is not writing now
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _STALE_SECONDS
    return False


def remove_directories(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.rmdir()


def cannot(verb: str, path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: cannot {verb}: {reason(error)}")


def reason(error: OSError) -> str:
    advice = _ADVICE.get(error.errno)
    return (error.strerror or " ".join(str(error).split())) + (f" ({advice})" if advice else "")
