"""Mirror of flip_target.h, and what every kernel family needs to hand out its target."""
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t, uint64_t


cdef extern from "flip_target.h" nogil:
    const char *FLIP_TARGET_CAPSULE
    ctypedef struct flip_moves:
        pass
    ctypedef double (*delta_fn)(void *model, int64_t walker, int64_t site) noexcept
    ctypedef void (*deltas_fn)(void *model, int64_t walker, void *deltas) noexcept
    ctypedef void (*flip_fn)(void *model, int64_t walker, int64_t site) noexcept
    ctypedef struct flip_functions:
        delta_fn delta
        deltas_fn deltas
        flip_fn flip
    ctypedef void (*refresh_fn)(void *model, int64_t walker) noexcept
    ctypedef struct flip_target:
        void *model
        flip_functions call
        refresh_fn refresh
        int64_t n_sites, n_walkers, n_units, site_bytes, max_delta
        const int8_t *weights
        const double *energy


cdef inline void flip_target_set(flip_target *target, void *model, const flip_functions *call, refresh_fn refresh,
                                 int64_t n_units, int64_t site_bytes, int64_t max_delta, const int8_t[:, ::1] weights,
                                 const double[::1] energy) noexcept:
    """Fill in the target of a block with weights (n_walkers, n_sites) and energy (n_walkers,)."""
    target.model, target.call, target.refresh = model, call[0], refresh
    target.n_walkers, target.n_sites, target.n_units = weights.shape[0], weights.shape[1], n_units
    target.site_bytes, target.max_delta = site_bytes, max_delta
    target.weights, target.energy = &weights[0, 0], &energy[0]


cdef inline object flip_capsule(flip_target *target):
    return PyCapsule_New(target, FLIP_TARGET_CAPSULE, NULL)


cdef inline flip_target *flip_target_of(object capsule) except NULL:
    return <flip_target *>PyCapsule_GetPointer(capsule, FLIP_TARGET_CAPSULE)
