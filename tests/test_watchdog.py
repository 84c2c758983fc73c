"""Signs of life: between processes without MPI, between ranks, and between ranks on several hosts."""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import hosts
import launchers
import mcmc
from launchers import Launcher
from mcmc.kernels.heartbeat import TOKEN_BYTES, Heartbeat, addresses
from mcmc.parallel import Serial
from mcmc.watchdog import PATIENCE, PERIOD, Place, place_of, watchdog
from running import assert_same_results, status, tables, wait_for, write_run_file

HERE = Path(__file__).parent
LOOPBACK = (bytes(10) + b"\xff\xff\x7f\x00\x00\x01").hex()
QUICK, SOON = 0.1, 1.0
"""Period and patience of the processes without MPI."""
LAST_WORDS = 0.5
"""From the finding that a process is lost to the end, see heartbeat.h."""


# --- who watches whom ---


def test_places() -> None:
    """Three hosts of ranks 0 1 | 2 3 4 | 5, and ranks dealt out in turn."""
    networks = ["a", "a", "b", "b", "b", "c"]
    assert [place_of(rank, networks) for rank in range(6)] == [
        Place(None, [1, 2, 5], [1]),
        Place(0, [], [0]),
        Place(0, [3, 4], [3, 4]),
        Place(2, [], [2, 4]),
        Place(2, [], [2, 3]),
        Place(0, [], []),
    ]
    assert [place_of(rank, "abab") for rank in range(4)] == [
        Place(None, [1, 2], [2]),
        Place(0, [3], [3]),
        Place(0, [], [0]),
        Place(1, [], [1]),
    ]


@pytest.mark.parametrize("n_hosts", [1, 3, 64])
def test_everybody_is_watched_by_few(n_hosts: int) -> None:
    networks = [str(rank * 7 % n_hosts) for rank in range(256)]
    places = [place_of(rank, networks) for rank in range(256)]
    assert sorted(child for place in places for child in place.children) == list(range(1, 256))
    assert all(rank in places[place.parent].children for rank, place in enumerate(places) if place.parent is not None)
    assert max(len(place.children) for place in places) < 256 / n_hosts + n_hosts


