"""Elementary functions and the normal quantile, the same bits on every machine, element by element; see numerics.h."""
from libc.stdint cimport int64_t
from numerics cimport num_cos1, num_erf1, num_exp1, num_log1, num_normal_quantile, num_sin1, num_tanh1

import numpy as np

ctypedef double (*function)(double) noexcept nogil


cdef double _exp(double x) noexcept nogil:
    return num_exp1(x)


cdef double _log(double x) noexcept nogil:
    return num_log1(x)


cdef double _tanh(double x) noexcept nogil:
    return num_tanh1(x)


cdef double _erf(double x) noexcept nogil:
    return num_erf1(x)


cdef double _sin(double x) noexcept nogil:
    return num_sin1(x)


cdef double _cos(double x) noexcept nogil:
    return num_cos1(x)


cdef double _normal_quantile(double x) noexcept nogil:
    return num_normal_quantile(x)


cdef _map(function f, x):
    out = np.array(x, dtype=np.float64, order="C")
    cdef double[::1] view = out.reshape(-1)
    cdef int64_t k
    with nogil:
        for k in range(view.shape[0]):
            view[k] = f(view[k])
    return out


def exp(x):
    """exp x, x clamped to [-708, 709]: float64, shape of x."""
    return _map(_exp, x)


def log(x):
    """log x for normal x > 0: float64, shape of x."""
    return _map(_log, x)


def tanh(x):
    """tanh x: float64, shape of x."""
    return _map(_tanh, x)


def erf(x):
    """Error function of x: float64, shape of x."""
    return _map(_erf, x)


def sin(x):
    """sin x for |x| <= 1e6: float64, shape of x."""
    return _map(_sin, x)


def cos(x):
    """cos x for |x| <= 1e6: float64, shape of x."""
    return _map(_cos, x)


def normal_quantile(u):
    """Inverse cumulative of the standard normal law, 0 < u < 1: float64, shape of u."""
    return _map(_normal_quantile, u)
