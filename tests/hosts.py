"""Several hosts on one machine, from Linux namespaces: each with its own network, name, processes and shared memory.

All hang on one switch; they share the files. Nothing is named outside, so any number of such networks live side by
side, and they end with the process that made them. Needs root, iproute2 and util-linux.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from launchers import Launcher

LOGIN = "el0"
"""The host of mpirun; it sees the processes of all others, so that a stand-in for ssh can enter those."""

_TOOLS = ("ip", "unshare", "nsenter", "setpriv")

_REMOTE_SHELL = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec nsenter -t "$(cat FOLDER/$host.pid)" --net --uts --ipc --pid --mount -- sh -c "$*"
"""

_INIT = """
hostname HOST; mount --make-rprivate /; mount --bind FOLDER/hosts /etc/hosts; ip link set lo up
mount -t tmpfs tmpfs /dev/shm; [ HOST = el0 ] || mount -t proc proc /proc
touch FOLDER/HOST.up; exec sleep infinity
"""


@cache
def why_not() -> str:
    """Why this machine cannot have them; empty if it can."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)}"
    if os.geteuid():
        return "not root"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--ipc", "--pid", "--mount", "--fork", "sh", "-c", "ip link add type veth"],
        capture_output=True,
        text=True,
    )
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode else ""


class Hosts:
    """el1 .. elN, and the login host."""

    def __init__(self, n: int, folder: Path) -> None:
        self.folder = folder
        self.names = [f"el{number}" for number in range(1, n + 1)]
        self.pids: dict[str, int] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._switch = 0

    def up(self) -> None:
        everyone = [LOGIN, *self.names]
        lines = [f"10.77.0.{number + 1} {name}" for number, name in enumerate(everyone)]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        shell = self.folder / "rsh"
        shell.write_text(_REMOTE_SHELL.replace("FOLDER", str(self.folder)))
        shell.chmod(0o755)
        self._switch = self._spawn(["unshare", "--net", "sleep", "infinity"]).pid
        _wait(lambda: _network(self._switch) != _network(os.getpid()))
        self._switched("ip link add br0 type bridge && ip link set br0 up")
        for number, name in enumerate(everyone):
            self.pids[name] = self._boot(name)
            (self.folder / f"{name}.pid").write_text(str(self.pids[name]))
            veth = f"ip link add v{number} type veth peer name eth0 netns {self.pids[name]}"
            self._switched(f"{veth} && ip link set v{number} master br0 up")
            self.on(name, f"ip addr add 10.77.0.{number + 1}/24 dev eth0 && ip link set eth0 up")

    def down(self) -> None:
        for process in self._processes:
            process.kill()  # `unshare --kill-child` takes the host with it
            process.wait()

    def command(self, launcher: Launcher, n_per_host: Sequence[int], args: Sequence[str]) -> list[str]:
        """mpirun on the login host, with so many ranks on el1, el2, ..., in this order."""
        places = [f"{name}:{n}" for name, n in zip(self.names, n_per_host, strict=False) if n]
        shell = str(self.folder / "rsh")
        if (Path(launcher.mpirun).parent / "hydra_pmi_proxy").exists():
            options = ["-launcher", "ssh", "-launcher-exec", shell, "-hosts", ",".join(places)]
        else:
            # its files bear process ids, which hosts that share /tmp have in common
            options = ["--prtemca", "plm_ssh_agent", shell, "--prtemca", "prte_tmpdir_base", "/dev/shm"]
            options += ["--map-by", "slot", "--host", ",".join(places)]
        return [*self.enter(LOGIN), launcher.mpirun, *options, "-n", str(sum(n_per_host)), *args]

    def enter(self, name: str) -> list[str]:
        """What a command begins with to run on a host, with the process ids of everybody."""
        return ["nsenter", "-t", str(self.pids[name]), "--net", "--uts", "--ipc", "--mount", "--"]

    def on(self, name: str, script: str) -> None:
        """Run on a host."""
        subprocess.run([*self.enter(name), "sh", "-c", script], check=True)

    def crash(self, name: str) -> None:
        """All of its processes die; others see closed connections."""
        os.kill(self.pids[name], signal.SIGKILL)

    def cut(self, name: str) -> None:
        """Its cable is pulled: others see nothing at all."""
        self._switched(f"ip link set v{name.removeprefix('el')} down")

    def of(self, pid: int) -> str:
        """The host of a process."""
        return next(name for name, init in self.pids.items() if _network(init) == _network(pid))

    def _boot(self, name: str) -> int:
        spaces = ["--net", "--uts", "--ipc", "--mount"]
        if name != LOGIN:
            spaces += ["--pid", "--fork", "--kill-child=KILL"]
        init = _INIT.replace("HOST", name).replace("FOLDER", str(self.folder))
        process = self._spawn(["unshare", *spaces, "sh", "-c", init])
        _wait((self.folder / f"{name}.up").exists)
        if name == LOGIN:
            return process.pid
        return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL)
        self._processes.append(process)
        return process

    def _switched(self, script: str) -> None:
        """Run on the switch."""
        subprocess.run(["nsenter", "-t", str(self._switch), "--net", "sh", "-c", script], check=True)


@contextmanager
def hosts(n: int, folder: Path) -> Iterator[Hosts]:
    """n hosts and a login host, while the block runs; their files in `folder`, made here."""
    folder.mkdir()
    made = Hosts(n, folder)
    try:
        made.up()
        yield made
    finally:
        made.down()


def _network(pid: int) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def _wait(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "a host does not come up"
        time.sleep(0.005)
