"""Tokens to learn against size: do larger models reach the level on fewer tokens?

    log10 T = a + b log10 N + s e,    e standard normal between trunks

T is where a trunk (one seed of one size) first reaches the level. It is known only to lie between
two horizons, or beyond the last: interval-censored records, as in `saltus.emerge.censored`, in a
regression (accelerated failure time; Kalbfleisch and Prentice 2002, ch. 3; Tobin 1958 where only
the end is cut). A record without width counts by its density, so that with nothing censored the fit
is least squares. The sampling unit is the size: intervals are a delete-one-size jackknife, t on the
sizes that cross less two, since sizes that never cross only bound the line.

Legend: C records, S sizes.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize

from saltus.emerge.censored import crossing_records, log_share
from saltus.emerge.labels import format_count
from saltus.emerge.scores import require_columns
from saltus.law.ends import DeleteOne

FloatArray = NDArray[np.float64]

MIN_SIZES = 3
_PARAMETERS = 2  # a and b are what sizes determine
_NARROWEST = 1e-3  # decades: a spread below it is none, the records are separated


@dataclass(frozen=True)
class TokenSlope:
    """Interval-censored regression of log10 tokens on log10 size.

    status: `converged`, `separated` (no spread between trunks is left: the slope is known only
    within limits that the records do not give), or `refused`. slope: b; log_level: log10 tokens at
    `reference` parameters, the geometric mean of the sizes; spread: s in decades. Ends are the 95 %
    jackknife, None below 4 sizes that cross or where a refit did not converge. `num_crossing` of
    the sizes have a crossing within the horizons. Counts are of records: exact, interval, right
    (never reached) and left (above from the start).
    """

    status: str
    reason: str
    num_sizes: int
    num_crossing: int
    num_exact: int
    num_interval: int
    num_right: int
    num_left: int
    reference: float
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None
    log_level: float | None = None
    spread: float | None = None


def slope_of_scores(cell: pd.DataFrame, level: float = 0.5) -> TokenSlope:
    """The regression on every trunk's own crossing, from rows of `scores` of one task and arm."""
    needed = ("params_nonembedding", "seed", "horizon", "successes", "items")
    require_columns(cell, "scores", needed)
    params, below, reached = [], [], []
    for size, trunks in cell.groupby("params_nonembedding", sort=True):
        above = (trunks["successes"] / trunks["items"] >= level).to_numpy()
        seeds = trunks["seed"].to_numpy(np.int64)
        records = crossing_records(trunks["horizon"].to_numpy(np.float64), seeds, above)
        params.append(np.full(records.below.size, float(str(size))))
        below.append(records.below)
        reached.append(records.reached)
    return token_slope(np.concatenate(params), np.concatenate(below), np.concatenate(reached))


def token_slope(params: FloatArray, below: FloatArray, reached: FloatArray) -> TokenSlope:
    """Fit the regression to records (below, reached] in tokens at sizes `params`, all (C,).

    below = reached is a crossing known exactly, reached = inf one that never came, below = 0 one
    that had come at the first look. Refused unless at least 3 sizes have a crossing: where smaller
    ones only never cross, any slope steep enough fits. Refused too if all crossings share one
    bracket: the slope would rest on the normal tail alone. Raises ValueError if a record ends
    before it begins.
    """
    if not (below <= reached).all():
        at = int(np.argmin(below <= reached))
        found = f"found a record that ends at {reached[at]:g} tokens and begins at {below[at]:g}"
        raise ValueError(f"reached: {found}, expected none that ends before it begins")
    x, reference = _centred(params)
    finite = np.isfinite(reached)
    crossing = int(np.unique(params[finite & (below > 0)]).size)
    base = TokenSlope(
        status="refused",
        reason="",
        num_sizes=int(np.unique(params).size),
        num_crossing=crossing,
        num_exact=int((below == reached).sum()),
        num_interval=int((finite & (below > 0) & (below < reached)).sum()),
        num_right=int((~finite).sum()),
        num_left=int((finite & (below == 0)).sum()),
        reference=reference,
    )
    if crossing < MIN_SIZES:
        cross = "1 size crosses" if crossing == 1 else f"{crossing} sizes cross"
        return replace(base, reason=f"{cross}, at least {MIN_SIZES} are needed")
    brackets = np.unique(np.stack([below, reached])[:, finite & (below > 0)], axis=1)
    if brackets.shape[1] == 1:
        low, high = (format_count(float(end)) for end in brackets[:, 0])
        told = f"all crossings lie in one gap of the horizons, ({low}, {high}]"
        return replace(base, reason=told)
    with np.errstate(divide="ignore"):
        ends = np.log10(below), np.log10(reached)
    whole, arrived = _fit(x, *ends)
    fitted = replace(
        base,
        status="converged",
        log_level=float(whole[0]),
        slope=float(whole[1]),
        spread=float(np.exp(whole[2])),
    )
    if not arrived:
        told = "the records leave no spread between trunks: level and slope are not fixed"
        return replace(fitted, status="separated", reason=told)
    if crossing < _PARAMETERS + 2:
        return replace(fitted, reason=f"no interval: {crossing} sizes cross, 4 are needed")
    parts = []
    for size in np.unique(params):
        left = params != size
        part, part_arrived = _fit(x[left], ends[0][left], ends[1][left], whole)
        if not part_arrived:
            told = f"no interval: without the size of {size:.0f} parameters no spread is left"
            return replace(fitted, reason=told)
        parts.append(part[1])
    slope_low, slope_high = DeleteOne(crossing - _PARAMETERS).ends(whole[1], np.array(parts))
    return replace(fitted, slope_low=float(slope_low), slope_high=float(slope_high))