def test_one_watchdog_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside of another a watchdog asks nobody: groups of ranks enter it at different times."""
    asked = []

    class Two(Serial):
        size = 2

        def broadcast(self, produce: Any) -> Any:
            asked.append(produce())
            return asked[-1]

    monkeypatch.setenv("MCMC_WATCHDOG", "off")
    with watchdog(Serial()):
        assert asked == []
    for _ in range(2):
        with watchdog(Two()), watchdog(Two()):
            pass
    assert asked == [True, True]
    with pytest.raises(ZeroDivisionError), watchdog(Two()):
        raise ZeroDivisionError
    with watchdog(Two()):
        assert len(asked) == 4


# --- processes without MPI ---


class Beating:
    """Processes 0 .. n - 1 that beat, 0 the parent of all others; they end with the block.

    enter: for each of them what takes it to its host, if they are on several
    """

    def __init__(
        self, n: int, ports: Mapping[int, int], limits: tuple[float, float], enter: Sequence[Sequence[str]]
    ) -> None:
        command = [sys.executable, str(HERE / "beating.py")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        places = enter or [[]] * n
        self.processes = [subprocess.Popen([*place, *command], text=True, **pipes) for place in places]
        found = [process.stdout.readline().split() for process in self.processes]
        self.ports = [int(port) for port, *_ in found]
        self.addresses = found[0][1:] if enter else [LOOPBACK]
        self.neighbours = [] if enter else self.ports
        self.token = secrets.token_bytes(TOKEN_BYTES)
        self.limits = limits
        self.lines = [0] * n
        for rank in range(n):
            self.start(rank, ports.get(rank, self.ports[0]))

    def start(self, rank: int, port: int) -> None:
        children = [(child, f"rank {child} on here") for child in range(1, len(self.ports))]
        asked = {
            "token": self.token.hex(),
            "rank": rank,
            "parent": (0, "rank 0 on here", self.addresses, port) if rank else None,
            "children": [] if rank else children,
            "neighbours": [other for number, other in enumerate(self.neighbours) if number != rank],
            "period": self.limits[0],
            "patience": self.limits[1],
        }
        self.send(rank, json.dumps(asked))

    def send(self, rank: int, line: str) -> None:
        self.processes[rank].stdin.write(line + "\n")
        self.processes[rank].stdin.flush()

    def obey(self, rank: int, line: str) -> None:
        """Returns when it has obeyed."""
        self.send(rank, line)
        assert int(self.processes[rank].stdout.readline()) == self.lines[rank]
        self.lines[rank] += 1

    def alive(self) -> list[int]:
        return [rank for rank, process in enumerate(self.processes) if process.poll() is None]

    def signal(self, number: int, *ranks: int) -> None:
        for rank in ranks:
            self.processes[rank].send_signal(number)

    def said(self) -> list[str]:
        """Lines on stderr of those that have ended."""
        ended = [process for process in self.processes if process.poll() is not None]
        return [line for process in ended for line in process.stderr.read().splitlines()]


@contextmanager
def beating(
    n: int,
    ports: Mapping[int, int] | None = None,
    limits: tuple[float, float] = (QUICK, SOON),
    enter: Sequence[Sequence[str]] = (),
) -> Iterator[Beating]:
    """ports: where some of them send what is for the parent."""
    made = Beating(n, ports or {}, limits, enter)
    try:
        for rank in range(n):
            made.obey(rank, "hold 0")  # its thread has started
        time.sleep(4 * limits[0])  # all have been heard
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                pipe.close()


def test_those_who_live_go_on() -> None:
    """Also while one of them keeps Python's lock for long."""
    with beating(4) as some:
        some.send(2, f"hold {3 * SOON}")
        some.send(0, f"hold {3 * SOON}")
        time.sleep(3 * SOON)
        assert some.alive() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("victims", "how"),
    [
        ([3], signal.SIGSTOP),
        ([3], signal.SIGKILL),
        ([0], signal.SIGKILL),
        ([1, 2], signal.SIGKILL),
        ([0, 1], signal.SIGSTOP),
    ],
)
def test_all_end_when_one_is_lost(victims: list[int], how: int) -> None:
    with beating(5) as some:
        some.signal(how, *victims)
        others = set(range(5)) - set(victims)
        began = time.monotonic()
        wait_for(lambda: not others & set(some.alive()), SOON + 2)
        assert time.monotonic() - began > SOON - 4 * QUICK + LAST_WORDS  # beats may have been late
        assert {some.processes[rank].returncode for rank in others} == {1}
        some.signal(signal.SIGKILL, *victims)
        for rank in victims:
            some.processes[rank].wait()
        [line] = some.said()
        named = ", ".join(f"rank {rank} on here" for rank in victims if 0 not in victims or rank == 0)
        assert line.startswith(f"mcmc: lost {named}: no sign of life since ")


def test_one_that_was_stopped_ends_when_it_goes_on() -> None:
    with beating(3) as some:
        some.signal(signal.SIGSTOP, 2)
        wait_for(lambda: some.alive() == [2], SOON + 2)
        some.signal(signal.SIGCONT, 2)
        assert some.processes[2].wait(SOON + 2) == 1


def test_a_suspended_job_goes_on() -> None:
    with beating(4) as some:
        for pause in (2 * SOON, 4 * SOON):
            some.signal(signal.SIGSTOP, 0, 1, 2, 3)
            time.sleep(pause)
            for rank in (2, 0, 3, 1):  # not all at the same time
                some.signal(signal.SIGCONT, rank)
                time.sleep(0.2 * SOON)
            time.sleep(2 * SOON)
            assert some.alive() == [0, 1, 2, 3]


def test_leaving_in_order() -> None:
    with beating(4) as some:
        some.obey(2, "bye")
        time.sleep(2 * SOON)
        assert some.alive() == [0, 1, 2, 3]
        some.obey(0, "bye")
        time.sleep(2 * SOON)
        assert some.alive() == [0, 1, 2, 3]


def test_leaving_with_an_error() -> None:
    """Who is left alone ends; who left is no longer part of it."""
    with beating(4) as some:
        some.obey(2, "leave")
        wait_for(lambda: some.alive() == [2], SOON + 2)
        assert "lost rank 2 on here" in some.said()[0]


def datagram(token: bytes, rank: int, kind: int, text: bytes = b"") -> bytes:
    return struct.pack("16sIBB", token, rank, kind, 0) + text


