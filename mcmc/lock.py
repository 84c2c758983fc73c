"""One run in one directory: a lock that needs of a file system nothing but links or exclusive creation.

Locks of the file system's own are missing on some network file systems, or hold on one host only. Here the lock is a
file that says who holds it. It appears whole under its name (a link to a file that is complete), so that one process
of many gets it. A holder touches it every few seconds. A lock is stale if its holder's process is gone, as far as this
host can see; of a holder elsewhere only its silence tells, while it is watched: clocks play no part.

Removing a stale lock must not remove the one of somebody who has just done the same: the right to remove a lock is a
lock itself, whose name comes from the bytes of the stale one. While it is held, nobody else removes these bytes; they
never come back, so whoever comes late finds others and starts anew. It may be stale too: the same holds for it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mcmc.errors import HeldError

_BEAT = 5.0
"""Seconds between two touches by the holder."""
_LOOKS = 10
"""In a beat, by who waits for a sign of life."""
_SILENT = 60.0
"""Seconds of silence after which a holder elsewhere is given up."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


class _Found(NamedTuple):
    """A lock file: its bytes, and when it was touched, in nanoseconds."""

    text: bytes
    touched: int

    @property
    def _holder(self) -> dict[str, Any]:
        """What the lock says of its holder; empty if it cannot be read (yet)."""
        with suppress(ValueError):
            said = json.loads(self.text)
            if isinstance(said, dict) and {"host", "machine"} <= said.keys():
                numbers = said.get("pid"), said.get("start")
                if all(type(number) is int for number in numbers) and 0 < numbers[0] < 2**31:
                    return said
        return {}

    def is_here(self) -> bool:
        """Whether this host knows the holder's process."""
        return self._holder.get("machine") == _machine()

    def is_stale(self) -> bool:
        """Whether the holder has been a process of this host, and is gone."""
        return self.is_here() and not runs(self._holder["pid"], self._holder["start"])

    def holder_name(self) -> str:
        holder = self._holder
        if not holder:
            return "somebody unknown (its lock cannot be read)"
        job = f", job {holder['job']}," if holder.get("job") else ""
        return f"process {holder['pid']} on {holder['host']}{job} (since {holder.get('since', '?')})"


