"""The link of accuracy and loss, pooled over sizes and horizons, for one task and arm.

    Acc(L) = b + a / (1 + exp(-k (L - L0))),    k < 0,    0 <= b <= b + a <= 1

Bhagia et al. 2024 (OLMo's two-step ladder), equation 3. L is a loss of the run: nats per answer of
the target, or nats per token of text. Each run counts its successes among its items; the sum of

    -n [y log Acc(L) + (1 - y) log(1 - Acc(L))],    y the share of successes of n items

is minimised: binomial quasi-likelihood (Wedderburn 1974), which asks only that the mean be right
and the variance be proportional to Acc (1 - Acc). Seeds scatter far more than items: `dispersion`
is how much, and no interval rests on items. The sampling unit of intervals is the size.

Legend: P parameter vectors (L0, log -k, b, top = b + a), C cells (runs), S sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from saltus.law.intervals import jackknife_error

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

PARAMETERS = ("L0", "log(-k)", "b", "b+a")
SHAPE_PARAMETERS = 2  # L0 and k are what sizes determine
RISEN = 0.1  # of the way from guessing to 1: an accuracy that is no longer guessing
PLATEAU = 0.75  # an accuracy from which on an upper plateau may be seen
_EPSILON = 1e-9
_POLISHED = 6
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


@dataclass(frozen=True)
class Link:
    """A fitted link: `theta` (4,) = (L0, log -k, b, b + a), with what was free and where it ended.

    status: `converged`, `boundary` (`bounds_hit` names the parameters) or `failed` (the search
    ended elsewhere than at a minimum). dispersion: Pearson's chi-squared over its degrees of
    freedom, 1 if items alone scattered. deviance: twice the quasi-log-likelihood below that of
    the runs' own accuracies.
    """

    theta: FloatArray
    status: str
    bounds_hit: tuple[str, ...]
    free: tuple[str, ...]
    dispersion: float
    deviance: float
    num_runs: int
    num_sizes: int

    @property
    def parameters(self) -> dict[str, float]:
        """L0, k, b and a, as in the equation."""
        middle, steepness, floor, top = (float(value) for value in self.theta)
        return {"L0": middle, "k": -float(np.exp(steepness)), "b": floor, "a": top - floor}

    def accuracy(self, loss: FloatArray) -> FloatArray:
        """Predicted accuracy, of the shape of `loss`."""
        flat, _ = evaluate(self.theta[None, :], np.ravel(loss))
        return np.asarray(flat[0].reshape(np.shape(loss)))

    @property
    def located(self) -> bool:
        """Whether the data fix where the rise is and how steep: the rest are only its ends."""
        return self.status != "failed" and not {"L0", "log(-k)"} & set(self.bounds_hit)


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
    accuracy = np.clip(accuracy, _EPSILON, 1 - _EPSILON)
    seen = runs.successes / runs.trials
    value = -shares * (special.xlogy(seen, accuracy) + special.xlog1py(1 - seen, -accuracy))
    information = shares / (accuracy * (1 - accuracy))
    gradient = np.einsum("pc,pcj->pj", information * (accuracy - seen), slopes)
    weighted = information[..., None] * slopes
    return value.sum(axis=1), gradient, np.swapaxes(weighted, 1, 2) @ slopes


def fit_link(runs: Runs, free: Sequence[str] | None = None) -> Link:
    """Fit the link to `runs`: dispersed starts, the best six polished by damped Fisher scoring.

    b is free in [0, 1/2] where at least two sizes have a run that still guesses, else the guess
    rate; b + a is free in [1/2, 1] where at least two sizes have a run at .75 or more, else 1: no
    nats per answer left means that every answer is right. `free` names the free ones instead, for a
    refit that is to hold the choices of another. Raises ValueError if there are fewer
    runs than free parameters or only one loss.
    """
    which = np.array([True, True, runs.guessing >= 2, runs.sizes_at(PLATEAU, 1.0) >= 2])
    if free is not None:
        which = np.array([name in free for name in PARAMETERS])
    if runs.loss.size < which.sum() or np.ptp(runs.loss) == 0:
        found = f"{runs.loss.size} runs at {np.unique(runs.loss).size} losses"
        raise ValueError(f"runs: found {found}, expected at least {which.sum()} at several losses")
    return _best(runs, _starts(runs, which), which)


def polish_link(runs: Runs, link: Link, free: Sequence[str]) -> Link:
    """Fit the link to other `runs` from `link` alone, `free` named and the rest held as it is."""
    return _best(runs, link.theta[None, :], np.array([name in free for name in PARAMETERS]))


def _best(runs: Runs, starts: FloatArray, free: BoolArray) -> Link:
    """The best link from `starts` (P, 4), which agree in what is not free."""
    bounds = _bounds(runs, free, starts[0])
    shares = runs.trials[None, :] / runs.trials.sum()
    best = np.argsort(objective(starts, runs, shares)[0], kind="stable")[:_POLISHED]
    ends, values, arrived = _descend(runs, shares, starts[best], bounds)
    chosen = int(values.argmin())
    theta = ends[chosen]
    width = np.where(free, bounds[1] - bounds[0], 1.0)
    at = free & ((theta - bounds[0] < 1e-6 * width) | (bounds[1] - theta < 1e-6 * width))
    hit = tuple(name for name, bound in zip(PARAMETERS, at, strict=True) if bound)
    accuracy = np.clip(evaluate(theta[None, :], runs.loss)[0][0], _EPSILON, 1 - _EPSILON)
    seen = runs.successes / runs.trials
    pearson = (runs.trials * (seen - accuracy) ** 2 / (accuracy * (1 - accuracy))).sum()
    own = runs.trials * (special.xlogy(seen, seen) + special.xlog1py(1 - seen, -seen))
    return Link(
        theta=theta,
        status="failed" if not arrived[chosen] else "boundary" if hit else "converged",
        bounds_hit=hit,
        free=tuple(name for name, is_free in zip(PARAMETERS, free, strict=True) if is_free),
        dispersion=float(pearson) / max(runs.loss.size - int(free.sum()), 1),
        deviance=2 * float(values[chosen] * runs.trials.sum() + own.sum()),
        num_runs=int(runs.loss.size),
        num_sizes=int(runs.sizes.size),
    )


def refits_without_a_size(runs: Runs, link: Link) -> FloatArray:
    """The link's `theta` without each size in turn, (S, 4); the same parameters are free.

    Each refit starts at the link and at the three best of its own dispersed starts.
    """
    free = np.array([name in link.free for name in PARAMETERS])
    bounds = _bounds(runs, free, link.theta)
    left = runs.trials * (runs.size != runs.sizes[:, None])
    shares = left / left.sum(axis=1, keepdims=True)
    starts = _starts(runs, free)
    tried = []
    for row in shares:
        values, _ = objective(starts, runs, np.broadcast_to(row, (len(starts), row.size)))
        tried.append(np.vstack([link.theta, starts[np.argsort(values, kind="stable")[:3]]]))
    num = len(tried[0])
    ends, values, _ = _descend(runs, np.repeat(shares, num, axis=0), np.concatenate(tried), bounds)
    best = values.reshape(-1, num).argmin(axis=1)
    return np.asarray(ends.reshape(-1, num, 4)[np.arange(len(best)), best])


def _bounds(runs: Runs, free: BoolArray, held: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest parameters, (4,) each; what is not free stays at `held` (4,).

    L0 may lie one range of the losses beyond either end.
    """
    low, high = float(runs.loss.min()), float(runs.loss.max())
    span = high - low
    lower = np.array([low - span, np.log(0.2 / span), 0.0, 0.5])
    upper = np.array([high + span, np.log(500 / span), 0.5, 1.0])
    return np.where(free, lower, held), np.where(free, upper, held)


