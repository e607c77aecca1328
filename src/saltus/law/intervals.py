"""Intervals of a fitted law by the delete-one-size jackknife.

Rows of one size share whatever that size got wrong, and horizons of one replica share a trunk, so
rows are no sampling units. Leaving out one size at a time and taking t on S - 3 degrees of freedom
(S sizes; E, A and alpha are what sizes determine) covers .95 or more in simulation, also when every
size is off the law (bench/coverage.py); bootstraps of rows or of replicas cover less.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.law.ends import DeleteOne, Rule
from saltus.law.forms.base import SMALLEST_SHARE
from saltus.law.solve import Fit, predict_log, refit

Array = NDArray[np.float64]

SIZE_PARAMETERS = 3  # E, A and alpha; t on S - 3 holds for other forms (bench/coverage_forms.csv)
MIN_SIZES = SIZE_PARAMETERS + 1
LARGEST_LOG = 700.0  # ends of an interval stay within exp of this
UNMOVED = 1e-12  # of a parameter: refits that move it less say nothing about it


def degrees_of_freedom(num_sizes: int) -> int:
    """Return S - 3, which is below 1 when there are too few sizes for an interval."""
    return num_sizes - SIZE_PARAMETERS


def allocation_exponent(alpha: ArrayLike, beta: ArrayLike, cost_exponent: float = 1.0) -> Array:
    """Return a = beta / (alpha + p beta): N grows as C^a where C = k N^p D, p `cost_exponent`."""
    growth = np.asarray(beta, dtype=float)
    return np.asarray(growth / (np.asarray(alpha, dtype=float) + cost_exponent * growth))


@dataclass(frozen=True, eq=False)
class Intervals(ABC):
    """A fit and its refits on other rows: intervals of parameters, allocation and predictions.

    `theta` (m, p) are the refits' internal vectors in raw units; `unconverged` counts those that
    fell short of the decrement tolerance. `replica_error` is the standard deviation of the log
    loss of a new replica about the law. `smallest_loss` bounds E.
    """

    fitted: Fit
    theta: Array
    unconverged: int
    replica_error: float
    smallest_loss: float
    level: float = field(default=0.95, kw_only=True)

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the coverage table calls the method."""

    @property
    @abstractmethod
    def method(self) -> str:
        """The method, in words that a table can print."""

    @property
    @abstractmethod
    def rule(self) -> Rule:
        """How the refits' values of a statistic become its interval."""

    def ends(self, whole: Array, parts: Array, noise: float = 0.0) -> tuple[Array, Array]:
        """Return (low, high) (...,) of a statistic, as the `rule` does."""
        return self.rule.ends(whole, parts, noise)

    def reported_interval(self, name: str) -> tuple[float, float]:
        """Return (low, high) of one parameter as it is reported, a logarithm where it is one."""
        form = self.fitted.form
        j = form.parameters.index(name)
        low, high = self.ends(form.report(self.fitted.theta)[j], form.report(self.theta)[:, j])
        return float(low), float(high)

    def parameter_intervals(self) -> dict[str, tuple[float, float] | None]:
        """Return (low, high) of each public parameter; logarithmic for those stored so.

        None for a parameter on its bound, or that no refit moves: their spread says nothing.
        Positive parameters stay so, and an irreducible loss E lies between 0 (printed so when it
        cannot be told from it) and the smallest loss seen.
        """
        form = self.fitted.form
        intervals: dict[str, tuple[float, float] | None] = {}
        for name in form.parameters:
            found = self.reported_interval(name)
            if name in self.fitted.certificate.bounds_hit or self._unmoved(name):
                intervals[name] = None
            elif name in form.log_parameters:
                ends = np.exp(np.clip(found, -LARGEST_LOG, LARGEST_LOG))
                if name == form.floor:
                    negligible = 1.001 * SMALLEST_SHARE * self.smallest_loss
                    ends = np.clip(ends, 0.0, self.smallest_loss)
                    ends[0] = 0.0 if ends[0] <= negligible else ends[0]
                intervals[name] = (float(ends[0]), float(ends[1]))
            else:
                low = found[0] if name in form.signed else max(found[0], 0.0)
                intervals[name] = (low, found[1])
        return intervals

    def _unmoved(self, name: str) -> bool:
        form = self.fitted.form
        j = form.parameters.index(name)
        whole, parts = form.report(self.fitted.theta)[j], form.report(self.theta)[:, j]
        return bool(np.all(np.abs(parts - whole) <= UNMOVED * max(1.0, abs(float(whole)))))

    def allocation_interval(self, cost_exponent: float = 1.0) -> tuple[float, float] | None:
        """Return (low, high) of a = beta / (alpha + p beta), p `cost_exponent`; None on a bound.

        It lies within [0, 1/p], where all growth goes to D or to N.
        """
        if {"alpha", "beta"} & set(self.fitted.certificate.bounds_hit):
            return None
        form = self.fitted.form
        alpha, beta = form.parameters.index("alpha"), form.parameters.index("beta")
        whole, parts = form.report(self.fitted.theta), form.report(self.theta)
        low, high = self.ends(
            allocation_exponent(whole[alpha], whole[beta], cost_exponent),
            allocation_exponent(parts[:, alpha], parts[:, beta], cost_exponent),
        )
        return max(float(low), 0.0), min(float(high), 1.0 / cost_exponent)

    def band(self, variables: Mapping[str, ArrayLike]) -> tuple[Array, Array]:
        """Return (low, high) (n,) of the law itself at raw variables (n,)."""
        return self._around(variables, 0.0)

    def prediction_interval(self, variables: Mapping[str, ArrayLike]) -> tuple[Array, Array]:
        """Return (low, high) (n,) for the loss of one new replica at raw variables (n,)."""
        return self._around(variables, self.replica_error)

    def _around(self, variables: Mapping[str, ArrayLike], noise: float) -> tuple[Array, Array]:
        form = self.fitted.form
        whole = predict_log(form, self.fitted.theta, variables)
        ends = self.ends(whole, predict_log(form, self.theta, variables), noise)
        low, high = np.clip(np.stack(ends), -LARGEST_LOG, LARGEST_LOG)
        return np.exp(low), np.exp(high)