def test_strangers_are_ignored() -> None:
    """A wrong token, however right the rest, and noise; the same with the right token ends all."""
    order = datagram(bytes(TOKEN_BYTES), 1, 4, b"mcmc: end\n\0")
    with beating(3) as some, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        deadline = time.monotonic() + 2 * SOON
        while time.monotonic() < deadline:
            for port in some.ports:
                for noise in (order, order[:20], b"", os.urandom(70), some.token, bytes(2000)):
                    stranger.sendto(noise, ("127.0.0.1", port))
            time.sleep(0.01)
        assert some.alive() == [0, 1, 2]
        stranger.sendto(datagram(some.token, 77, 4, b"mcmc: told to end\n"), ("127.0.0.1", some.ports[1]))
        wait_for(lambda: some.alive() == [], 2)
        assert some.said() == ["mcmc: told to end"]


@pytest.mark.parametrize("noise", [b"", bytes(200), bytes(100) + b"%s%n" * 200])
def test_wrong_lengths_with_the_right_token(noise: bytes) -> None:
    with beating(2) as some, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for kind in (0, 1, 2, 3, 5, 255):
            stranger.sendto(datagram(some.token, 4242, kind, noise), ("127.0.0.1", some.ports[0]))
        time.sleep(SOON / 2)
        assert some.alive() == [0, 1]


class Relay(threading.Thread):
    """Passes datagrams between a child and its parent but for some: `loses` is told whether one goes to the child."""

    def __init__(self, loses: Any) -> None:
        super().__init__(daemon=True)
        self.loses, self.target, self.child, self.done = loses, 0, None, False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def run(self) -> None:
        while not self.done:
            if not select.select([self.socket], [], [], 0.05)[0]:
                continue
            data, source = self.socket.recvfrom(4096)
            back = source[1] == self.target
            if not back:
                self.child = source
            if not self.loses(back):
                self.socket.sendto(data, self.child if back else ("127.0.0.1", self.target))


@contextmanager
def relayed(loses: Any, limits: tuple[float, float] = (QUICK, SOON)) -> Iterator[tuple[Beating, Relay]]:
    """Three processes; what goes between 0 and 2 goes through a relay."""
    relay = Relay(loses)
    made = None
    try:
        with beating(3, {2: relay.port}, limits) as made:
            relay.target = made.ports[0]
            relay.start()
            time.sleep(5 * QUICK)
            yield made, relay
    finally:
        relay.done = True
        relay.join() if relay.is_alive() else None
        relay.socket.close()


def test_lost_datagrams() -> None:
    """Three of ten."""
    luck = random.Random(1)
    with relayed(lambda _: luck.random() < 0.3, (SOON / 20, 1.5 * SOON)) as (some, _):
        time.sleep(4 * SOON)
        assert some.alive() == [0, 1, 2]


@pytest.mark.parametrize("back", [True, False])
def test_one_direction_cut(back: bool) -> None:
    """After both have worked: all end, and the two sides name each other."""
    cut = [False]
    with relayed(lambda to_child: cut[0] and to_child == back) as (some, _):
        assert some.alive() == [0, 1, 2]
        cut[0] = True
        wait_for(lambda: some.alive() == [], SOON + 2)
        assert re.search("lost rank [02] on here", some.said()[0])


@pytest.mark.parametrize("back", [True, False])
def test_one_that_cannot_be_reached(back: bool) -> None:
    """Never in both directions: one warning, and nobody waits for it."""
    with relayed(lambda to_child: to_child == back) as (some, _):
        time.sleep(3 * SOON)
        assert some.alive() == [0, 1, 2]
        some.signal(signal.SIGKILL, 2)
        time.sleep(2 * SOON)
        assert some.alive() == [0, 1]
        some.signal(signal.SIGKILL, 0, 1)
        for process in some.processes:
            process.wait()
        [line] = some.said()
        assert line.startswith("mcmc: warning: no UDP datagrams come through from rank 2 on here:")


def test_a_blocked_stderr() -> None:
    """A pipe that nobody empties keeps no one from ending."""
    with beating(3) as some:
        for process in some.processes:
            fd = os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
            with suppress(BlockingIOError):
                while True:
                    os.write(fd, bytes(1 << 16))
            os.close(fd)
        some.signal(signal.SIGKILL, 1)
        wait_for(lambda: some.alive() == [], SOON + 2)


