"""Median tokens to reach a level, from trunks that are only looked at now and then.

Each trunk (one seed of one size) is below the level at one horizon and at or above it at the next:
its crossing is known to lie in (below, reached], with `reached` = inf if it never crosses and
`below` = 0 if it is above at the first horizon. The crossings are lognormal between seeds
(log10 X normal with mean m and standard deviation s), which gives the interval-censored likelihood

    sum_i log[ Phi((log10 reached_i - m) / s) - Phi((log10 below_i - m) / s) ].

Source: Turnbull 1976; the same likelihood as `scipy.stats.CensoredData` with `lognorm`, against
which it is tested. The profile over m is computed on a grid, so that it stays exact where few
seeds leave a ridge.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_AS_WELL = 1e-6  # of log-likelihood


@dataclass(frozen=True)
class Records:
    """Crossing brackets in tokens: `below` (0 if left-censored), `reached` (inf if right-), (R,).

    counts: (R,), how many trunks share a bracket, or None if each row is one trunk.
    """

    below: FloatArray
    reached: FloatArray
    counts: FloatArray | None = None


@dataclass(frozen=True)
class MedianFit:
    """log10 of the median, its profile interval (None: open within the range tried), and s.

    status: `converged`, `bound hit` (an end of what is searched fits as well) or `max iterations`.
    """

    log_median: float
    log_low: float | None
    log_high: float | None
    spread: float
    status: str


def crossing_records(horizon: FloatArray, replica: NDArray[np.int64], above: BoolArray) -> Records:
    """First crossing of every trunk, one record each, in ascending order of `replica`.

    horizon, replica, above: (C,), one entry per trunk and horizon, any order; `above` says whether
    the accuracy is at or above the level. A later fall does not undo the first crossing.
    """
    below, reached = [], []
    for trunk in np.unique(replica):
        order = np.flatnonzero(replica == trunk)
        order = order[np.argsort(horizon[order], kind="stable")]
        edges = np.concatenate([[0.0], horizon[order], [np.inf]])
        first = int(above[order].argmax()) if above[order].any() else order.size
        below.append(edges[first])
        reached.append(edges[first + 1])
    return Records(below=np.array(below), reached=np.array(reached))


def log_share(low: FloatArray, high: FloatArray) -> FloatArray:
    """log[Phi(high) - Phi(low)], of one shape, low <= high; -inf where the two are one.

    The difference is taken in the tail where it does not cancel.
    """
    flip = low > 0
    upper = special.log_ndtr(np.where(flip, -low, high))
    lower = special.log_ndtr(np.where(flip, -high, low))
    with np.errstate(divide="ignore", invalid="ignore"):
        each = upper + np.log1p(-np.exp(lower - upper))
    return np.where(np.isnan(each), -np.inf, each)


def log_likelihood(records: Records, log_median: FloatArray, log_spread: FloatArray) -> FloatArray:
    """Interval-censored lognormal log-likelihood; parameters broadcast to one shape."""
    median, spread = np.broadcast_arrays(log_median, np.exp(log_spread))
    with np.errstate(divide="ignore"):
        low = (np.log10(records.below) - median[..., None]) / spread[..., None]
        high = (np.log10(records.reached) - median[..., None]) / spread[..., None]
    each = log_share(low, high)
    total: FloatArray = (each if records.counts is None else each * records.counts).sum(axis=-1)
    return total


def fit_median(records: Records, horizons: FloatArray, cutoff: float) -> MedianFit:
    """Maximum likelihood and profile interval of the median crossing.

    horizons: (H,) ascending, H ≥ 2; cutoff: deviance at the ends of the interval. Medians are
    searched up to one range of the horizons beyond either end; an end of the interval that lies
    outside the horizons tried is None. With s running to its lower bound (1/20 of the smallest
    gap) the crossings lie in one or two gaps, and the caller must report at least the gap.
    """
    log_horizons = np.log10(horizons)
    span = float(log_horizons[-1] - log_horizons[0])
    gap = float(np.diff(log_horizons).min())
    medians = np.linspace(log_horizons[0] - span, log_horizons[-1] + span, 451)
    spreads = np.linspace(np.log(gap / 20), np.log(2 * span), 40)
    distinct, counts = np.unique(
        np.stack([records.below, records.reached]), axis=1, return_counts=True
    )
    unique = Records(distinct[0], distinct[1], counts.astype(np.float64))
    surface = log_likelihood(unique, medians[:, None], spreads[None, :])
    profile = surface.max(axis=1)
    row = int(profile.argmax())
    start = np.array([medians[row], spreads[int(surface[row].argmax())]])

    def objective(parameters: FloatArray) -> float:
        if not spreads[0] <= parameters[1] <= spreads[-1]:
            return float("inf")
        return -float(log_likelihood(unique, parameters[0], parameters[1]))

    result = optimize.minimize(
        objective, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}
    )
    best = -float(result.fun)
    inside = np.flatnonzero(2 * (best - profile) <= cutoff)
    log_median = float(result.x[0])
    # Where nothing fixes s, an end of what is searched fits as well as what was found.
    ends = [objective(np.array([log_median, end])) for end in (spreads[0], spreads[-1])]
    free = min(ends) - float(result.fun) > _AS_WELL
    free = free and medians[0] < log_median < medians[-1]
    low = min(float(medians[inside[0]]), log_median) if inside.size else log_median
    high = max(float(medians[inside[-1]]), log_median) if inside.size else log_median
    return MedianFit(
        log_median=log_median,
        log_low=low if low >= log_horizons[0] else None,
        log_high=high if high <= log_horizons[-1] else None,
        spread=float(np.exp(result.x[1])),
        status="max iterations" if not result.success else "converged" if free else "bound hit",
    )


def median_bracket(records: Records) -> tuple[float, float]:
    """Bracket (below, reached] of the non-parametric median of the crossings.

    First crossings on one set of horizons fall into disjoint gaps, so Turnbull's estimate is the
    share of trunks in each gap; where exactly half have crossed at a horizon the bracket spans
    both neighbours.
    """
    below = np.sort(records.below)
    reached = np.sort(records.reached)
    count = below.size
    return float(below[(count - 1) // 2]), float(reached[count // 2])
