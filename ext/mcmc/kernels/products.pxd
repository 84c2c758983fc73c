"""Mirror of products.h, and the class that holds inputs in the forms that it wants."""
from libc.stdint cimport int32_t, int64_t, uint64_t


cdef extern from "products.h" nogil:
    ctypedef struct products:
        int64_t n_units, fan_in, n_inputs, n_patterns, width, rows, n_views
        const void *by_pattern
        const void *by_input
        int64_t row_length
        const uint64_t *pattern_bits
        const uint64_t *input_bits
        int64_t row_words, inputs
        void *scratch
    ctypedef void (*forward_fn)(const products *p, int64_t unit, const double *weights, int64_t first, int64_t n,
                                double *field) noexcept
    ctypedef void (*backward_fn)(const products *p, int64_t unit, const double *force, int64_t first, int64_t n,
                                 double *gradient) noexcept
    enum:
        TILE
        WORD
        ONE_WALKER_STRETCH
        PRODUCTS_BITS
        PRODUCTS_REAL


cdef class Products:
    cdef products p
    cdef forward_fn forward
    cdef backward_fn backward
    cdef int kind, single
    cdef object real, scratch
    cdef readonly object by_pattern, by_input


cdef int64_t rounded_up(int64_t n, int64_t multiple)
