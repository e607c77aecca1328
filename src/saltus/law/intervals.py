"""Intervals of a fitted law from its refits on other rows, by whatever rule those were drawn.

Which rows are left out or drawn is the matter of `jackknife`, the default, and of `bootstrap`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.law.ends import Rule
from saltus.law.forms.base import SMALLEST_SHARE
from saltus.law.solve import Fit, predict_log

Array = NDArray[np.float64]

LARGEST_LOG = 700.0  # ends of an interval stay within exp of this
EXACT_LOG = 1e-9  # largest log residual of a table that is exact but for rounding
UNMOVED = 1e-12  # of a parameter: refits that move it less say nothing about it


def allocation_exponent(alpha: ArrayLike, beta: ArrayLike, cost_exponent: float = 1.0) -> Array:
    """Return a = beta / (alpha + p beta): N grows as C^a where C = k N^p D, p `cost_exponent`."""
    growth = np.asarray(beta, dtype=float)
    return np.asarray(growth / (np.asarray(alpha, dtype=float) + cost_exponent * growth))


def unmoved(whole: float, parts: Array) -> bool:
    """Return whether refits (m,) are all at the whole fit's value, but for rounding."""
    return bool(np.all(np.abs(parts - whole) <= UNMOVED * max(1.0, abs(whole))))


@dataclass(frozen=True, eq=False)
class Intervals(ABC):
    """A fit and its refits on other rows: intervals of parameters, allocation and predictions.

    `theta` (m, p) are the refits' internal vectors in raw units; `unconverged` counts those that
    fell short of the decrement tolerance. `replica_error` is the standard deviation of the log
    loss of a new replica about the law. `variables` (n,) are the table's: an irreducible loss lies
    below the law at each of its rows.
    """

    fitted: Fit
    theta: Array
    unconverged: int
    replica_error: float
    variables: Mapping[str, ArrayLike] = field(repr=False)
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
        Positive parameters stay so. An irreducible loss E lies between 0 (printed so when it cannot
        be told from it) and the lowest upper end of the law's own band over the table's rows: the
        law is above its E everywhere, and so is what it may be. The lowest loss seen is no such
        bound, since noise may take it below E.
        """
        form = self.fitted.form
        intervals: dict[str, tuple[float, float] | None] = {}
        for name in form.parameters:
            found = self.reported_interval(name)
            if self._absent(name):
                intervals[name] = None
            elif name in form.log_parameters:
                ends = np.exp(np.clip(found, -LARGEST_LOG, LARGEST_LOG))
                if name == form.floor:
                    highest = float(np.min(self.band(self.variables)[1]))
                    ends[1] = min(float(ends[1]), highest)
                    ends[0] = 0.0 if ends[0] <= 1.1 * SMALLEST_SHARE * highest else ends[0]
                intervals[name] = (float(ends[0]), float(ends[1]))
            else:
                low = found[0] if name in form.signed else max(found[0], 0.0)
                intervals[name] = (low, found[1])
        return intervals

    def notes(self) -> dict[str, str]:
        """Return why a parameter has no interval, or why its interval lies beside its estimate."""
        told = {}
        for name, ends in self.parameter_intervals().items():
            value = self.fitted.parameters[name]
            if ends is None:
                told[name] = f"none: {self._absent(name)}"
            elif not ends[0] <= value <= ends[1]:
                j = self.fitted.form.parameters.index(name)
                whole, parts = (self.fitted.form.report(t) for t in (self.fitted.theta, self.theta))
                told[name] = self._beside(float(whole[j]), parts[:, j])
        return told

    def allocation_note(self, cost_exponent: float = 1.0) -> str:
        """Return the same of a; empty where its interval holds the estimate."""
        ends = self.allocation_interval(cost_exponent)
        whole, parts = self._allocations(cost_exponent)
        if ends is not None:
            return "" if ends[0] <= whole <= ends[1] else self._beside(whole, parts)
        on_bound = self.fitted.form.growing & set(self.fitted.certificate.bounds_hit)
        absent = f"{' and '.join(sorted(on_bound))} on a bound"
        if on_bound:
            return f"none: {absent}"
        growth = self.fitted.form.growth(self.theta)
        moved = growth is not None and not unmoved(float(growth[0][0]), np.asarray(growth[0]))
        return "none: the form has no other" if moved else f"none: {self._still}"

    def _beside(self, whole: float, parts: Array) -> str:
        """Return how the refits lie about an estimate that is outside their interval."""
        above = float(np.mean(parts > whole))
        side = "above" if above >= 0.5 else "below"
        return (
            f"the estimate is not inside: {100 * max(above, 1 - above):.3g} % of the refits lie "
            f"{side} it: drawing rows anew biases this estimate"
        )

    def _absent(self, name: str) -> str:
        """Return why a parameter has no interval, or an empty string."""
        if name in self.fitted.certificate.bounds_hit:
            return "on its bound"
        j = self.fitted.form.parameters.index(name)
        whole, parts = (self.fitted.form.report(t) for t in (self.fitted.theta, self.theta))
        return self._still if unmoved(float(whole[j]), parts[:, j]) else ""

    @property
    def _still(self) -> str:
        """Return why refits do not move."""
        exact = bool(np.max(np.abs(self.fitted.residuals)) <= EXACT_LOG)
        return "the table is exact" if exact else "no refit moves it"

    def _allocations(self, cost_exponent: float) -> tuple[float, Array]:
        """Return a of the law, and of its refits (m,)."""
        both = (self.fitted.form.growth(theta) for theta in (self.fitted.theta, self.theta))
        whole, parts = (
            np.asarray(allocation_exponent(*growth, cost_exponent))
            for growth in both
            if growth is not None
        )
        return float(whole), parts

    def allocation_interval(self, cost_exponent: float = 1.0) -> tuple[float, float] | None:
        """Return (low, high) of a = beta / (alpha + p beta), p `cost_exponent`.

        Alpha and beta are the form's `growth`, which it must have. None where one is on a bound,
        or no refit moves a. It lies within [0, 1/p], where all growth goes to D or to N.
        """
        if self.fitted.form.growing & set(self.fitted.certificate.bounds_hit):
            return None
        whole, parts = self._allocations(cost_exponent)
        if unmoved(whole, parts):
            return None
        low, high = self.ends(np.array(whole), parts)
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
