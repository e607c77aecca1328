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
from scipy import optimize, stats

from saltus.emerge import censored, psychometric
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

FloatArray = NDArray[np.float64]

MIN_SIZES = 4
_ALPHA = 0.05
# A rise narrower than this many gaps is carried by one or two sizes, and the offset of one size
# from the curve cannot be told from a shift of the curve: the interval is at least the gap.
_RESOLVED_GAPS = 2.5


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
    the means cross unless the rise spans 2.5 gaps. In simulations of 8 sizes × 5 seeds it covered
    .94-1.0 when only seeds scatter, .85-.93 when sizes do too (by as much as a seed at the worst).
    The lower asymptote is `guess_rate`, or the lowest mean if that is lower (a model that answers
    nothing scores less than the best constant answer). The level is crossed more than once in
    earnest (`not monotone`) if a parametric bootstrap of the closest monotone means, seeded by
    `seed`, has p < .05. Raises ValueError if the arrays differ in length or are empty, a scale is
    not positive, or successes lie outside [0, trials].
    """
    cells = _cells(scale, successes, trials, guess_rate, level)
    sizes = np.unique(np.asarray(scale, dtype=np.float64))
    means = psychometric.size_means(cells)
    crossings = find_crossings(sizes, means, level)
    base = blank(sizes, crossings, cells.trials.size)
    if guess_rate >= level:
        return undecided(base, f"guessing alone ({guess_rate:.2f}) reaches the level")
    if sizes.size < MIN_SIZES:
        return undecided(base, f"{sizes.size} sizes, at least {MIN_SIZES} needed")

    fit = psychometric.fit_curve(cells)
    base = replace(
        base,
        fit_status=fit.status,
        width_decades=fit.width_decades,
        overdispersion=fit.overdispersion,
    )
    if not crossings.monotone and _drop_probability(cells, means, fit, seed) < _ALPHA:
        return not_monotone(base, "the mean accuracy falls back below the level (p < .05)")
    cutoff = float(stats.f.ppf(1 - _ALPHA, 1, sizes.size - 2))
    cutoff *= psychometric.heterogeneity(cells, fit)
    ends = psychometric.location_interval(cells, fit, cutoff)
    low, high = (None if end is None else float(10**end) for end in ends)
    estimate = float(10**fit.location)
    if means[-1] < level or estimate > base.largest:
        return above_largest(base, low, "")
    if (means >= level).all() or estimate < base.smallest:
        return below_smallest(base, high, "")

    below = None if crossings.first is None else crossings.first[0]
    reached = None if crossings.sustained is None else crossings.sustained[1]
    if below is None or reached is None:
        return crossed(base, estimate, low, high, "")
    gap = float(np.log10(reached / below))
    reason = ""
    if fit.width_decades < gap:
        # The width is not identified and the location only within the gap: take its middle.
        pinned_low = below if low is None else max(below, low)
        pinned_high = reached if high is None else min(reached, high)
        if pinned_low < pinned_high:
            estimate = float(np.sqrt(pinned_low * pinned_high))
        base = replace(base, fit_status="width < gap", width_decades=None)
        reason = "the rise lies within one gap of the ladder"
    if fit.width_decades < _RESOLVED_GAPS * gap:
        low = None if low is None else min(low, below)
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
        return undecided(base, "one horizon, at least 2 needed")

    records = censored.crossing_records(tokens, trunk, share >= level)
    num_reached = int(np.isfinite(records.reached).sum())
    counted = f"{num_reached} of {num_trunks} seeds reach the level"
    fallen = _num_fallen(tokens, hits, total, trunk, level)
    if 2 * fallen > num_trunks:
        return not_monotone(base, f"{fallen} of {num_trunks} seeds fall back below the level")
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


def _drop_probability(
    cells: psychometric.Cells,
    means: FloatArray,
    fit: psychometric.CurveFit,
    seed: int,
    draws: int = 1999,
) -> float:
    """p-value of the largest fall across the level under the closest monotone means.

    The replicas of a size are beta-binomial about the isotonic means, with the over-dispersion
    seen within sizes (moments), or that of the fitted curve if no size has two replicas.
    """
    _, index, counts = np.unique(cells.log_scale, return_inverse=True, return_counts=True)
    share = cells.successes / cells.trials
    inverse_trials = float((1 / cells.trials).mean())
    binomial = float(((counts - 1) * means * (1 - means)).sum())
    rho = fit.overdispersion
    if counts.max() > 1 and binomial > 0:
        within = float(((share - means[index]) ** 2).sum())
        rho = (within / binomial - inverse_trials) / (1 - inverse_trials)
    rho = float(np.clip(rho, 1e-4, 0.98))
    concentration = (1 - rho) / rho
    monotone = optimize.isotonic_regression(means, weights=counts).x[index]
    monotone = np.clip(monotone, 1e-6, 1 - 1e-6)
    rng = np.random.default_rng(seed)
    chance = rng.beta(monotone * concentration, (1 - monotone) * concentration, (draws, share.size))
    drawn = rng.binomial(cells.trials.astype(np.int64), chance) / cells.trials
    member = (index[:, None] == np.arange(counts.size)) / counts
    simulated = _largest_drop(drawn @ member, cells.level)
    observed = _largest_drop(means[None, :], cells.level)[0]
    return float((1 + (simulated >= observed - 1e-12).sum()) / (1 + draws))


def _largest_drop(means: FloatArray, level: float) -> FloatArray:
    """Largest fall from a mean at/above the level to a later one below it; (P, S) to (P,)."""
    above = np.where(means >= level, means, -np.inf)
    highest = np.maximum.accumulate(above, axis=1)
    drop = np.where(means < level, highest - means, 0.0)
    largest: FloatArray = np.maximum(drop.max(axis=1), 0.0)
    return largest


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
