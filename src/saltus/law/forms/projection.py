"""Variable projection: the best coefficients of a sum of powers, given its exponents.

At fixed exponents L = c_0 + sum_k c_k x_k^(-e_k) is linear in c >= 0, and rows weighted by 1/L^2
stand in for log residuals, so the hard problem is left with the exponents alone (Golub and Pereyra
1973). A resample is a weighting of the rows, so all resamples share one set of products.
Legend: `n` row, `k` variable, `c` coefficient (k + 1), `g` grid point, `m` weighting.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def exponent_grid(num_variables: int, num: int, low: float = 0.02, high: float = 2.0) -> Array:
    """Return every combination of `num` exponents, evenly spaced in log, per variable: (g, k)."""
    axis = np.geomspace(low, high, num)
    return np.array(list(itertools.product(axis, repeat=num_variables)))


def _solve(gram: Array, moment: Array) -> Array:
    """Solve G c = h for stacks of one, two or more unknowns; small ones in closed form."""
    num = moment.shape[-1]
    if num == 1:
        return np.asarray(moment / gram[..., 0])
    if num == 2:
        first, second, cross = gram[..., 0, 0], gram[..., 1, 1], gram[..., 0, 1]
        left, right = moment[..., 0], moment[..., 1]
        both = np.stack([second * left - cross * right, first * right - cross * left], axis=-1)
        return np.asarray(both / (first * second - cross**2)[..., None])
    return np.asarray(np.linalg.solve(gram, moment[..., None])[..., 0])


def nonnegative_least_squares(gram: Array, moment: Array) -> tuple[Array, Array]:
    """Minimise c^T G c - 2 c^T h over c >= 0 for a stack of tiny problems, exactly.

    `gram` is (..., c, c), `moment` (..., c). Returns the minima (...,) and coefficients (..., c).
    The solution is the unconstrained one on some subset of the coefficients; with at most four of
    them, trying all subsets is quicker than an active-set search and can be done in one stack.
    """
    num = moment.shape[-1]
    best = np.zeros(moment.shape[:-1])
    solution = np.zeros_like(moment)
    scale = np.sqrt(np.maximum(np.einsum("...cc->...c", gram), 1e-300))
    gram = gram / scale[..., :, None] / scale[..., None, :] + 1e-13 * np.eye(num)
    moment = moment / scale
    for size in range(1, num + 1):
        for subset in itertools.combinations(range(num), size):
            index = np.array(subset)
            part = _solve(gram[..., index[:, None], index], moment[..., index])
            value = -np.sum(part * moment[..., index], axis=-1)
            better = np.all(part >= 0, axis=-1) & (value < best)
            best = np.where(better, value, best)
            full = np.zeros_like(moment)
            full[..., index] = part
            solution = np.where(better[..., None], full, solution)
    return best, solution / scale


def project(x: Array, log_loss: Array, weights: Array, exponents: Array) -> tuple[Array, Array]:
    """Return the relative squared error (m, g) and coefficients (m, g, c) at each exponent vector.

    `x` (k, n) are log variables, `weights` (m, n) and `exponents` (g, k). `log_loss` is (n,), or
    (m, n) if every weighting has losses of its own, which are then taken relative to their mean.
    """
    reference = log_loss if log_loss.ndim == 1 else log_loss.mean(axis=0)
    target = np.exp(log_loss - reference)
    powers = np.exp(-exponents[:, :, None] * x[None])  # (g, k, n)
    basis = np.concatenate([np.ones_like(powers[:, :1]), powers], axis=1) * np.exp(-reference)
    num = basis.shape[1]
    gram = np.empty((len(weights), len(basis), num, num))
    for i, j in itertools.combinations_with_replacement(range(num), 2):
        gram[..., i, j] = gram[..., j, i] = weights @ (basis[:, i] * basis[:, j]).T
    pulled = weights * target
    moment = np.stack([pulled @ basis[:, i].T for i in range(num)], axis=-1)
    value, coefficients = nonnegative_least_squares(gram, moment)
    return value + np.sum(pulled * target, axis=1)[:, None], coefficients
