"""Mirror of flip_target.h, and the one helper every kernel family needs to hand out its target."""
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t, uint64_t


cdef extern from "flip_target.h" nogil:
    const char *FLIP_TARGET_CAPSULE
    ctypedef struct flip_moves:
        pass
    ctypedef int64_t (*flips_fn)(void *model, int64_t walker, const flip_moves *moves) noexcept
    ctypedef void (*refresh_fn)(void *model, int64_t walker) noexcept
    ctypedef struct flip_target:
        void *model
        flips_fn flips
        refresh_fn refresh
        int64_t n_sites, n_walkers, max_delta
        const int8_t *weights
        const double *energy


cdef inline object flip_capsule(flip_target *target):
    return PyCapsule_New(target, FLIP_TARGET_CAPSULE, NULL)


cdef inline flip_target *flip_target_of(object capsule) except NULL:
    return <flip_target *>PyCapsule_GetPointer(capsule, FLIP_TARGET_CAPSULE)