@dataclass(frozen=True, eq=False)
class Jackknife(Intervals):
    """Refits without one size each; `sizes` (S,) are the labels in the order of `theta`.

    `what` they label may be clusters of another kind.
    """

    sizes: tuple[str, ...] = field(kw_only=True)
    what: str = field(default="size", kw_only=True)

    @property
    def kind(self) -> str:
        return "jackknife" if self.what == "size" else f"jackknife of {self.what}s"

    @property
    def dof(self) -> int:
        """Degrees of freedom of the t quantile; at least 1."""
        return degrees_of_freedom(len(self.sizes))

    @property
    def rule(self) -> DeleteOne:
        return DeleteOne(self.dof, self.level)

    @property
    def method(self) -> str:
        return self.rule.method(self.what)


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
    sizes: Sequence[object],
    replicas: Sequence[object] | None = None,
    *,
    what: str = "size",
    level: float = 0.95,
) -> Jackknife | None:
    """Refit without each size in turn; None when fewer than 4 sizes leave no degree of freedom.

    `sizes` (n,) labels the rows; `replicas` (n,) names the (size, seed) of each, by default the
    row itself. `what` says what `sizes` are.
    """
    labels = np.array([str(label) for label in sizes])
    groups = tuple(dict.fromkeys(labels.tolist()))
    if degrees_of_freedom(len(groups)) < 1:
        return None
    weights = np.stack([(labels != group).astype(float) for group in groups])
    refits = refit(fitted, variables, loss, weights)
    names = list(range(len(labels))) if replicas is None else list(replicas)
    return Jackknife(
        fitted=fitted,
        sizes=groups,
        what=what,
        theta=refits.theta,
        unconverged=int(np.sum(~refits.converged)),
        replica_error=replica_error(fitted.residuals, names, len(fitted.theta)),
        smallest_loss=float(np.min(np.asarray(loss, dtype=float))),
        level=level,
    )
