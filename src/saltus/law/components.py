r"""Where the scatter about a law comes from: sizes, replicas within them, single rows.

log L = law + s_size + p_replica + e_row, all normal. A size is off the law as a whole, horizons of
a replica share a trunk, and the rest is a row's own. Variances by restricted maximum likelihood at
the law's linearisation J: with V = sigma^2 W the covariance of the rows, and sigma^2 the row's own
variance profiled out,

    -2 l = (n - q) log min_b (r - J b)^T W^-1 (r - J b) + log |W| + log |J^T W^-1 J|

(Patterson and Thompson 1971), W = I + rho_p Z_p Z_p^T + rho_s Z_s Z_s^T. Replicas lie within sizes,
so W is one block a size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

RATIOS = (-14.0, 14.0)  # log variance of a component over the row's own: none, or all there is
NONE = -13.5  # a log ratio below counts as none
GRID = 8  # values of each ratio from which the search starts


class NoScatterError(ValueError):
    """Why a table has no components of scatter, in words for a report."""


@dataclass(frozen=True)
class Components:
    """Standard deviations of log loss: of a size, of a replica within it, of a row."""

    size: float
    replica: float
    row: float

    @property
    def total(self) -> float:
        """Return the standard deviation of one new row of a new size."""
        return float(np.sqrt(self.size**2 + self.replica**2 + self.row**2))

    def draw(
        self, sizes: Labels, replicas: Labels, num: int, generator: np.random.Generator
    ) -> Array:
        """Return `num` draws (num, n) of the scatter; `sizes`, `replicas` (n,) count from 0."""
        drawn = generator.normal(0, self.row, (num, len(sizes)))
        drawn += generator.normal(0, self.replica, (num, int(replicas.max()) + 1))[:, replicas]
        drawn += generator.normal(0, self.size, (num, int(sizes.max()) + 1))[:, sizes]
        return np.asarray(drawn)

    def covariance(self, replicas: Labels) -> Array:
        """Return the covariance of the rows of one size, whose replicas are `replicas` (n,)."""
        alike = replicas[:, None] == replicas[None]
        block = self.size**2 + self.replica**2 * alike + self.row**2 * np.eye(len(replicas))
        return np.asarray(block)


def numbered(labels: Sequence[object]) -> Labels:
    """Return labels as numbers (n,) from 0, in the order of their first appearance."""
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return np.array([order[label] for label in labels], dtype=np.intp)


def estimate_components(residual: Array, slope: Array, size: Labels, replica: Labels) -> Components:
    """Estimate the components from log residuals (n,), their slopes (n, q), and numbered labels.

    A component that the table cannot tell apart is 0: that of replicas where each has one row, that
    of sizes where each has one replica. Raises `NoScatterError` if the slopes are collinear, rows
    are no more than slopes, or the search does not settle.
    """
    blocks = [np.flatnonzero(size == s) for s in range(int(size.max()) + 1)]
    num, num_replicas = len(residual), int(replica.max()) + 1
    has_replica = num_replicas < num
    has_size = len(blocks) < num_replicas
    spare = num - slope.shape[1]
    scale = np.sqrt(np.mean(slope**2, axis=0))
    if spare < 1 or np.any(scale == 0) or np.linalg.matrix_rank(slope / scale) < slope.shape[1]:
        raise NoScatterError("the rows do not fix the law's slopes")
    design = slope / scale

    def ratios(free: Array) -> tuple[float, float]:
        """Return the variances of size and replica over the row's own."""
        given = iter(np.exp(np.where(free < NONE, -np.inf, free)))
        middle = float(next(given)) if has_replica else 0.0
        return (float(next(given)) if has_size else 0.0), middle

    def deviance(free: Array) -> tuple[float, float]:
        """Return the deviance and the row's own variance."""
        top, middle = ratios(free)
        unit = Components(float(np.sqrt(top)), float(np.sqrt(middle)), 1.0)
        information, pull = np.zeros((design.shape[1],) * 2), np.zeros(design.shape[1])
        total = square = 0.0
        for rows in blocks:
            factor = linalg.cho_factor(unit.covariance(replica[rows]), lower=True)
            total += 2 * float(np.sum(np.log(np.diag(factor[0]))))
            whitened = linalg.cho_solve(factor, np.c_[design[rows], residual[rows]])
            information += design[rows].T @ whitened[:, :-1]
            pull += design[rows].T @ whitened[:, -1]
            square += float(residual[rows] @ whitened[:, -1])
        left = max(square - float(pull @ np.linalg.solve(information, pull)), 1e-300)
        curved = float(np.linalg.slogdet(information)[1])
        return float(spare * np.log(left) + total + curved), left / spare

    def objective(free: Array) -> float:
        return deviance(free)[0]

    num_free = has_replica + has_size
    best = np.empty(0)
    if num_free:
        axis = np.linspace(*RATIOS, GRID)
        grid = np.stack(np.meshgrid(*[axis] * num_free), axis=-1).reshape(-1, num_free)
        start = grid[int(np.argmin([objective(point) for point in grid]))]
        found = optimize.minimize(
            objective, start, method="Nelder-Mead", bounds=[RATIOS] * num_free,
            options={"xatol": 1e-4, "fatol": 1e-8, "maxfev": 2000},
        )  # fmt: skip
        if not found.success:
            raise NoScatterError(f"the search for its components did not settle: {found.message}")
        best = found.x
    row = deviance(best)[1]
    top, middle = ratios(best)
    return Components(*(float(np.sqrt(row * ratio)) for ratio in (top, middle, 1.0)))
