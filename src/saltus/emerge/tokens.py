"""The threshold along tokens: one replica is one trunk, and its crossing is interval-censored.

The records and their likelihood are those of `saltus.emerge.censored`; the rules are those of
`saltus.emerge.threshold`.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from saltus.emerge import censored
from saltus.emerge.cells import checked
from saltus.emerge.outcome import (
    Threshold,
    above_largest,
    below_smallest,
    blank,
    crossed,
    find_crossings,
    not_monotone,
    undecided,
)
from saltus.emerge.scores import wilson
from saltus.emerge.threshold import ALPHA

FloatArray = NDArray[np.float64]


def threshold_along_tokens(
    horizon: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    replica: ArrayLike,
    level: float = 0.5,
) -> Threshold:
    """Median tokens at which the trunks of one size first reach the level.

    One entry per (trunk, horizon), in any order: horizon (tokens), successes of trials, replica
    (which trunk), all (C,). With one trunk, or with all crossings in one gap, the bracket is the
    interval; otherwise the interval is the profile likelihood of the lognormal median with an
    F(1, R) cutoff (R trunks), and never narrower than the bracket of the median. If fewer than
    half of the trunks reach the level the answer is "> largest". The spread between trunks is None
    unless the fit converged. A trunk falls back if a Wilson
    interval above the level is followed by one below it; if most trunks do, the status is
    `not monotone`. Raises ValueError as `threshold_along_scale`.
    """
    tokens, hits, total = checked(horizon, successes, trials)
    trunk = np.unique(np.asarray(replica), return_inverse=True)[1].astype(np.int64)
    if trunk.shape != tokens.shape:
        raise ValueError(f"replica: found shape {trunk.shape}, expected {tokens.shape}")
    horizons, index = np.unique(tokens, return_inverse=True)
    share = hits / total
    means = np.bincount(index, share) / np.bincount(index)
    num_trunks = int(trunk.max()) + 1
    base = blank(horizons, find_crossings(horizons, means, level), num_trunks)
    if horizons.size < 2:
        return undecided(base, "one horizon was tried, at least 2 are needed")

    records = censored.crossing_records(tokens, trunk, share >= level)
    num_reached = int(np.isfinite(records.reached).sum())
    counted = f"{num_reached} of {num_trunks} seeds reach the level"
    fallen = _num_fallen(tokens, hits, total, trunk, level)
    if 2 * fallen > num_trunks:
        told = f"{fallen} of {num_trunks} seeds fall back below the level"
        return not_monotone(base, base.sustained_crossing_high, told)
    if num_reached == 0:
        return above_largest(replace(base, fit_status="bracket"), base.largest, counted)
    if (records.below == 0).all():
        told = "the level is already reached at the shortest horizon"
        return below_smallest(replace(base, fit_status="bracket"), base.smallest, told)
    below, reached = censored.median_bracket(records)
    if np.unique(records.reached).size == 1:
        base = replace(base, fit_status="bracket" if num_trunks == 1 else "width < gap")
        return crossed(base, float(np.sqrt(below * reached)), below, reached, counted)

    cutoff = float(stats.f.ppf(1 - ALPHA, 1, num_trunks))
    fit = censored.fit_median(records, horizons, cutoff)
    spread = 2 * float(stats.norm.ppf(0.9)) * fit.spread
    settled = fit.status == "converged"
    base = replace(base, fit_status=fit.status, width_decades=spread if settled else None)
    estimate = float(10**fit.log_median)
    low = None if fit.log_low is None or below == 0 else min(float(10**fit.log_low), below)
    unbounded = fit.log_high is None or not np.isfinite(reached)
    high = None if fit.log_high is None or unbounded else max(float(10**fit.log_high), reached)
    if 2 * num_reached < num_trunks or estimate > base.largest:
        return above_largest(base, low, counted)
    if estimate < base.smallest:
        return below_smallest(base, high, counted)
    return crossed(base, estimate, low, high, counted)


def _num_fallen(
    tokens: FloatArray,
    hits: FloatArray,
    total: FloatArray,
    trunk: NDArray[np.int64],
    level: float,
) -> int:
    low, high = wilson(hits, total)
    fallen = 0
    for name in np.unique(trunk):
        order = np.flatnonzero(trunk == name)
        order = order[np.argsort(tokens[order], kind="stable")]
        once_above = np.maximum.accumulate(low[order] >= level)
        fallen += bool((once_above & (high[order] < level)).any())
    return fallen