def _starts(runs: Runs, free: BoolArray) -> FloatArray:
    """Every combination of middles and steepnesses with a few ends, (P, 4)."""
    low, high = float(runs.loss.min()), float(runs.loss.max())
    middles = np.linspace(low - (high - low) / 4, high, 16)
    steepness = np.log(np.array([2.0, 6.0, 20.0, 80.0]) / (high - low))
    floors = np.minimum(np.array([0.5, 1.0]) * runs.guess, 0.4) if free[2] else [runs.guess]
    tops = [0.75, 0.98] if free[3] else [1.0]
    mesh = np.meshgrid(middles, steepness, floors, tops, indexing="ij")
    return np.stack([axis.ravel() for axis in mesh], axis=1)


def _descend(
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


def parameter_intervals(link: Link, refits: FloatArray) -> Mapping[str, tuple[float, float] | None]:
    """95 % intervals of L0, k, b and a from the refits (S, 4): jackknife, t on S - 2.

    k is treated in logarithms. None where a parameter was held or rests on a bound, or with fewer
    than 4 sizes.
    """
    num = len(refits)
    if num < SHAPE_PARAMETERS + 2:
        return dict.fromkeys(("L0", "k", "b", "a"))
    half = stats.t.ppf(0.975, num - SHAPE_PARAMETERS) * jackknife_error(
        np.column_stack([refits, refits[:, 3] - refits[:, 2]])
    )
    whole = np.append(link.theta, link.theta[3] - link.theta[2])
    low, high = whole - half, whole + half
    told: dict[str, tuple[float, float] | None] = {
        "L0": (float(low[0]), float(high[0])),
        "k": (-float(np.exp(high[1])), -float(np.exp(low[1]))),
        "b": (max(float(low[2]), 0.0), float(high[2])),
        "a": (float(low[4]), min(float(high[4]), 1.0)),
    }
    resting = {"L0": {"L0"}, "k": {"log(-k)"}, "b": {"b"}, "a": {"b", "b+a"}}
    for name, needed in resting.items():
        if needed & set(link.bounds_hit) or not needed & set(link.free):
            told[name] = None
    return told