class Lock:
    """A lock that this process holds, made by `take`; a thread touches it until `release`."""

    def __init__(self, path: Path, text: bytes) -> None:
        self.path, self._text = path, text
        self.token = _digest(text)
        """8 digits that no other lock has."""
        self._released = threading.Event()
        threading.Thread(target=self._beat, name=f"heartbeat of {path}", daemon=True).start()

    def is_ours(self) -> bool:
        """Touches it. False if somebody has taken it over: this process was silent (suspended, say) for too long.

        Raises OSError: a holder that cannot touch its lock is silent.
        """
        try:
            with open(self.path, "rb") as file:
                ours = file.read() == self._text
                if ours:
                    os.utime(file.fileno())
                return ours
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Gives the lock back, and removes what takers left that were killed; may be called twice."""
        self._released.set()
        with suppress(OSError):  # a disk that fails now has nothing more to tell
            if self.is_ours():
                for guard in self.path.parent.glob(f"{self.path.name}.{8 * '[0-9a-f]'}"):
                    guard.unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)

    close = release

    def _beat(self) -> None:
        while not self._released.wait(_BEAT):
            with suppress(OSError):  # who asks before the next write is told
                self.is_ours()


def take(path: Path) -> Lock:
    """Takes the lock `path`. Raises HeldError, which names the holder, and OSError.

    A stale lock of this host is no obstacle; a holder elsewhere counts as alive, see `clear`.
    """
    text = _signature()
    # named as all temporary files of a run are, so that it is removed if this process is killed
    mine = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}@{socket.gethostname()}.tmp")
    try:
        mine.write_bytes(text)
        while not _create(path, mine, text):
            found = _read(path)
            if found is None:
                continue
            if not found.is_stale():
                raise HeldError(
                    f"{path.parent}: {found.holder_name()} is running here; stop it first, or, if this is a copy of "
                    f"the directory where it runs, remove {path}"
                )
            _remove(path, found.text)
    finally:
        mine.unlink(missing_ok=True)
    return Lock(path, text)


def is_held(path: Path) -> bool:
    """Whether `take` would raise HeldError now. False if the disk fails: `take` tells why."""
    with suppress(OSError):
        found = _read(path)
        return found is not None and not found.is_stale()
    return False


def remove_stale(path: Path) -> None:
    """Removes the lock of a process of this host that is gone, if there is one and the disk lets us."""
    with suppress(HeldError, OSError):
        found = _read(path)
        if found is not None and found.is_stale():
            _remove(path, found.text)


def clear(paths: Iterable[Path], announce: Callable[[str], object], stop: Callable[[], bool] = lambda: False) -> bool:
    """Removes the locks whose holders on other hosts are silent. All are watched at once, for up to a minute.

    announce: is told of those who have missed two beats, and are waited for
    stop: whether to end the waiting, is asked now and again; then False is returned, and no lock is removed

    Raises OSError. A lock that somebody else is removing at the same time is left to that one.
    """
    watched = {path: found for path in paths if (found := _read(path)) and not found.is_here()}
    # looks, not seconds: if this process is suspended, so may be the holder
    for look in range(round(_LOOKS * _SILENT / _BEAT)):
        if not watched:
            break
        if stop():
            return False
        if look == 2 * _LOOKS:
            for path, found in watched.items():
                holder = found.holder_name()
                announce(f"{path.parent}: is held by {holder}: waiting for a sign of life, up to {_SILENT:g} s")
        time.sleep(_BEAT / _LOOKS)
        watched = {path: found for path, found in watched.items() if _read(path) == found}
    for path, found in watched.items():
        with suppress(HeldError):
            if not clear([_guard(path, found.text)], announce, stop):
                return False
            _remove(path, found.text)
    return True


def _create(path: Path, mine: Path, text: bytes) -> bool:
    """Whether `path` is now a lock with this text; False if there is one already."""
    try:
        os.link(mine, path)
    except FileExistsError:
        found = _read(path)
        return found is not None and found.text == text  # a network file system has lost its first answer: it is ours
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            with open(path, "xb") as file:  # whoever reads before the text is there does not know the holder, and waits
                file.write(text)
        except FileExistsError:
            return False
    return True


def _guard(path: Path, stale: bytes) -> Path:
    return path.with_name(f"{path.name}.{_digest(stale)}")


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:8]


def _remove(path: Path, stale: bytes) -> None:
    """Removes the stale lock, unless somebody else has done so."""
    with closing(take(_guard(path, stale))):
        found = _read(path)
        if found is not None and found.text == stale:
            path.unlink(missing_ok=True)


def _read(path: Path) -> _Found | None:
    try:
        with open(path, "rb") as file:  # opening asks a network file system anew, a mere stat may not
            return _Found(file.read(), os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None


def _signature() -> bytes:
    """What this process writes into a lock; no two are alike."""
    said = {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "start": _start(os.getpid()),
        "job": next((os.environ[name] for name in _JOBS if name in os.environ), ""),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "token": secrets.token_hex(16),
    }
    return (json.dumps(said, indent=1) + "\n").encode()


@cache
def _machine() -> str:
    """Where process numbers mean the same: one boot of a kernel, and one space of numbers (containers have theirs)."""
    with suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _start(process: int) -> int | None:
    """When a process was started, in ticks since the boot; None if it has ended (a zombie, too) or cannot be seen."""
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else int(fields[19])
    return None


def runs(process: int, start: int | None = None) -> bool:
    """Whether a process (the one that was started then) runs on this host."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, of whom /proc may tell nothing
        return start is None or _start(process) in (None, start)
    return _start(process) is not None if start is None else _start(process) == start
