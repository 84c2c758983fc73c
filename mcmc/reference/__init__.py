"""Numpy twins of the compiled kernels: slow, obvious, and without a line in common with them. Only tests import them.

A twin takes its random numbers at the same addresses as the kernel and decides by the plain formulas, so both follow
the same trajectory from the same seed. They agree in every decision but one in 2^50 or so, where rounding decides.
"""
