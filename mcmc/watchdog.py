"""Ends all ranks of a run when one of them or its host is lost, which MPI libraries do not notice, or not always.

A thread of each rank exchanges signs of life with a few others (heartbeat.h says how), so it costs nothing and is not
fooled by a rank that computes, or waits for a disk, for long. Lost is who was heard and then is silent: killed,
stopped, or cut off. A rank that lives and waits for ever is not.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mcmc.kernels.heartbeat import TOKEN_BYTES, Heartbeat, addresses

if TYPE_CHECKING:
    from mcmc.parallel import World

PERIOD = 1.0
"""Seconds between two signs of life."""
PATIENCE = 15.0
"""Seconds of silence after which a rank is lost."""

_LOOPBACK = bytes(10) + b"\xff\xff\x7f\x00\x00\x01"


class Member(NamedTuple):
    """What the others know of a rank."""

    host: str
    network: str
    """The same for those that reach each other through the loopback interface."""
    port: int


class Place(NamedTuple):
    """Of one rank in the tree of those who watch each other."""

    parent: int | None
    children: list[int]
    neighbours: list[int]
    """The other ranks of its host."""


_inside = False
"""Whether this process is in the block of a watchdog already."""


@contextmanager
def watchdog(world: World) -> Iterator[None]:
    """Watches the ranks of `world`, which all enter and leave together; another one inside the block does nothing.

    A rank that leaves with an error does so silently: if the others are still there after PATIENCE, they end. Rank 0
    with MCMC_WATCHDOG=off in its environment turns it off for all.
    """
    global _inside
    if world.size == 1 or _inside:
        yield
        return
    _inside = True
    try:
        if world.broadcast(lambda: os.environ.get("MCMC_WATCHDOG") == "off"):
            yield
        else:
            with _beating(world):
                yield
    finally:
        _inside = False


@contextmanager
def _beating(world: World) -> Iterator[None]:
    heartbeat = Heartbeat()
    members = [Member(*fields) for fields in world.collect((os.uname().nodename, _network(), heartbeat.port))]
    token, found = world.broadcast(lambda: [secrets.token_hex(TOKEN_BYTES), [ip.hex() for ip in addresses()]])
    heartbeat.start(bytes.fromhex(token), world.rank, *_who(world.rank, members, found), PERIOD, PATIENCE)
    in_order = False
    try:
        yield
        in_order = True
    finally:
        heartbeat.stop(in_order)


def _who(rank: int, members: Sequence[Member], found: Sequence[str]) -> tuple[Any, list[tuple[int, str]], list[int]]:
    """Parent, children and neighbours as Heartbeat.start takes them; found: addresses of rank 0."""
    place = place_of(rank, [member.network for member in members])
    parent = None
    if place.parent is not None:
        near = members[place.parent].network == members[rank].network
        reached = [_LOOPBACK] if near else [bytes.fromhex(ip) for ip in found]
        parent = (place.parent, _name(place.parent, members), reached, members[place.parent].port)
    children = [(child, _name(child, members)) for child in place.children]
    return parent, children, [members[other].port for other in place.neighbours]


def place_of(rank: int, networks: Sequence[str]) -> Place:
    """The first rank of each network is the parent of its others, and rank 0 of those first ones."""
    firsts: dict[str, int] = {}
    for number, network in enumerate(networks):
        firsts.setdefault(network, number)
    here = [number for number, network in enumerate(networks) if network == networks[rank]]
    children = here[1:] if rank == here[0] else []
    if rank == 0:
        children = sorted(children + list(firsts.values())[1:])
    parent = None if rank == 0 else here[0] if rank != here[0] else 0
    return Place(parent, children, [number for number in here if number != rank])


def _name(rank: int, members: Sequence[Member]) -> str:
    return f"rank {rank} on {members[rank].host}"


def _network() -> str:
    """Containers may share their names with others, or their host's boot but not its network."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/net').st_ino}"
    except OSError:
        return os.uname().nodename
