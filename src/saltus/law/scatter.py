r"""A law refitted to its own scatter: components and generalised least squares, in turns.

Components of scatter (`components`) are estimated at a linearisation of the law, and the law that
they imply minimises r^T V^-1 r / 2; each is taken at the other's answer until neither moves
(Lindstrom and Bates 1990, section 3). Parameters on a bound are held there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.law.components import (
    Components,
    Labels,
    NoScatterError,
    estimate_components,
)
from saltus.law.criterion import Penalty
from saltus.law.descent import Table, prepare
from saltus.law.forms.restricted import Whitened
from saltus.law.minimise import linearise, minimise
from saltus.law.solve import Fit

Array = NDArray[np.float64]

ROUNDS = 50  # of components and law, in turns
SETTLED = 1e-3  # relative change of a component, in shares of the whole, that is none
WIDEST = 3.0  # times the residuals' root mean square: a wider scatter is a law that does not fit
SQUARES = Penalty(np.inf)


@dataclass(frozen=True, eq=False)
class Scatter:
    """Components, and the law of least squares under them.

    `theta` (p,) is centred as `table` is; `root` (n, n) makes rows independent, of variance 1;
    `value` is r^T V^-1 r / 2 at `theta`.
    """

    table: Table
    components: Components
    theta: Array
    root: Array
    value: float


def scatter_of(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    size: Labels,
    replica: Labels,
) -> Scatter:
    """Return the scatter of log losses (n,) about the form of `fitted`, from its own law on.

    Raises `NoScatterError` where law and components do not settle, or where the components are
    several times the residuals they are to explain: then the law is off by more than scatter.
    """
    form = fitted.form
    table = prepare(form, variables, loss, None)
    bounds = form.bounds(table.logs, table.log_loss)
    theta = np.clip(table.to_centred(form, fitted.theta), *bounds)
    ones = np.ones_like(table.log_loss)
    made: Components | None = None
    for _ in range(ROUNDS):
        free = (theta > bounds[0]) & (theta < bounds[1])
        residual, slope, _ = linearise(form, table.logs, table.log_loss, theta, False)
        last, made = made, estimate_components(residual, slope[:, free], size, replica)
        typical = float(np.sqrt(np.mean(fitted.residuals**2)))
        if made.total > WIDEST * typical:
            raise NoScatterError(
                f"its components ({made.total:.2g}) would be {made.total / typical:.0f} times the "
                f"residuals ({typical:.2g}): this form is off by more than scatter"
            )
        root = _root(made, size, replica)
        surface = Whitened(form, root)
        mixed = root @ table.log_loss
        ends, values, converged = minimise(
            surface, table.logs, mixed, ones, SQUARES, theta[None], bounds
        )
        theta = ends[0]
        if not converged[0]:
            raise NoScatterError("least squares under its components did not converge")
        if last is not None and _apart(last, made) < SETTLED:
            return Scatter(table, made, theta, root, float(values[0]))
    raise NoScatterError(f"law and components did not settle in {ROUNDS} rounds")


def _apart(one: Components, other: Components) -> float:
    """Return the largest difference of two estimates, in shares of the whole scatter."""
    pairs = ((one.size, other.size), (one.replica, other.replica), (one.row, other.row))
    return max(abs(a - b) for a, b in pairs) / max(other.total, 1e-300)


def _root(made: Components, size: Labels, replica: Labels) -> Array:
    """Return the inverse of the lower Cholesky factor of the rows' covariance, (n, n)."""
    root = np.zeros((len(size),) * 2)
    for s in range(int(size.max()) + 1):
        rows = np.flatnonzero(size == s)
        lower = np.linalg.cholesky(made.covariance(replica[rows]))
        root[np.ix_(rows, rows)] = np.linalg.inv(lower)
    return root
