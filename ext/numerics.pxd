"""Mirror of numerics.h."""


cdef extern from "numerics.h" nogil:
    double num_exp1(double x)
    double num_log1(double x)
    double num_normal_quantile(double u)
    double num_tanh1(double x)
    double num_erf1(double x)
    double num_sin1(double x)
    double num_cos1(double x)