def test_arguments() -> None:
    heartbeat = Heartbeat()
    assert heartbeat.port > 0
    start = (0, None, [], [], PERIOD, PATIENCE)
    with pytest.raises(ValueError, match="token"):
        heartbeat.start(b"short", *start)
    with pytest.raises(ValueError, match="patience"):
        heartbeat.start(bytes(16), 0, None, [], [], 1.0, 1.0)
    with pytest.raises(ValueError, match="increasing"):
        heartbeat.start(bytes(16), 0, None, [(2, "x"), (1, "y")], [], PERIOD, PATIENCE)
    heartbeat.start(bytes(16), 0, None, [(1, "x" * 500)], [1], PERIOD, PATIENCE)
    with pytest.raises(ValueError, match="one call"):
        heartbeat.start(bytes(16), *start)
    heartbeat.stop(True)
    heartbeat.stop(False)
    assert all(len(address) == 16 for address in addresses())


def test_a_fork_stops_nothing() -> None:
    """Not even when it lets go of what it has inherited."""
    heartbeat = Heartbeat()
    heartbeat.start(bytes(16), 0, None, [], [], PERIOD, PATIENCE)

    def threads() -> int:
        return [path.read_text() for path in Path("/proc/self/task").glob("*/comm")].count("mcmc-watchdog\n")

    assert threads() == 1
    child = os.fork()
    if not child:
        heartbeat.stop(True)
        del heartbeat
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    time.sleep(PERIOD / 2)
    assert threads() == 1
    heartbeat.stop(True)
    assert threads() == 0


# --- ranks of one host ---

# Tests of what does not depend on the launcher run under one.

LONG = {"model.n_inputs": 101, "data.n_instances": 4, "schedule.sweeps": 10**7}


def run_args(tmp_path: Path, *lines: str, changes: Mapping[str, Any] = LONG, patience: float = 3.0) -> list[str]:
    """A run whose ranks have this patience, with further lines of Python before it."""
    file = write_run_file(tmp_path / "run.toml", changes)
    short = f"mcmc.watchdog.PERIOD, mcmc.watchdog.PATIENCE = {patience / 15}, {patience}"
    program = ["import mcmc.watchdog, mcmc.cli", short, *lines, "mcmc.cli.main()"]
    return [sys.executable, "-c", "\n".join(program), "run", str(file), "-o", str(tmp_path / "out"), "--quiet"]


@contextmanager
def running(command: Sequence[str], launcher: Launcher, n_ranks: int, out: Path, whole: bool = False) -> Iterator[Any]:
    """The launcher and its ranks once they sweep; `whole`: the command begins with the launcher."""
    how = (None, 1) if whole else (launcher, n_ranks)
    with launchers.started(*how, command, env=launcher.env) as process:
        wait_for(lambda: status(out).get("sweep", 0) > 0 or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        ranks = launchers.ranks(process)
        assert sorted(ranks) == list(range(n_ranks))
        yield process, ranks


def seconds_until_gone(process: Any, ranks: set[int], limit: float) -> float:
    """Until none of the ranks is left."""
    began = time.monotonic()
    wait_for(lambda: not ranks & launchers.ranks(process).keys(), limit)
    return time.monotonic() - began


def lost(process: Any) -> list[str]:
    """The watchdog's lines among what the launcher has passed on so far."""
    text = ""
    while select.select([process.stderr], [], [], 0)[0] and (more := os.read(process.stderr.fileno(), 1 << 16)):
        text += more.decode()
    return [line for line in text.splitlines() if line.startswith("mcmc: lost")]


def test_a_rank_is_stopped(launcher: Launcher, tmp_path: Path) -> None:
    victim = 0
    with running(run_args(tmp_path), launcher, 4, tmp_path / "out") as (process, ranks):
        os.kill(ranks[victim], signal.SIGSTOP)
        seconds_until_gone(process, {0, 1, 2, 3} - {victim}, 3 + 4)
        time.sleep(0.5)
        lines = lost(process)
        assert len(lines) == 1, lines
        assert lines[0].startswith(f"mcmc: lost rank {victim} on {os.uname().nodename}: no sign of life since ")


def test_an_idle_rank_is_stopped(any_launcher: Launcher, tmp_path: Path) -> None:
    changes = LONG | {"ladder": {"beta": [0.5, 1.0], "n_copies": 1}, "data.n_instances": 1}
    with running(run_args(tmp_path, changes=changes), any_launcher, 4, tmp_path / "out") as (process, ranks):
        os.kill(ranks[3], signal.SIGSTOP)
        seconds_until_gone(process, {0, 1, 2}, 3 + 4)


def test_without_the_watchdog_nobody_notices(any_launcher: Launcher, tmp_path: Path) -> None:
    """The negative control."""
    off = "import os; os.environ['MCMC_WATCHDOG'] = 'off'"
    with running(run_args(tmp_path, off), any_launcher, 3, tmp_path / "out") as (process, ranks):
        os.kill(ranks[1], signal.SIGSTOP)
        time.sleep(8)
        assert sorted(launchers.ranks(process)) == [0, 1, 2]


def test_a_job_is_suspended(any_launcher: Launcher, tmp_path: Path) -> None:
    check_suspended(any_launcher, tmp_path, 2.0, 6)


def check_suspended(launcher: Launcher, tmp_path: Path, patience: float, seconds: float) -> None:
    """As a whole, for longer than the patience: it goes on when it is continued."""
    with running(run_args(tmp_path, patience=patience), launcher, 3, tmp_path / "out") as (process, ranks):
        for pid in ranks.values():
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        before = status(tmp_path / "out")["sweep"]
        for pid in ranks.values():
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: status(tmp_path / "out")["sweep"] > before, 10)
        time.sleep(1.5 * patience)
        assert sorted(launchers.ranks(process)) == [0, 1, 2]
        assert not lost(process)


