"""From the values of statistics in refits to their intervals and covariances.

Legend: `m` refit, `...` any shape of a statistic.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


def jackknife_error(values: Array) -> Array:
    """Standard error (...,) of a statistic from its delete-one values (m, ...)."""
    return np.sqrt(_jackknife_covariance(values, values))


def _jackknife_covariance(one: Array, other: Array) -> Array:
    return (len(one) - 1) / len(one) * _deviations(one, other)


def _deviations(one: Array, other: Array) -> Array:
    return np.asarray(np.sum((one - one.mean(axis=0)) * (other - other.mean(axis=0)), axis=0))


@dataclass(frozen=True)
class DeleteOne:
    """Each refit lacks one group: t with `dof` degrees of freedom (Efron and Tibshirani 1993, 11).

    The covariance is (m - 1)/m times the sum of products of deviations from the refits' mean. What
    a new observation adds may have degrees of freedom of its own, `noise_dof`; None are `dof`.
    """

    dof: int
    level: float = 0.95
    noise_dof: float | None = None
    kind: ClassVar[str] = "jackknife"

    @property
    def quantile(self) -> float:
        """Two-sided t quantile of the level."""
        return self._quantile(self.dof)

    def _quantile(self, dof: float) -> float:
        return float(stats.t.ppf(0.5 + self.level / 2, dof))

    def method(self, what: str = "size") -> str:
        """The method in words that a table can print; `what` is left out of each refit."""
        plural = "" if self.dof == 1 else "s"
        return f"delete-one-{what} jackknife, t with {self.dof} degree{plural} of freedom"

    def ends(self, whole: Array, parts: Array, noise: float = 0.0) -> tuple[Array, Array]:
        """Return (low, high) (...,) of a statistic, `whole` (...,) of the fit, `parts` (m, ...).

        `noise` is the standard deviation of what a new observation adds to the statistic. Each of
        the two has its own quantile, and their half widths are added in quadrature (Zou and Donner
        2008): a few sizes make the law uncertain, not how far replicas scatter about it.
        """
        noise_dof = self.dof if self.noise_dof is None else self.noise_dof
        half = np.hypot(self.quantile * jackknife_error(parts), self._quantile(noise_dof) * noise)
        return whole - half, whole + half

    def covariance(self, one: Array, other: Array) -> Array:
        """Return the covariance (...,) of two statistics, (m, ...) each or to be broadcast so."""
        return _jackknife_covariance(one, other)


@dataclass(frozen=True)
class Percentiles:
    """Each refit is of a resample: percentiles, and the covariance of a sample.

    What a new observation adds is drawn from a normal distribution.
    """

    level: float = 0.95
    kind: ClassVar[str] = "percentiles"

    def ends(self, whole: Array, parts: Array, noise: float = 0.0) -> tuple[Array, Array]:
        """Return (low, high) (...,) as `DeleteOne.ends` does; `whole` has no part in them."""
        values = np.asarray(parts)
        if noise > 0:
            values = values + np.random.default_rng(0).normal(0, noise, values.shape)
        tail = 100 * (1 - self.level) / 2
        low, high = np.percentile(values, [tail, 100 - tail], axis=0)
        return low, high

    def covariance(self, one: Array, other: Array) -> Array:
        """Return the covariance (...,) of two statistics, (m, ...) each or to be broadcast so."""
        return _deviations(one, other) / (len(one) - 1)


Rule = DeleteOne | Percentiles
