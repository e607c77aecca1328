r"""Smooth calibration error: the residual smoothed at a bandwidth equal to the error itself.

    smECE_sigma = ∫ |(1/n) sum_i K_sigma(t, c_i) (y_i - c_i)| dt,    smECE = sigma where they agree

K is the Gaussian kernel reflected at 0 and 1 (Błasiok and Nakkiran 2024, sec. 3): the heat kernel
of [0, 1] without flow through the ends. On a grid of cells it is diagonal in the cosine transform,

    K_sigma: cos(pi k t) -> exp(-(pi k sigma)^2 / 2) cos(pi k t).

smECE_sigma falls with sigma, so smECE <= s exactly if smECE_s <= s.

Legend: G cells of equal width, Q data sets.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

FloatArray = NDArray[np.float64]

NUM_CELLS = 960  # a multiple of 15, so that bins are whole cells
_HALVINGS = 24


def smooth(residuals: FloatArray, bandwidth: FloatArray | float) -> FloatArray:
    """Return the cells' sums (..., G) spread by the kernel; `bandwidth` (...,) or one."""
    order = np.arange(residuals.shape[-1])
    damping = np.exp(-0.5 * (np.pi * order * np.asarray(bandwidth)[..., None]) ** 2)
    spread = fft.dct(residuals, norm="ortho", axis=-1) * damping
    return np.asarray(fft.idct(spread, norm="ortho", axis=-1))


def smooth_errors(residuals: FloatArray) -> FloatArray:
    """Return the smooth ECE (Q,) of residuals, sums of (y - c) / n of each cell, (Q, G).

    By bisection of log sigma, to a relative 1e-6; below a tenth of a cell's width it is 0.
    """
    order = np.arange(residuals.shape[-1])
    waves = fft.dct(residuals, norm="ortho", axis=-1)
    low = np.full(len(residuals), np.log(0.1 / residuals.shape[-1]))
    high = np.zeros(len(residuals))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        damping = np.exp(-0.5 * (np.pi * order * np.exp(middle)[:, None]) ** 2)
        error = np.abs(fft.idct(waves * damping, norm="ortho", axis=-1)).sum(axis=-1)
        above = error > np.exp(middle)
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found = np.exp(high)
    return np.where(np.abs(residuals).sum(axis=-1) > 0, found, 0.0)
