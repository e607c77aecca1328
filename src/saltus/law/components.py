r"""Where the scatter about a law comes from: sizes, replicas within them, single rows.

log L = law + s_size + p_replica + e_row, all normal. A size is off the law as a whole, horizons of
a replica share a trunk, and the rest is a row's own. Variances by restricted maximum likelihood at
the law's linearisation J: with V the covariance of the rows,

    -2 l = log |V| + log |J^T V^-1 J| + min_b (r - J b)^T V^-1 (r - J b)

(Patterson and Thompson 1971). Replicas lie within sizes, so V is one block a size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

Array = NDArray[np.float64]

SMALLEST_SHARE = 1e-6  # of the mean square: a variance below counts as none


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
        self,
        sizes: NDArray[np.intp],
        replicas: NDArray[np.intp],
        num: int,
        generator: np.random.Generator,
    ) -> Array:
        """Return `num` draws (num, n) of the scatter; `sizes`, `replicas` (n,) count from 0."""
        drawn = generator.normal(0, self.row, (num, len(sizes)))
        drawn += generator.normal(0, self.replica, (num, int(replicas.max()) + 1))[:, replicas]
        drawn += generator.normal(0, self.size, (num, int(sizes.max()) + 1))[:, sizes]
        return np.asarray(drawn)

    def covariance(self, replicas: NDArray[np.intp]) -> Array:
        """Return the covariance of the rows of one size, whose replicas are `replicas` (n,)."""
        alike = replicas[:, None] == replicas[None]
        block = self.size**2 + self.replica**2 * alike + self.row**2 * np.eye(len(replicas))
        return np.asarray(block)


def numbered(labels: Sequence[object]) -> NDArray[np.intp]:
    """Return labels as numbers (n,) from 0, in the order of their first appearance."""
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return np.array([order[label] for label in labels], dtype=np.intp)


def estimate_components(
    residual: Array, slope: Array, size: NDArray[np.intp], replica: NDArray[np.intp]
) -> Components:
    """Estimate the components from log residuals (n,), their slopes (n, p), and numbered labels.

    A component that the table cannot tell apart is 0: that of replicas where each has one row, that
    of sizes where each has one replica.
    """
    blocks = [np.flatnonzero(size == s) for s in range(int(size.max()) + 1)]
    num, num_replicas = len(residual), int(replica.max()) + 1
    has_replica = num_replicas < num
    has_size = len(blocks) < num_replicas
    mean_square = max(float(np.mean(residual**2)), 1e-300)
    scale = np.maximum(np.sqrt(np.mean(slope**2, axis=0)), 1e-300)
    design = slope / scale

    def components(logs: Array) -> Components:
        free = iter(np.exp(np.clip(logs, -20, 5)))
        row = float(next(free))
        middle = float(next(free)) if has_replica else 0.0
        top = float(next(free)) if has_size else 0.0
        shares = np.array([top, middle, row])
        shares[shares < SMALLEST_SHARE] = 0.0
        shares[2] = max(shares[2], SMALLEST_SHARE)
        return Components(*(float(part) for part in np.sqrt(mean_square * shares)))

    def deviance(logs: Array) -> float:
        made = components(logs)
        information, pull = np.zeros((design.shape[1],) * 2), np.zeros(design.shape[1])
        total = square = 0.0
        for rows in blocks:
            factor = linalg.cho_factor(made.covariance(replica[rows]), lower=True)
            total += 2 * float(np.sum(np.log(np.diag(factor[0]))))
            whitened = linalg.cho_solve(factor, np.c_[design[rows], residual[rows]])
            information += design[rows].T @ whitened[:, :-1]
            pull += design[rows].T @ whitened[:, -1]
            square += float(residual[rows] @ whitened[:, -1])
        signs, log_determinant = np.linalg.slogdet(information)
        if signs <= 0:
            return np.inf
        return float(total + log_determinant + square - pull @ np.linalg.solve(information, pull))

    num_free = 1 + has_replica + has_size
    ends = []
    for spread in (0.0, -4.0):
        start = np.full(num_free, spread)
        start[0] = np.log(0.5)
        ends.append(optimize.fmin(deviance, start, xtol=1e-3, ftol=1e-4, maxiter=300, disp=False))
    return components(min(ends, key=deviance))
