"""The link of accuracy and loss, pooled over sizes and horizons, for one task and arm.

    Acc(L) = b + a / (1 + exp(-k (L - L0))),    k < 0,    0 <= b <= b + a <= 1

Bhagia et al. 2024 (the two-step prediction of OLMo). L is a loss of the run: nats per answer of
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
from scipy import special

from saltus.emerge.logistic import (
    EPSILON,
    BoolArray,
    FloatArray,
    Runs,
    descend,
    dispersed_starts,
    evaluate,
    objective,
    search_bounds,
)
from saltus.law.ends import DeleteOne

PARAMETERS = ("L0", "log(-k)", "b", "b+a")
SHAPE_PARAMETERS = 2  # L0 and k are what sizes determine
PLATEAU = 0.75  # an accuracy from which on an upper plateau may be seen
_POLISHED = 6
_LOCATED = PARAMETERS[:SHAPE_PARAMETERS]


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
        return self.status != "failed" and not set(_LOCATED) & set(self.bounds_hit)


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
    return _best(runs, dispersed_starts(runs, which), which)


def find_link(runs: Runs, least_risen: int = 2) -> Link | str:
    """Return the link of `runs`, or why they do not fix one.

    At least `least_risen` sizes must have left guessing, and the link be `located`.
    """
    if runs.risen < least_risen:
        found = f"{runs.risen} of {runs.sizes.size} sizes leave guessing"
        return f"{found}, at least {least_risen} are needed to see the link rise"
    num, losses = runs.loss.size, np.unique(runs.loss).size
    if num < len(PARAMETERS) or losses < 2:
        return f"{num} runs at {losses} losses, at least {len(PARAMETERS)} at several are needed"
    link = fit_link(runs)
    if link.located:
        return link
    where = ", ".join(link.bounds_hit) or "search"
    return f"the link is not fixed by the runs ({link.status}: {where})"


def polish_link(runs: Runs, link: Link, free: Sequence[str]) -> Link:
    """Fit the link to other `runs` from `link` alone, `free` named and the rest held as it is."""
    return _best(runs, link.theta[None, :], np.array([name in free for name in PARAMETERS]))


def _best(runs: Runs, starts: FloatArray, free: BoolArray) -> Link:
    """The best link from `starts` (P, 4), which agree in what is not free."""
    bounds = search_bounds(runs, free, starts[0])
    shares = runs.trials[None, :] / runs.trials.sum()
    best = np.argsort(objective(starts, runs, shares)[0], kind="stable")[:_POLISHED]
    ends, values, arrived = descend(runs, shares, starts[best], bounds)
    chosen = int(values.argmin())
    theta = ends[chosen]
    at = _on_bound(theta, bounds, free)
    hit = tuple(name for name, bound in zip(PARAMETERS, at, strict=True) if bound)
    accuracy = np.clip(evaluate(theta[None, :], runs.loss)[0][0], EPSILON, 1 - EPSILON)
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


def refits_without_a_size(runs: Runs, link: Link) -> tuple[FloatArray, int]:
    """The link's `theta` without each size in turn, (S, 4), and how many of them are not located.

    The same parameters are free. Each refit starts at the link and at the three best of its own
    dispersed starts.
    """
    free = np.array([name in link.free for name in PARAMETERS])
    bounds = search_bounds(runs, free, link.theta)
    left = runs.trials * (runs.size != runs.sizes[:, None])
    shares = left / left.sum(axis=1, keepdims=True)
    starts = dispersed_starts(runs, free)
    tried = []
    for row in shares:
        values, _ = objective(starts, runs, np.broadcast_to(row, (len(starts), row.size)))
        tried.append(np.vstack([link.theta, starts[np.argsort(values, kind="stable")[:3]]]))
    num = len(tried[0])
    ends, values, arrived = descend(
        runs, np.repeat(shares, num, axis=0), np.concatenate(tried), bounds
    )
    best = values.reshape(-1, num).argmin(axis=1)
    each = np.arange(len(best))
    found = np.asarray(ends.reshape(-1, num, 4)[each, best])
    settled = arrived.reshape(-1, num)[each, best]
    resting = _on_bound(found, bounds, free)[:, :SHAPE_PARAMETERS].any(axis=1)
    return found, int((~settled | resting).sum())


def _on_bound(
    theta: FloatArray, bounds: tuple[FloatArray, FloatArray], free: BoolArray
) -> BoolArray:
    """Which free parameters of `theta` (..., 4) rest on a bound."""
    width = np.where(free, bounds[1] - bounds[0], 1.0)
    return free & ((theta - bounds[0] < 1e-6 * width) | (bounds[1] - theta < 1e-6 * width))


def parameter_intervals(link: Link, refits: FloatArray) -> Mapping[str, tuple[float, float] | None]:
    """95 % intervals of L0, k, b and a from the refits (S, 4): jackknife, t on S - 2.

    k is treated in logarithms. None where a parameter was held or rests on a bound, or with fewer
    than 4 sizes.
    """
    num = len(refits)
    if num < SHAPE_PARAMETERS + 2:
        return dict.fromkeys(("L0", "k", "b", "a"))
    parts = np.column_stack([refits, refits[:, 3] - refits[:, 2]])
    whole = np.append(link.theta, link.theta[3] - link.theta[2])
    low, high = DeleteOne(num - SHAPE_PARAMETERS).ends(whole, parts)
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
