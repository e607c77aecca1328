"""Intervals of a fitted law by the delete-one-size jackknife.

Rows of one size share whatever that size got wrong, and horizons of one replica share a trunk, so
rows are no sampling units. Leaving out one size at a time and taking t on S - 3 degrees of freedom
(S sizes; E, A and alpha are what sizes determine) covers .95 or more in simulation, also when every
size is off the law (bench/coverage.py); bootstraps of rows or of replicas cover less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from saltus.law.forms.base import SMALLEST_SHARE
from saltus.law.solve import Fit, predict_log, refit

Array = NDArray[np.float64]

SIZE_PARAMETERS = 3  # E, A and alpha
MIN_SIZES = SIZE_PARAMETERS + 1
LARGEST_LOG = 700.0  # ends of an interval stay within exp of this


def degrees_of_freedom(num_sizes: int) -> int:
    """Return S - 3, which is below 1 when there are too few sizes for an interval."""
    return num_sizes - SIZE_PARAMETERS


def jackknife_error(values: Array) -> Array:
    """Standard error (...,) of a statistic from its delete-one values (S, ...)."""
    num = len(values)
    spread = np.sum((values - values.mean(axis=0)) ** 2, axis=0)
    return np.asarray(np.sqrt((num - 1) / num * spread))


def allocation_exponent(alpha: ArrayLike, beta: ArrayLike) -> Array:
    """Return a = beta / (alpha + beta): N grows as C^a under C proportional to N D."""
    share = np.asarray(beta, dtype=float) / (np.asarray(alpha, dtype=float) + np.asarray(beta))
    return np.asarray(share)


@dataclass(frozen=True, eq=False)
class Jackknife:
    """A fit and its refits without one size each.

    `sizes` (S,) are the labels in the order of `theta` (S, p), internal vectors in raw units;
    `unconverged` counts refits that fell short of the decrement tolerance. `replica_error` is the
    standard deviation of the log loss of a new replica about the law. `smallest_loss` bounds E.
    """

    fitted: Fit
    sizes: tuple[str, ...]
    theta: Array
    unconverged: int
    replica_error: float
    smallest_loss: float
    level: float = 0.95

    @property
    def dof(self) -> int:
        """Degrees of freedom of the t quantile; at least 1."""
        return degrees_of_freedom(len(self.sizes))

    @property
    def quantile(self) -> float:
        """Two-sided t quantile of the level."""
        return float(stats.t.ppf(0.5 + self.level / 2, self.dof))

    @property
    def method(self) -> str:
        """The method, in words that a table can print."""
        plural = "" if self.dof == 1 else "s"
        return f"delete-one-size jackknife, t with {self.dof} degree{plural} of freedom"

    def parameter_intervals(self) -> dict[str, tuple[float, float] | None]:
        """Return (low, high) of each public parameter; logarithmic for those stored so.

        None for a parameter on its bound: refits rest there too, and their spread says nothing.
        Exponents are not below 0, and an irreducible loss E lies between 0 (printed so when it
        cannot be told from it) and the smallest loss seen.
        """
        form = self.fitted.form
        half = self.quantile * jackknife_error(form.report(self.theta))
        centre = form.report(self.fitted.theta)
        low, high = centre - half, centre + half
        intervals: dict[str, tuple[float, float] | None] = {}
        for j, name in enumerate(form.parameters):
            if name in self.fitted.certificate.bounds_hit:
                intervals[name] = None
                continue
            if name in form.log_parameters:
                ends = np.exp(np.clip([low[j], high[j]], -LARGEST_LOG, LARGEST_LOG))
                if name == "E":
                    negligible = SMALLEST_SHARE * self.smallest_loss
                    ends = np.clip(ends, 0.0, self.smallest_loss)
                    ends[0] = 0.0 if ends[0] <= negligible else ends[0]
            else:
                ends = np.array([max(low[j], 0.0), high[j]])
            intervals[name] = (float(ends[0]), float(ends[1]))
        return intervals

    def allocation_interval(self) -> tuple[float, float] | None:
        """Return (low, high) of a = beta / (alpha + beta), within [0, 1]; None on a bound."""
        if {"alpha", "beta"} & set(self.fitted.certificate.bounds_hit):
            return None
        form = self.fitted.form
        alpha, beta = form.parameters.index("alpha"), form.parameters.index("beta")
        whole, parts = form.report(self.fitted.theta), form.report(self.theta)
        centre = allocation_exponent(whole[alpha], whole[beta])
        values = allocation_exponent(parts[:, alpha], parts[:, beta])
        half = self.quantile * jackknife_error(values)
        return max(float(centre - half), 0.0), min(float(centre + half), 1.0)

    def band(self, variables: Mapping[str, ArrayLike]) -> tuple[Array, Array]:
        """Return (low, high) (n,) of the law itself at raw variables (n,)."""
        return self._around(variables, 0.0)

    def prediction_interval(self, variables: Mapping[str, ArrayLike]) -> tuple[Array, Array]:
        """Return (low, high) (n,) for the loss of one new replica at raw variables (n,)."""
        return self._around(variables, self.replica_error)

    def _around(self, variables: Mapping[str, ArrayLike], extra: float) -> tuple[Array, Array]:
        form = self.fitted.form
        centre = predict_log(form, self.fitted.theta, variables)
        error = jackknife_error(predict_log(form, self.theta, variables))
        half = self.quantile * np.sqrt(error**2 + extra**2)
        ends = np.clip([centre - half, centre + half], -LARGEST_LOG, LARGEST_LOG)
        return np.exp(ends[0]), np.exp(ends[1])


def replica_error(residuals: Array, replicas: Sequence[object], num_parameters: int) -> float:
    """Standard deviation of a new replica's log loss about the law, from log residuals (n,).

    Rows of a replica move together, so the mean square is scaled by R / (R - p) with R replicas,
    not rows; the law can absorb at most p of them.
    """
    num = len(set(replicas))
    spare = max(num - num_parameters, 1)
    return float(np.sqrt(np.mean(residuals**2) * num / spare))


def jackknife(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    sizes: Sequence[str],
    replicas: Sequence[object] | None = None,
    *,
    level: float = 0.95,
) -> Jackknife | None:
    """Refit without each size in turn; None when fewer than 4 sizes leave no degree of freedom.

    `sizes` (n,) labels the rows; `replicas` (n,) names the (size, seed) of each, by default the
    row itself.
    """
    labels = np.asarray(sizes)
    groups = tuple(dict.fromkeys(str(label) for label in sizes))
    if degrees_of_freedom(len(groups)) < 1:
        return None
    weights = np.stack([(labels != group).astype(float) for group in groups])
    refits = refit(fitted, variables, loss, weights)
    names = list(range(len(labels))) if replicas is None else list(replicas)
    return Jackknife(
        fitted=fitted,
        sizes=groups,
        theta=refits.theta,
        unconverged=int(np.sum(~refits.converged)),
        replica_error=replica_error(fitted.residuals, names, len(fitted.theta)),
        smallest_loss=float(np.min(np.asarray(loss, dtype=float))),
        level=level,
    )
