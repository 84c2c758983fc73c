"""Orders in which sites are visited; see visits.h."""

cdef extern from "visits.h" nogil:
    enum:
        ORDER_RANDOM
        ORDER_SEQUENTIAL

ORDERS = {"random": ORDER_RANDOM, "sequential": ORDER_SEQUENTIAL}
"""Codes by name."""
