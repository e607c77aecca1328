r"""What a fit minimises: the sum over rows of w rho(r), r the residual predicted minus observed.

    huber       rho = r^2/2 for |r| <= delta, else delta (|r| - delta/2)      (Huber 1964)
    squared     rho = r^2/2, its limit for a large delta
    absolute    rho = |r|, the limit of huber/delta for a small delta
    asymmetric  rho = |r|, times `over` where the law predicts too much

Residuals are of log loss (relative) or of the loss itself (raw). The sum is never averaged:
optimizers that hold the gradient of a mean against an absolute tolerance stop at the start and
report success. Legend: `m` start or resample, `n` row.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Loss = Literal["huber", "squared", "absolute", "asymmetric"]
Residual = Literal["log", "raw"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
RESIDUALS: tuple[Residual, ...] = get_args(Residual)

EXACT = 1e-9  # a mean rho below this share of delta^2 counts as an exact table
SMALLEST_RESIDUAL = 1e-3  # of the loss: stands in for a larger delta, or for none


def huber(residual: Array, weights: Array, delta: float) -> Array:
    """Sum over the last axis of w rho_delta(r)."""
    size = np.abs(residual)
    inner = np.minimum(size, delta)
    return np.asarray(np.sum(weights * inner * (size - 0.5 * inner), axis=-1))


def typical_size(log_loss: Array, raw: bool) -> float:
    """Return what residuals are measured by: the geometric mean of the loss, or 1 of logarithms."""
    return float(np.exp(np.mean(log_loss))) if raw else 1.0


@dataclass(frozen=True)
class Penalty:
    """A differentiable rho: Huber's with `delta` (inf is squared), times `over` for r > 0."""

    delta: float
    over: float = 1.0
    raw: bool = False

    def side(self, residual: Array) -> Array | float:
        """Return the factor of each row, by the sign of its residual."""
        return 1.0 if self.over == 1.0 else np.where(residual > 0, self.over, 1.0)

    def total(self, residual: Array, weights: Array) -> Array:
        """Return the sum of w rho over the last axis."""
        return huber(residual, weights * self.side(residual), self.delta)

    def floor(self, weights: Array, log_loss: Array) -> Array:
        """Return the objective below which a fit counts as exact: sum(w) delta^2 1e-9, (m,).

        A delta above a thousandth of the loss counts as that: far above the residuals it says
        nothing of what is exact, and every fit would be.
        """
        delta = min(self.delta, SMALLEST_RESIDUAL * typical_size(log_loss, self.raw))
        return np.asarray(weights.sum(axis=-1) * delta**2 * EXACT)


@dataclass(frozen=True)
class Criterion:
    """The loss and residual of a fit; `delta` is Huber's, `over` the asymmetric one's."""

    loss: Loss = "huber"
    delta: float = 1e-3
    residual: Residual = "log"
    over: float = 10.0

    @property
    def raw(self) -> bool:
        """Whether residuals are of the loss itself, not of its logarithm."""
        return self.residual == "raw"

    @property
    def smooth(self) -> bool:
        """Whether the objective has a gradient everywhere."""
        return self.loss in ("huber", "squared")

    @property
    def penalty(self) -> Penalty:
        """Return rho if it is differentiable; else its rounding at `delta`, times `delta`."""
        if self.loss == "squared":
            return Penalty(np.inf, raw=self.raw)
        over = self.over if self.loss == "asymmetric" else 1.0
        return Penalty(self.delta, over, self.raw)

    def rounded(self, delta: float) -> Penalty:
        """Return the rounding of an absolute loss at `delta`."""
        return replace(self.penalty, delta=delta)

    def floor(self, weights: Array, log_loss: Array) -> Array:
        """Return the objective (m,) below which a fit counts as exact.

        Of absolute losses it is that of the residuals which are the floor of squares.
        """
        if self.smooth:
            return self.penalty.floor(weights, log_loss)
        least = SMALLEST_RESIDUAL * typical_size(log_loss, self.raw) * np.sqrt(2 * EXACT)
        return np.asarray(weights.sum(axis=-1) * least)

    def total(self, residual: Array, weights: Array) -> Array:
        """Return the objective itself, the plain sum of w rho over the last axis."""
        if self.smooth:
            return self.penalty.total(residual, weights)
        side = self.penalty.side(residual)
        return np.asarray(np.sum(weights * side * np.abs(residual), axis=-1))

    def __str__(self) -> str:
        """Return the criterion in the words of a report."""
        residual = "log residuals" if self.residual == "log" else "raw residuals"
        if self.loss == "huber":
            return f"sum of Huber losses, delta {self.delta:g}, of {residual}"
        if self.loss == "asymmetric":
            often = {1.0: "once", 2.0: "twice"}.get(self.over, f"{self.over:g} times")
            return f"sum of absolute {residual}, over-prediction counted {often}"
        return f"sum of {'halved squares of' if self.loss == 'squared' else 'absolute'} {residual}"
