"""Where an ability appears: a threshold is an interval, or "> largest", never a lone number.

Two axes, two kinds of data. Along the size of the model every replica is another network, and the
curve of `saltus.emerge.psychometric` is fitted. Along tokens one replica is one trunk, and its
crossing is an interval-censored record (`saltus.emerge.censored`).

Rules common to both: nothing is extrapolated beyond what was tried; where the jump falls inside
one gap of the ladder, the gap is the interval; an end that the data do not close is None.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from saltus.emerge import censored, monotone, psychometric
from saltus.emerge.outcome import (
    Threshold,
    above_largest,
    below_smallest,
    blank,
    crossed,
    fall_text,
    find_crossings,
    not_monotone,
    outside_gap,
    undecided,
    unsettled,
    with_remark,
)
from saltus.emerge.scores import wilson

FloatArray = NDArray[np.float64]

MIN_SIZES = 4
_ALPHA = 0.05
# A rise narrower than this many gaps is carried by one or two sizes, and the offset of one size
# from the curve cannot be told from a shift of the curve: the interval is at least the gap.
_RESOLVED_GAPS = 2.5
# A largest size that does worse than a smaller one by less than what is printed is not worth words.
_WORSE = 0.01


def threshold_along_size(
    scale: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    guess_rate: float,
    level: float = 0.5,
    seed: int = 0,
) -> Threshold:
    """Threshold along the size of the model; one entry per (size, seed) replica, in any order.

    scale: (C,) size in parameters; successes of trials: (C,) exact answers. The interval is a
    profile likelihood of the beta-binomial curve with an F(1, S - 2) cutoff (S sizes), since
    sizes, not items, carry the information, widened by `psychometric.heterogeneity` where sizes
    scatter about the curve more than their replicas do, and never narrower than the gap in which
    the means cross unless the rise spans 2.5 gaps and the estimate lies within that gap. In
    simulations of 8 sizes × 5 seeds it covered .94-1.0 when only seeds scatter, .85-.93 when sizes
    do too (by as much as a seed at the worst). The lower asymptote is `guess_rate`, or the lowest
    mean if that is lower (a model that answers nothing scores less than the best constant answer).
    The status is `not monotone` if the accuracy falls back to the level or below it beyond chance
    (`saltus.emerge.monotone`, p < .05, seeded by `seed`). Where means and curve disagree on which
    side of the level an end of the ladder lies, or the means reach the level at a smaller size
    only, it is `undecided`. `reason` says whenever the largest size does worse than a smaller one.
    Raises ValueError if the arrays differ in length or are empty, a scale is not positive, or
    successes lie outside [0, trials].
    """
    cells = _cells(scale, successes, trials, guess_rate, level)
    means = psychometric.size_means(cells)
    sizes = np.unique(np.asarray(scale, dtype=np.float64))
    result = _along_size(cells, sizes, means, guess_rate, seed)
    best = int(means.argmax())
    if best < sizes.size - 1 and means[best] - means[-1] >= _WORSE:
        result = with_remark(result, fall_text(sizes, means, best, sizes.size - 1))
    return result


def _along_size(
    cells: psychometric.Cells, sizes: FloatArray, means: FloatArray, guess_rate: float, seed: int
) -> Threshold:
    """The threshold of `threshold_along_size`; sizes, means: (S,), in parameters and accuracy."""
    level = cells.level
    crossings = find_crossings(sizes, means, level)
    base = blank(sizes, crossings, cells.trials.size)
    if guess_rate >= level:
        return undecided(base, f"guessing alone ({guess_rate:.2f}) reaches the level")
    if sizes.size < MIN_SIZES:
        return undecided(base, f"{sizes.size} sizes were tried, at least {MIN_SIZES} are needed")

    fit = psychometric.fit_curve(cells)
    base = replace(
        base,
        fit_status=fit.status,
        width_decades=fit.width_decades,
        overdispersion=fit.overdispersion,
        heterogeneity=psychometric.heterogeneity(cells, fit),
    )
    fall = monotone.largest_fall(cells, fit.overdispersion, seed)
    if fall is not None and fall.p_value < _ALPHA:
        held = None
        if fall.end + 1 < sizes.size and crossings.sustained is not None:
            held = max(float(sizes[fall.end + 1]), crossings.sustained[1])
        text = fall_text(sizes, means, fall.start, fall.end)
        return not_monotone(base, held, f"{text}, more than chance explains (p < .05)")
    cutoff = float(stats.f.ppf(1 - _ALPHA, 1, sizes.size - 2)) * (base.heterogeneity or 1.0)
    ends = psychometric.location_interval(cells, fit, cutoff)
    low, high = (None if end is None else float(10**end) for end in ends)
    estimate = float(10**fit.location)
    if means[-1] < level:
        if crossings.first is None:
            return above_largest(base, low, "")
        told = "the level is reached at a smaller size, not at the largest"
        told += "; the fall is within the spread of replicas"
        return unsettled(base, crossings.first[0], None, told)
    if (means >= level).all():
        return below_smallest(base, high, "")

    assert crossings.first is not None and crossings.sustained is not None
    below, reached = crossings.first[0], crossings.sustained[1]
    if estimate > base.largest:
        low = None if low is None or below is None else min(low, below)
        told = f"the mean of the largest size reaches the level ({means[-1]:.2f})"
        return unsettled(base, low, None, f"{told}, the curve only beyond it")
    if estimate < base.smallest:
        high = None if high is None else max(high, reached)
        if below is None:
            return below_smallest(base, high, "")
        told = f"the mean of the smallest size is below the level ({means[0]:.2f})"
        return unsettled(base, None, high, f"{told}, the curve above it already")
    reason = ""
    gap = np.inf if below is None else float(np.log10(reached / below))
    if below is not None and fit.width_decades < gap:
        # The width is not identified and the location only within the gap: take its middle.
        pinned_low = below if low is None else max(below, low)
        pinned_high = reached if high is None else min(reached, high)
        if pinned_low < pinned_high:
            estimate = float(np.sqrt(pinned_low * pinned_high))
        base = replace(base, fit_status="width < gap", width_decades=None)
        reason = "the rise lies within one gap of the ladder"
    outside = not (below or 0.0) <= estimate <= reached
    if outside:
        reason = "; ".join(part for part in (reason, outside_gap(below, reached)) if part)
    if outside or (below is not None and fit.width_decades < _RESOLVED_GAPS * gap):
        low = None if low is None or below is None else min(low, below)
        high = None if high is None else max(high, reached)
    return crossed(base, estimate, low, high, reason)


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
    half of the trunks reach the level the answer is "> largest". A trunk falls back if a Wilson
    interval above the level is followed by one below it; if most trunks do, the status is
    `not monotone`. Raises ValueError as `threshold_along_size`.
    """
    tokens, hits, total = _checked(horizon, successes, trials)
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
        return below_smallest(replace(base, fit_status="bracket"), base.smallest, "")
    below, reached = censored.median_bracket(records)
    if np.unique(records.reached).size == 1:
        base = replace(base, fit_status="bracket" if num_trunks == 1 else "width < gap")
        return crossed(base, float(np.sqrt(below * reached)), below, reached, counted)

    cutoff = float(stats.f.ppf(1 - _ALPHA, 1, num_trunks))
    fit = censored.fit_median(records, horizons, cutoff)
    base = replace(
        base,
        fit_status="converged",
        width_decades=2 * float(stats.norm.ppf(0.9)) * fit.spread,
    )
    estimate = float(10**fit.log_median)
    low = None if fit.log_low is None or below == 0 else min(float(10**fit.log_low), below)
    unbounded = fit.log_high is None or not np.isfinite(reached)
    high = None if fit.log_high is None or unbounded else max(float(10**fit.log_high), reached)
    if 2 * num_reached < num_trunks or estimate > base.largest:
        return above_largest(base, low, counted)
    if estimate < base.smallest:
        return below_smallest(base, high, counted)
    return crossed(base, estimate, low, high, counted)