def test_a_rank_is_busy(any_launcher: Launcher, tmp_path: Path) -> None:
    """It keeps Python's lock, then waits for a slow disk, each for longer than the patience."""
    slow = (
        "import ctypes, time, mcmc.part, mcmc.storage",
        "from mcmc import parallel",
        "state, write = mcmc.part.Part.walker_state, mcmc.storage.RunDirectory.write_checkpoint",
        "def busy(self):",
        "    parallel.launcher_rank() == 1 and ctypes.PyDLL(None).usleep(5_000_000)",
        "    return state(self)",
        "def disk(self, *args):",
        "    time.sleep(5)",
        "    write(self, *args)",
        "mcmc.part.Part.walker_state, mcmc.storage.RunDirectory.write_checkpoint = busy, disk",
    )
    changes = {"data.n_instances": 3}
    command = run_args(tmp_path, *slow, changes=changes, patience=2.0)
    done = launchers.run(any_launcher, 3, command, timeout=60)
    assert done.returncode == 0, done.stderr
    assert status(tmp_path / "out")["state"] == "complete"
    mcmc.run(tables(changes), tmp_path / "serial", quiet=True)
    assert_same_results(tmp_path / "out", tmp_path / "serial")


# --- ranks of several hosts ---

BLOWS = ["crash", "cut", "stop", "kill"]
FINITE = {"data.n_instances": 2, "schedule.sweeps": 3000, "checkpoint.every": 0.3}
SLOWLY = (
    "import time, mcmc.part",
    "advance = mcmc.part.Part.advance",
    "def slow(self, first, last):",
    "    time.sleep(0.05 * (last + 1 - first))",
    "    advance(self, first, last)",
    "mcmc.part.Part.advance = slow",
)
"""Makes minutes of FINITE."""

with_hosts = pytest.mark.skipif(bool(hosts.why_not()), reason=f"no hosts from namespaces: {hosts.why_not()}")


def strike(lab: hosts.Hosts, blow: str, victim: str, last: int) -> None:
    """A blow to a host, or to its last rank, of this process id."""
    if blow in ("crash", "cut"):
        getattr(lab, blow)(victim)
    else:
        os.kill(last, signal.SIGSTOP if blow == "stop" else signal.SIGKILL)


