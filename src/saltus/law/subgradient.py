r"""The minimum of an absolute loss: zero in its subdifferential, and the vertex itself.

At a minimum of sum w |r| some residuals are exactly zero, as many as there are parameters as a
rule, and the gradient of the others is not small: it is balanced by multipliers of the active rows,
each within its weights. With A the rows where r = 0 and J = dr/dtheta, theta is stationary if

    0 = sum_{i not in A} w_i s_i J_i + sum_{i in A} m_i J_i,   -w_i <= m_i <= w_i over,

s the sign of r (and `over` where positive). `n` row, `p` parameter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[np.float64]

STATIONARY = 1e-6  # distance of zero from the subdifferential, of the sum of all rows' pulls


@dataclass(frozen=True, eq=False)
class Subgradient:
    """How far zero is from the subdifferential, in shares of sum w |J| of each parameter.

    `pull` (n,) is each row's derivative of the objective in its residual: its sign times its
    weight, or its multiplier.
    """

    distance: float
    pull: Array
    active: NDArray[np.bool_]


def subgradient(
    slope: Array, residual: Array, weights: Array, over: float, tolerance: float
) -> Subgradient:
    """Find the multipliers that come nearest to balance; rows within `tolerance` of 0 are active.

    `slope` is (n, p); a bounded linear least-squares problem of as many unknowns as active rows.
    """
    active = (np.abs(residual) <= tolerance) & (weights > 0)
    pull = np.where(residual > 0, over, -1.0) * weights
    pull[active] = 0.0
    scale = np.maximum(np.sum(weights[:, None] * np.abs(slope), axis=0), 1e-300)
    rest = (pull @ slope) / scale
    if active.any():
        bounds = (-weights[active], over * weights[active])
        found = optimize.lsq_linear(
            (slope[active] / scale).T, -rest, bounds, tol=1e-14, method="bvls"
        )
        pull[active] = found.x
        rest = (pull @ slope) / scale
    return Subgradient(float(np.max(np.abs(rest))), pull, active)