def _checked(
    scale: ArrayLike, successes: ArrayLike, trials: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    arrays = [np.asarray(values, dtype=np.float64) for values in (scale, successes, trials)]
    scales, hits, total = arrays
    if scales.ndim != 1 or scales.size == 0 or not scales.shape == hits.shape == total.shape:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"scale, successes, trials: found shapes {shapes}, expected one (C,)")
    if not (scales > 0).all():
        raise ValueError("scale: found a value that is not positive")
    if not ((hits >= 0) & (hits <= total) & (total > 0)).all():
        raise ValueError("successes: found a count outside [0, trials], or no trials")
    return scales, hits, total


def _cells(
    scale: ArrayLike, successes: ArrayLike, trials: ArrayLike, guess_rate: float, level: float
) -> psychometric.Cells:
    """Cells in a canonical order, so that the order of rows cannot matter."""
    scales, hits, total = _checked(scale, successes, trials)
    order = np.lexsort((total, hits, scales))
    cells = psychometric.Cells(np.log10(scales[order]), hits[order], total[order], guess=0.0)
    means = psychometric.size_means(cells)
    return replace(
        cells,
        guess=float(min(guess_rate, means.min(), level)),
        level=level,
        lapse_free=psychometric.plateau_sizes(cells) >= 2,
    )


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