def _centred(params: FloatArray) -> tuple[FloatArray, float]:
    """log10 of size about that of the sizes' geometric mean, (C,), and that mean."""
    centre = float(np.log10(np.unique(params)).mean())
    return np.log10(params) - centre, float(10**centre)


def log_likelihood(
    theta: FloatArray, x: FloatArray, low: FloatArray, high: FloatArray
) -> tuple[float, FloatArray]:
    """Log-likelihood and its gradient (3,) at theta = (a, b, log s); low, high: (C,) in log10.

    With u, v the standardised ends and P = Phi(v) - Phi(u): d log P / d mean = (phi(u) - phi(v))
    / (s P) and d log P / d log s = (u phi(u) - v phi(v)) / P; a record without width has the
    normal density instead.
    """
    mean, spread = theta[0] + theta[1] * x, float(np.exp(theta[2]))
    u, v = (low - mean) / spread, (high - mean) / spread
    exact = low == high
    at = np.where(exact, u, 0.0)
    u, v = np.where(exact, 0.0, u), np.where(exact, 1.0, v)
    inside = log_share(u, v)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = [np.exp(-(z**2) / 2 - inside) / np.sqrt(2 * np.pi) for z in (u, v)]
    moment = [np.where(np.isfinite(z), z, 0.0) * d for z, d in zip((u, v), density, strict=True)]
    each = np.where(exact, -(at**2) / 2 - theta[2] - np.log(2 * np.pi) / 2, inside)
    d_mean = np.where(exact, at, density[0] - density[1]) / spread
    d_spread = np.where(exact, at**2 - 1, moment[0] - moment[1])
    return float(each.sum()), np.array([d_mean.sum(), (d_mean * x).sum(), d_spread.sum()])


def _fit(
    x: FloatArray, low: FloatArray, high: FloatArray, start: FloatArray | None = None
) -> tuple[FloatArray, bool]:
    """Parameters (3,) of greatest likelihood, and whether they are at a minimum off the bounds."""
    known = np.isfinite(low) & np.isfinite(high)
    middle = np.where(known, (np.where(known, low, 0.0) + np.where(known, high, 0.0)) / 2, 0.0)
    middle = np.where(known, middle, np.where(np.isfinite(low), low + 0.15, high - 0.15))
    slope, level = np.polyfit(x, middle, 1)
    spread = max(float(np.std(middle - level - slope * x)), 0.05)
    starts = [np.array([level, slope, np.log(spread)])]
    if start is None:
        steeper = [(1, 0.5), (2, 1), (2, 0.3), (3, 1)]
        starts += [np.array([level, slope * f, np.log(spread * g)]) for f, g in steeper]
    else:
        starts.append(start)

    def negative(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = log_likelihood(theta, x, low, high)
        if not np.isfinite(value):
            return 1e10, np.zeros(3)
        return -value, -gradient

    bounds = [(level - 20, level + 20), (-20.0, 20.0), (np.log(_NARROWEST), np.log(20.0))]
    ends = [
        optimize.minimize(
            negative, first, jac=True, method="L-BFGS-B", bounds=bounds,
            options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 500},
        )
        for first in starts
    ]  # fmt: skip
    best = min(ends, key=lambda end: float(end.fun))
    theta = np.asarray(best.x, dtype=np.float64)
    lower, upper = np.array(bounds).T
    inside = bool((theta > lower + 1e-3).all() and (theta < upper - 1e-3).all())
    return theta, inside and bool(np.abs(negative(theta)[1]).max() < 1e-3 * x.size)
