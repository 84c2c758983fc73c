"""Mirror of coordinate_target.h, and what a kernel family needs to hand out its target."""
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int64_t


cdef extern from "coordinate_target.h" nogil:
    const char *COORDINATE_TARGET_CAPSULE
    ctypedef struct coordinate_functions:
        pass
    ctypedef void (*coordinate_refresh_fn)(void *model, int64_t walker) noexcept
    ctypedef struct coordinate_target:
        void *model
        coordinate_functions call
        coordinate_refresh_fn refresh, rescale
        int64_t n_sites, n_walkers, n_units, site_bytes
        const double *weights
        const double *energy


cdef inline void coordinate_target_set(coordinate_target *target, void *model, const coordinate_functions *call,
                                       coordinate_refresh_fn refresh, coordinate_refresh_fn rescale, int64_t n_units,
                                       int64_t site_bytes, const double[:, ::1] weights,
                                       const double[::1] energy) noexcept:
    """Fill in the target of a block with weights (n_walkers, n_sites) and energy (n_walkers,)."""
    target.model, target.call, target.refresh, target.rescale = model, call[0], refresh, rescale
    target.n_walkers, target.n_sites, target.n_units = weights.shape[0], weights.shape[1], n_units
    target.site_bytes = site_bytes
    target.weights, target.energy = &weights[0, 0], &energy[0]


cdef inline object coordinate_capsule(coordinate_target *target):
    return PyCapsule_New(target, COORDINATE_TARGET_CAPSULE, NULL)


cdef inline coordinate_target *coordinate_target_of(object capsule) except NULL:
    return <coordinate_target *>PyCapsule_GetPointer(capsule, COORDINATE_TARGET_CAPSULE)