def check_blow(lab: hosts.Hosts, launcher: Launcher, blow: str, victim: str, tmp_path: Path, patience: float) -> None:
    """Two ranks on each host, a blow to one host: all others end in time, and somebody says which it was."""
    args = run_args(tmp_path, *SLOWLY, changes=FINITE, patience=patience)
    command = lab.command(launcher, [2] * len(lab.names), args)
    with running(command, launcher, 2 * len(lab.names), tmp_path / "out", whole=True) as (process, ranks):
        wait_for((tmp_path / "out" / "checkpoint.h5").exists)
        there = [rank for rank in sorted(ranks) if lab.of(ranks[rank]) == victim]
        assert len(there) == 2
        cannot_run = {"crash": set(there), "cut": set(), "stop": {there[-1]}, "kill": {there[-1]}}[blow]
        strike(lab, blow, victim, ranks[there[-1]])
        seconds = seconds_until_gone(process, ranks.keys() - cannot_run, 2 * patience)
        time.sleep(0.5)
        lines = lost(process)
        print(f"{launcher}, {blow} {victim}: {seconds:.1f} s", *lines, sep="\n")
    if blow in ("cut", "stop"):  # what else happens launchers may notice, and end all at once
        assert seconds > patience * 0.8
        assert lines
    for line in lines:
        assert re.match(f"mcmc: lost rank ({'|'.join(map(str, there))}) on {victim}: no sign of life since ", line)
    assert len(lines) <= len(lab.names)
    assert status(tmp_path / "out")["state"] == "running"  # nobody was there to write another


def check_rest(lab: hosts.Hosts, launcher: Launcher, n_per_host: Sequence[int], tmp_path: Path) -> None:
    """The run goes on with so many ranks on each host, from its last checkpoint, to the results of one process."""
    command = lab.command(launcher, n_per_host, run_args(tmp_path, changes=FINITE))
    done = launchers.run(None, 1, command, env=launcher.env, timeout=150)
    assert done.returncode == 0, done.stderr
    assert re.search("sweep [1-9][0-9]* to 3000", (tmp_path / "out" / "run.log").read_text())
    mcmc.run(tables(FINITE), tmp_path / "serial", quiet=True)
    assert_same_results(tmp_path / "out", tmp_path / "serial")


NETWORKS = {
    "IPv6 alone": "ip addr flush dev eth0; ip addr add fd77::HOST/64 dev eth0 nodad",
    "IPv4 alone": "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6",
    "the same address on both": "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0;"
    "ip link set docker0 up; ip addr add 10.9.HOST.1/24 dev docker0",
}
"""Settings of a host, by its number."""


@with_hosts
@pytest.mark.hosts
@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_networks(settings: str, tmp_path: Path) -> None:
    """They find each other, and notice when they cannot any more."""
    with hosts.hosts(2, tmp_path / "lab") as lab:
        for number, name in enumerate(lab.names):
            lab.on(name, settings.replace("HOST", str(number + 1)))
        with beating(2, enter=[lab.enter(name) for name in lab.names]) as some:
            time.sleep(3 * SOON)
            assert some.alive() == [0, 1]
            lab.cut("el2")
            wait_for(lambda: some.alive() == [], SOON + 2)
            assert [line.partition(":")[2].partition(":")[0] for line in some.said()] == [
                " lost rank 1 on here",
                " lost rank 0 on here",
            ]


@with_hosts
@pytest.mark.hosts
@pytest.mark.parametrize("blow", ["crash", "cut"])
def test_a_host_is_lost(blow: str, launcher: Launcher, tmp_path: Path) -> None:
    """The second of two; the run goes on on the first."""
    with hosts.hosts(2, tmp_path / "lab") as lab:
        check_blow(lab, launcher, blow, "el2", tmp_path, patience=3)
        check_rest(lab, launcher, [3], tmp_path)


@with_hosts
@pytest.mark.hosts
@pytest.mark.faults
@pytest.mark.parametrize("victim", ["el1", "el3"])
@pytest.mark.parametrize("blow", BLOWS)
def test_a_host_is_lost_for_real(blow: str, victim: str, launcher: Launcher, tmp_path: Path) -> None:
    """One of three, with rank 0 or without, in the time that users wait; the run goes on on the second."""
    with hosts.hosts(3, tmp_path / "lab") as lab:
        check_blow(lab, launcher, blow, victim, tmp_path, PATIENCE)
        check_rest(lab, launcher, [0, 2], tmp_path)


@pytest.mark.faults
def test_a_job_is_suspended_for_real(launcher: Launcher, tmp_path: Path) -> None:
    check_suspended(launcher, tmp_path, PATIENCE, 40)
