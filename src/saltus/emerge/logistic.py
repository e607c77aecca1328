"""The logistic of accuracy against a loss: its data, its value and slopes, and its descent.

Binomial quasi-likelihood by Fisher scoring, many starts at once. What it is for is told in
`saltus.emerge.link`.

Legend: P parameter vectors (L0, log -k, b, top = b + a), C cells (runs), S sizes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RISEN = 0.1  # of the way from guessing to 1: an accuracy that is no longer guessing
EPSILON = 1e-9
_STEPS = 200
_TOLERANCE = 1e-14


@dataclass(frozen=True)
class Runs:
    """Runs of one task and arm, all (C,): loss, successes of trials, and the size of each.

    size: any label that tells sizes apart (parameters). guess: accuracy of the best constant
    answer, below which no plateau is looked for.
    """

    loss: FloatArray
    successes: FloatArray
    trials: FloatArray
    size: FloatArray
    guess: float

    def __post_init__(self) -> None:
        arrays = (self.loss, self.successes, self.trials, self.size)
        if self.loss.ndim != 1 or any(array.shape != self.loss.shape for array in arrays):
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ValueError(f"loss, successes, trials, size: found shapes {shapes}, expected (C,)")
        if not (np.isfinite(self.loss) & (self.loss > 0)).all():
            raise ValueError("loss: found a value that is missing or not positive")
        if not ((self.successes >= 0) & (self.successes <= self.trials)).all():
            raise ValueError("successes: found a count outside [0, trials]")
        if not (self.trials > 0).all():
            raise ValueError("trials: found a run without items")

    @property
    def sizes(self) -> FloatArray:
        """Distinct sizes, ascending, (S,)."""
        return np.unique(self.size)

    def keep(self, which: BoolArray) -> "Runs":
        """The runs for which `which` (C,) is true."""
        parts = (self.loss[which], self.successes[which], self.trials[which], self.size[which])
        return Runs(*parts, guess=self.guess)

    def without(self, size: float) -> "Runs":
        """All runs but those of one size."""
        return self.keep(self.size != size)

    def sizes_at(self, low: float, high: float) -> int:
        """How many sizes have a run whose accuracy lies within [low, high]."""
        share = self.successes / self.trials
        return int(np.unique(self.size[(share >= low) & (share <= high)]).size)

    @property
    def guessing(self) -> int:
        """How many sizes have a run that is not half as far above guessing."""
        return self.sizes_at(0.0, self.guess + RISEN / 2 * (1 - self.guess))

    @property
    def risen(self) -> int:
        """How many sizes have a run that is RISEN of the way from guessing to 1 or more."""
        return self.sizes_at(self.guess + RISEN * (1 - self.guess), 1.0)


def evaluate(theta: FloatArray, loss: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Accuracy (P, C) and its gradient (P, C, 4) at `theta` (P, 4) and losses (C,).

    With r = expit(-e^s (L - L0)), s = log(-k): dAcc/dL0 = (top - b) r (1 - r) e^s,
    dAcc/ds = -(top - b) r (1 - r) e^s (L - L0), dAcc/db = 1 - r, dAcc/dtop = r.
    """
    middle, steepness, floor, top = (theta[:, i, None] for i in range(4))
    slope = np.exp(steepness)
    rise = special.expit(-slope * (loss - middle))
    bell = (top - floor) * rise * (1 - rise) * slope
    gradient = np.stack([bell, -bell * (loss - middle), 1 - rise, rise], axis=-1)
    return floor + (top - floor) * rise, gradient


def objective(theta: FloatArray, runs: Runs, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Minus the quasi-log-likelihood per item (P,) and its gradient (P, 4).

    shares: (P, C), the weight of each run, rows of sum 1 (a run's share of all items).
    """
    value, gradient, _ = _expand(theta, runs, shares)
    return value, gradient


def _expand(
    theta: FloatArray, runs: Runs, shares: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Objective (P,), gradient (P, 4) and expected Hessian (P, 4, 4), Fisher's information."""
    accuracy, slopes = evaluate(theta, runs.loss)
    accuracy = np.clip(accuracy, EPSILON, 1 - EPSILON)
    seen = runs.successes / runs.trials
    value = -shares * (special.xlogy(seen, accuracy) + special.xlog1py(1 - seen, -accuracy))
    information = shares / (accuracy * (1 - accuracy))
    gradient = np.einsum("pc,pcj->pj", information * (accuracy - seen), slopes)
    weighted = information[..., None] * slopes
    return value.sum(axis=1), gradient, np.swapaxes(weighted, 1, 2) @ slopes


def search_bounds(runs: Runs, free: BoolArray, held: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest parameters, (4,) each; what is not free stays at `held` (4,).

    L0 may lie one range of the losses beyond either end.
    """
    low, high = float(runs.loss.min()), float(runs.loss.max())
    span = high - low
    lower = np.array([low - span, np.log(0.2 / span), 0.0, 0.5])
    upper = np.array([high + span, np.log(500 / span), 0.5, 1.0])
    return np.where(free, lower, held), np.where(free, upper, held)


def dispersed_starts(runs: Runs, free: BoolArray) -> FloatArray:
    """Every combination of middles and steepnesses with a few ends, (P, 4)."""
    low, high = float(runs.loss.min()), float(runs.loss.max())
    middles = np.linspace(low - (high - low) / 4, high, 16)
    steepness = np.log(np.array([2.0, 6.0, 20.0, 80.0]) / (high - low))
    floors = np.minimum(np.array([0.5, 1.0]) * runs.guess, 0.4) if free[2] else [runs.guess]
    tops = [0.75, 0.98] if free[3] else [1.0]
    mesh = np.meshgrid(middles, steepness, floors, tops, indexing="ij")
    return np.stack([axis.ravel() for axis in mesh], axis=1)


def descend(
    runs: Runs,
    shares: FloatArray,
    theta: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Ends (P, 4), objectives (P,) and whether each arrived, from starts (P, 4), all at once.

    Fisher scoring with Levenberg's damping; steps are cut at the bounds, and a parameter on one
    moves only away from it. Arrived: no free slope, per unit of the parameter's own curvature,
    promises a gain of more than 1e-14 of a nat per item.
    """
    lower, upper = bounds
    shares = np.broadcast_to(shares, (len(theta), runs.loss.size))
    theta = np.clip(theta, lower, upper)
    value, gradient, information = _expand(theta, runs, shares)
    damping = np.full(len(theta), 1e-2)
    eye = np.eye(4)
    arrived = np.zeros(len(theta), dtype=bool)
    for _ in range(_STEPS):
        blocked = ((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0))
        slope = np.where(blocked, 0.0, gradient)
        scale = np.diagonal(information, axis1=1, axis2=2) + 1e-12
        arrived = (slope**2 / scale).max(axis=1) < _TOLERANCE
        if arrived.all():
            break
        held = blocked[:, :, None] | blocked[:, None, :]
        matrix = np.where(held, 0.0, information)
        matrix = matrix + eye * (damping[:, None] * scale + np.where(blocked, 1.0, 0.0))[:, None, :]
        step = np.linalg.solve(matrix, -slope[..., None])[..., 0]
        tried = np.clip(theta + step, lower, upper)
        new_value, new_gradient, new_information = _expand(tried, runs, shares)
        better = new_value <= value
        theta = np.where(better[:, None], tried, theta)
        gradient = np.where(better[:, None], new_gradient, gradient)
        information = np.where(better[:, None, None], new_information, information)
        value = np.where(better, new_value, value)
        damping = np.clip(np.where(better, damping / 5, damping * 6), 1e-9, 1e9)
    return theta, value, arrived
