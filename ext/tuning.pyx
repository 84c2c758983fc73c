"""Step sizes that are tuned in the burn-in by what was accepted, rung by rung, and then stay."""
from libc.math cimport isfinite, sqrt
from libc.stdint cimport int64_t
from numerics cimport num_exp1, num_log1

import numpy as np

from mcmc.kernels import NEVER, check

LEAST_BURN_IN = 40
"""Sweeps of burn-in that tuning takes at the least."""
MOST_WINDOWS = 64
LEAST_WINDOW = 4


class Tuning:
    """Robbins and Monro's steps for the logarithm of each rung's step size, at the ends of windows of the burn-in.

    steps: float64 (n_rungs,), > 0, changed in place
    target: acceptance wanted; largest: what no step size exceeds, or infinity

    At the end of the burn-in the mean of the logarithms over the second half of the windows is what remains.
    """

    def __init__(self, steps, double target, double largest, int64_t burn_in):
        check(burn_in >= LEAST_BURN_IN,
              f"burn_in: got {burn_in}, expected an integer >= {LEAST_BURN_IN} to tune the step size in")
        n = min(burn_in // LEAST_WINDOW, MOST_WINDOWS)
        self.steps, self.target = steps, target
        self.largest = num_log1(largest) if isfinite(largest) else largest
        self.log_step = np.array([num_log1(step) for step in steps])
        self.log_step_sum = np.zeros(len(steps))
        self.ends = [burn_in * (window + 1) // n for window in range(n)]

    def next(self, int64_t done):
        """The first end of a window after sweep `done`, or NEVER."""
        return next((end for end in self.ends if end > done), NEVER)

    def sweeps(self, int64_t end):
        """Sweeps of the window that ends there."""
        window = self.ends.index(end)
        return end - (self.ends[window - 1] if window else 0)

    def adapt(self, int64_t end, acceptance):
        """acceptance: float64 (n_rungs,), of all walkers of the instance in the window that ends there."""
        cdef int64_t window = self.ends.index(end), n = len(self.ends), rung
        self.log_step += 4.0 / (1.0 + sqrt(window)) * (np.asarray(acceptance) - self.target)
        np.minimum(self.log_step, self.largest, out=self.log_step)
        if window >= n // 2:
            self.log_step_sum += self.log_step
        if window == n - 1:
            self.log_step[...] = self.log_step_sum / (n - n // 2)
        for rung in range(len(self.steps)):
            self.steps[rung] = num_exp1(self.log_step[rung])

    def state(self):
        """What a checkpoint must hold: name -> array (n_rungs,), not copied."""
        return {"step_size": self.steps, "log_step": self.log_step, "log_step_sum": self.log_step_sum}
