r"""The last steps to a minimum of an absolute loss, which lies on a vertex: linear programmes.

A descent on a rounded loss stops where the rounded valley is flat; on an ill-conditioned table that
is far from the vertex. With r the residuals and J their slopes at theta, the step s that minimises

    sum w (over [r + J s]_+ + [r + J s]_-),   |s_j| <= radius / |J_j|,

is a linear programme. It is taken if the loss itself falls, and the radius follows how well the
programme foretold that (sequential linear programming; Fletcher and Sainz de la Maza 1989,
Mathematical Programming 43). Near a vertex, as many zero residuals as parameters, these are
Newton's steps. `n` row, `p` parameter.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from saltus.law.criterion import Criterion, typical_size
from saltus.law.descent import Table
from saltus.law.forms.base import Form
from saltus.law.minimise import linearise, residuals

Array = NDArray[np.float64]

STEPS = 80
FIRST_RADIUS = 0.01  # root mean square change of the residuals, in shares of a typical loss
LEAST_RADIUS = 1e-13
LEAST_GAIN = 1e-13  # of the objective: a programme that promises less has arrived


def to_vertex(form: Form, table: Table, criterion: Criterion, theta: Array) -> tuple[Array, bool]:
    """Return `theta` (p,) moved down the absolute or asymmetric loss itself, never up.

    And whether it arrived: no step within the radius promises to gain more.
    """
    bounds = form.bounds(table.logs, table.log_loss)
    weights, over = table.weights, criterion.penalty.over
    typical = typical_size(table.log_loss, criterion.raw)
    floor = float(criterion.floor(weights, table.log_loss))

    def total(at: Array) -> float:
        ends = residuals(form, table.logs, table.log_loss, at, criterion.raw)
        return float(criterion.total(ends, weights))

    best, value, radius = theta, total(theta), FIRST_RADIUS * typical
    for _ in range(STEPS):
        residual, slope, _ = linearise(form, table.logs, table.log_loss, best, criterion.raw)
        scale = np.maximum(np.sqrt(np.mean(slope**2, axis=0)), 1e-300)
        low = np.maximum(-radius, (bounds[0] - best) * scale)
        high = np.minimum(radius, (bounds[1] - best) * scale)
        step = _programme(slope / scale, residual, weights, over, low, high, typical)
        if step is None:
            break
        ends = residual + slope @ (step / scale)
        promised = value - float(criterion.total(ends, weights))
        if promised <= LEAST_GAIN * max(value, floor):
            return best, True
        trial = np.clip(best + step / scale, *bounds)
        with np.errstate(over="ignore", invalid="ignore"):  # a wild step is not taken
            gained = value - total(trial)
        if gained > 0:
            best, value = trial, value - gained
        if not gained > 0.25 * promised:
            radius /= 4
        elif gained > 0.75 * promised:
            radius *= 2
        if radius < LEAST_RADIUS * typical:
            break
    return best, False


def _programme(
    slope: Array,
    residual: Array,
    weights: Array,
    over: float,
    low: Array,
    high: Array,
    typical: float,
) -> Array | None:
    """Return the step (p,) of least linearised loss between `low` and `high`; None if unsolved.

    The residuals after it are what is above zero less what is below, and each has its price. All
    is told in units of the radius, since a solver's tolerances are absolute.
    """
    num, unit = len(residual), max(float(np.max(high - low)), 1e-300)
    rows = sparse.hstack(
        [sparse.csr_array(slope), -sparse.eye_array(num), sparse.eye_array(num)], format="csr"
    )
    prices = np.r_[np.zeros(len(low)), weights * over, weights]
    limits = np.r_[np.stack([low, high], axis=1) / unit, np.tile([0.0, np.inf], (2 * num, 1))]
    found = optimize.linprog(
        prices, A_eq=rows, b_eq=-residual / unit, bounds=limits, method="highs-ds"
    )
    return unit * np.asarray(found.x)[: len(low)] if found.success else None
