"""Signs of life between processes, from a thread that needs neither Python's lock nor MPI; see heartbeat.h."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy

import os

from mcmc.kernels import check

cdef extern from "heartbeat.h" nogil:
    enum: HEARTBEAT_TOKEN, HEARTBEAT_NAME, HEARTBEAT_ADDRESSES
    struct in6_addr:
        uint8_t s6_addr[16]
    ctypedef struct heartbeat_address:
        in6_addr ip
        uint16_t port
    ctypedef struct heartbeat_peer:
        uint32_t rank
        char name[128]
    ctypedef struct heartbeat:
        uint16_t port
        uint8_t token[16]
        uint32_t rank
        int64_t period, patience
        int has_parent
        int64_t n_peers
        heartbeat_peer *peers
        int64_t n_tried
        heartbeat_address *tried
        int64_t n_neighbours
        uint16_t *neighbours
    int64_t heartbeat_addresses(in6_addr *out)
    int heartbeat_open(heartbeat *h)
    void heartbeat_close(heartbeat *h)
    int heartbeat_start(heartbeat *h)
    void heartbeat_stop(heartbeat *h, int bye)

TOKEN_BYTES = HEARTBEAT_TOKEN


def addresses():
    """The addresses by which others may reach this host: list of bytes of 16, IPv4 as ::ffff:a.b.c.d."""
    cdef in6_addr found[HEARTBEAT_ADDRESSES]
    cdef int64_t i, n = heartbeat_addresses(found)
    return [bytes(found[i].s6_addr[:16]) for i in range(n)]


cdef class Heartbeat:
    """A socket of this process, and from `start` to `stop` a thread that beats, answers and watches.

    OSError without sockets or threads. Ends the process (exit code 1) when a peer is lost.
    """
    cdef heartbeat state
    cdef bint started

    def __cinit__(self):
        error = heartbeat_open(&self.state)
        if error:
            heartbeat_close(&self.state)
            raise OSError(error, f"no socket for datagrams: {os.strerror(error)}")

    def __dealloc__(self):
        heartbeat_stop(&self.state, 0)
        heartbeat_close(&self.state)

    @property
    def port(self):
        return self.state.port

    def start(self, bytes token, uint32_t rank, parent, children, neighbours, double period, double patience):
        """Begin, once.

        token: TOKEN_BYTES bytes, of this run alone
        parent: (rank, name, list of its addresses (16 bytes), port), or None
        children: list of (rank, name), ranks increasing, all above the parent's
        neighbours: ports of the other processes of this host
        period, patience: seconds between two beats; of silence after which a peer is lost
        """
        cdef heartbeat *h = &self.state
        cdef int64_t i
        check(not self.started, "start: expected one call")
        check(len(token) == HEARTBEAT_TOKEN, f"token: got {len(token)} bytes, expected {HEARTBEAT_TOKEN}")
        check(period >= 0.004 and patience > 2 * period, f"patience: got {patience}, expected more than two periods")
        peers = ([] if parent is None else [parent[:2]]) + list(children)
        check(all(a[0] < b[0] for a, b in zip(peers, peers[1:])), "children: expected increasing ranks")
        memcpy(h.token, <const char *>token, HEARTBEAT_TOKEN)
        h.rank, h.period, h.patience = rank, <int64_t>(1e9 * period), <int64_t>(1e9 * patience)
        h.peers = <heartbeat_peer *>calloc(len(peers) + 1, sizeof(heartbeat_peer))
        h.neighbours = <uint16_t *>calloc(len(neighbours) + 1, sizeof(uint16_t))
        if not h.peers or not h.neighbours:
            raise MemoryError
        self.started = True
        h.n_peers, h.n_neighbours, h.has_parent = len(peers), len(neighbours), parent is not None
        for i, (number, name) in enumerate(peers):
            h.peers[i].rank = number
            cut = name.encode()[:HEARTBEAT_NAME - 1]
            memcpy(h.peers[i].name, <const char *>cut, len(cut))
        for i, port in enumerate(neighbours):
            h.neighbours[i] = port
        if parent is not None:
            h.n_tried = min(len(parent[2]), HEARTBEAT_ADDRESSES)
            for i in range(h.n_tried):
                address = parent[2][i]
                check(len(address) == 16, "parent: expected addresses of 16 bytes")
                memcpy(h.tried[i].ip.s6_addr, <const char *>address, 16)
                h.tried[i].port = parent[3]
        error = heartbeat_start(h)
        if error:
            raise OSError(error, f"no thread for the heartbeat: {os.strerror(error)}")

    def stop(self, bint bye):
        """End; bye: tell the others, who would otherwise find this process silent, and end."""
        with nogil:
            heartbeat_stop(&self.state, bye)
