"""Mirror of gradient_target.h."""
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int32_t, int64_t


cdef extern from "gradient_target.h" nogil:
    const char *GRADIENT_TARGET_CAPSULE
    ctypedef void (*evaluate_fn)(void *model, const double *weights, double *energy, double *gradient) noexcept
    ctypedef void (*select_fn)(void *model, const int32_t *patterns, void *batch) noexcept
    ctypedef struct gradient_target:
        void *model
        evaluate_fn evaluate
        select_fn select
        void *batch
        int64_t batch_size, n_patterns
        bint has_gradient
        int64_t n_walkers, n_weights, n_units, width, n_packs
        double *weights
        double *energy


cdef inline object gradient_capsule(gradient_target *target):
    return PyCapsule_New(target, GRADIENT_TARGET_CAPSULE, NULL)


cdef inline gradient_target *gradient_target_of(object capsule) except NULL:
    return <gradient_target *>PyCapsule_GetPointer(capsule, GRADIENT_TARGET_CAPSULE)
