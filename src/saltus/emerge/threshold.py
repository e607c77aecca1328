"""Where an ability appears: a threshold is an interval, or "> largest", never a lone number.

Along size, compute or loss the curve of `saltus.emerge.psychometric` is fitted to replicas that are
networks of their own. Along tokens (`saltus.emerge.tokens`) one replica is one trunk.

Rules common to all: nothing is extrapolated beyond what was tried; where the jump falls inside
one gap of the ladder, the gap is the interval; an end that the data do not close is None.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from saltus.emerge import monotone, psychometric
from saltus.emerge.axis import SIZE, Axis, turned
from saltus.emerge.cells import Cells, Clusters, cells_of, size_means
from saltus.emerge.fitness import Misfit, heterogeneity, misfit
from saltus.emerge.outcome import (
    Crossings,
    Curve,
    Threshold,
    above_largest,
    below_smallest,
    blank,
    crossed,
    find_crossings,
    not_monotone,
    undecided,
    unsettled,
    with_remark,
)
from saltus.emerge.profile import Ends, Intervals, left_out, profiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_SIZES = 4
ALPHA = 0.05
# A rise narrower than this many gaps is carried by one or two sizes, and the offset of one size
# from the curve cannot be told from a shift of the curve: the interval is at least the gap.
_RESOLVED_GAPS = 2.5
# A largest size that does worse than a smaller one by less than what is printed is not worth words.
_WORSE = 0.01


def threshold_along_scale(
    scale: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    guess_rate: float,
    level: float = 0.5,
    seed: int = 0,
    axis: Axis = SIZE,
    clusters: Clusters | None = None,
) -> Threshold:
    """Threshold along a scale; one entry per (size, seed) replica, in any order.

    scale: (C,) parameters, FLOPs or loss, as `axis` says; successes of trials: (C,) exact answers.
    The interval is a profile likelihood of the beta-binomial curve with an F(1, S - 2) cutoff (S
    sizes), since sizes, not items, carry the information, widened by `fitness.heterogeneity` where
    sizes scatter about the curve more than their replicas do, and never narrower than the gap in
    which the means cross unless the rise spans 2.5 gaps and the estimate lies within that gap. In
    simulations of 8 sizes × 5 seeds it covered .94-1.0 when only seeds scatter, .85-.93 when sizes
    do too (by as much as a seed at the worst). With `clusters` it is a delete-one-size jackknife,
    and falls are not tested. The lower asymptote is `guess_rate`, or the lowest mean if that is
    lower (a model that answers nothing scores less than the best constant answer), but at least
    `cells.residual_floor`.
    The status is `not monotone` if the accuracy falls back to the level or below it beyond chance
    (`saltus.emerge.monotone`, p < .05, seeded by `seed`). Where means and curve disagree on which
    side of the level an end of the ladder lies, the means reach the level at a smaller size only,
    or the curve does not describe the means (`fitness.misfit`; at p < .05 if its half point lies
    outside the gap in which they cross), it is `undecided`, with that gap. `reason` says
    whenever the largest size does worse than a smaller one.
    Raises ValueError if the arrays differ in length or are empty, a scale is not positive,
    successes lie outside [0, trials], or the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: found {level}, expected a share between 0 and 1")
    cells, size = cells_of(scale, successes, trials, guess_rate, level, axis, clusters)
    means = size_means(cells)
    places = 10**cells.sizes
    if cells.rung is None:
        places = np.unique(axis.ordered(np.asarray(scale, dtype=np.float64)))
    result = _along(cells, places, means, guess_rate, level, seed, axis, size)
    best = int(means.argmax())
    if best < places.size - 1 and means[best] - means[-1] >= _WORSE:
        result = with_remark(result, _fall_text(axis, places, means, best, places.size - 1))
    return turned(result, axis)


def _along(
    cells: Cells,
    places: FloatArray,
    means: FloatArray,
    guess_rate: float,
    level: float,
    seed: int,
    axis: Axis,
    size: IntArray | None,
) -> Threshold:
    """The threshold in the order of ability; places, means: (S,), on the axis and in accuracy."""
    crossings = find_crossings(places, means, level)
    base = blank(places, crossings, cells.trials.size)
    if guess_rate >= level:
        return undecided(base, f"guessing alone ({guess_rate:.2f}) reaches the level")
    num_sizes = places.size if size is None else min(np.unique(size).size, places.size)
    if num_sizes < MIN_SIZES:
        return undecided(base, f"{num_sizes} sizes were tried, at least {MIN_SIZES} are needed")

    fit = psychometric.fit_curve(cells)
    lack = misfit(cells, fit)
    base = replace(
        base,
        fit_status=fit.status,
        width_decades=fit.width_decades,
        overdispersion=None if np.isin(means, (0.0, 1.0)).all() else fit.overdispersion,
        heterogeneity=heterogeneity(cells, fit) if size is None else None,
        fit_p_value=None if lack is None else lack.p_value,
        curve=Curve(cells.guess, fit.lapse, fit.middle, fit.width),
    )
    fall = monotone.largest_fall(cells, fit.overdispersion, seed) if size is None else None
    if fall is not None and fall.p_value < ALPHA:
        held = None
        if fall.end + 1 < places.size and crossings.sustained is not None:
            held = max(float(places[fall.end + 1]), crossings.sustained[1])
        text = _fall_text(axis, places, means, fall.start, fall.end)
        return not_monotone(base, held, f"{text}, more than chance explains (p < .05)")
    if size is None:
        cutoff = float(stats.f.ppf(1 - ALPHA, 1, places.size - 2)) * (base.heterogeneity or 1.0)
        intervals = profiled(cells, fit, cutoff)
    else:
        intervals = left_out(cells, fit, size)
    base = _with_width(base, intervals, crossings)
    result = _placed(base, fit, intervals, means, crossings, level, lack, axis)
    if lack is not None and lack.refused:
        return result
    return _with_n50(result, cells, fit, intervals, places, means)


def _placed(
    base: Threshold,
    fit: psychometric.CurveFit,
    intervals: Intervals,
    means: FloatArray,
    crossings: Crossings,
    level: float,
    lack: Misfit | None,
    axis: Axis,
) -> Threshold:
    """Where the level is crossed, or beyond which end it lies, or why that is not known."""
    low, high = _scaled(intervals.location)
    estimate = float(10**fit.location)
    if means[-1] < level:
        if crossings.first is None:
            return above_largest(base, low, f"the level is not reached at the {axis.last}")
        told = f"the level is reached at a {axis.earlier} {axis.noun}, not at the {axis.last}"
        told += "; the fall is within the spread of replicas"
        return unsettled(base, crossings.first[0], None, told)
    already = f"the level is already reached at the {axis.first}"
    if (means >= level).all():
        return below_smallest(base, high, already)

    assert crossings.first is not None and crossings.sustained is not None
    below, reached = crossings.first[0], crossings.sustained[1]
    if lack is not None and lack.refused:
        told = f"the curve does not describe the means: they lie {lack.rms:.2f} off it (r.m.s.), "
        told += f"more than {axis.nouns} that scatter as much as seeds would (p < .01)"
        return unsettled(replace(base, fit_status="misfit"), below, reached, told)
    if estimate > base.largest:
        low = None if low is None or below is None else min(low, below)
        told = f"the mean of the {axis.last} reaches the level ({means[-1]:.2f})"
        return unsettled(base, low, None, f"{told}, the curve only beyond it")
    if estimate < base.smallest:
        high = None if high is None else max(high, reached)
        if below is None:
            return below_smallest(base, high, already)
        told = f"the mean of the {axis.first} is below the level ({means[0]:.2f})"
        return unsettled(base, None, high, f"{told}, the curve above it already")
    estimate, (low, high) = _at_least_the_gap(estimate, (low, high), below, reached, fit)
    start = f"the {axis.first}" if below is None else axis.text(below)
    gap = f"the gap in which the means cross ({start} to {axis.text(reached)})"
    outside = not (below or 0.0) <= estimate <= reached
    if outside and lack is not None and lack.p_value < ALPHA:
        told = f"the curve's half point ({axis.text(estimate)}) lies outside {gap}, and "
        told += f"{axis.nouns} lie further off it than seeds explain (p = {lack.p_value:.2g})"
        return unsettled(replace(base, fit_status="misfit"), below, reached, told)
    reason = ""
    if below is not None and fit.width_decades < np.log10(reached / below):
        assert base.curve is not None
        moved = replace(base.curve, middle=base.curve.middle + np.log10(estimate) - fit.location)
        base = replace(base, fit_status="width < gap", width_decades=None, curve=moved)
        reason = "the rise lies within one gap of the ladder"
    if outside:
        told = f"the curve's half point lies outside {gap}, so the curve does not describe them"
        reason = "; ".join(part for part in (reason, told) if part)
    return crossed(base, estimate, low, high, reason)


def _at_least_the_gap(
    estimate: float,
    ends: Ends,
    below: float | None,
    reached: float,
    fit: psychometric.CurveFit,
) -> tuple[float, Ends]:
    """Estimate and interval with the gap (below, reached] in which the means cross kept in mind."""
    low, high = ends
    gap = np.inf if below is None else float(np.log10(reached / below))
    if below is not None and fit.width_decades < gap:
        # The width is not identified and the location only within the gap: take its middle.
        pinned_low = below if low is None else max(below, low)
        pinned_high = reached if high is None else min(reached, high)
        if pinned_low < pinned_high:
            estimate = float(np.sqrt(pinned_low * pinned_high))
    outside = not (below or 0.0) <= estimate <= reached
    if outside or (below is not None and fit.width_decades < _RESOLVED_GAPS * gap):
        low = None if low is None or below is None else min(low, below)
        high = None if high is None else max(high, reached)
    return estimate, (low, high)


def _with_width(base: Threshold, intervals: Intervals, crossings: Crossings) -> Threshold:
    """Add the interval of the width, in the light of the gap in which the means cross.

    Its high end is at least the gap, and a width below the gap has no low end: it may be a step.
    """
    low, high = intervals.width
    if crossings.sustained is not None and crossings.first is not None and crossings.first[0]:
        gap = float(np.log10(crossings.sustained[1] / crossings.first[0]))
        low = None if (base.width_decades or 0.0) < gap else low
        high = None if high is None else max(high, gap)
    return replace(base, width_low=low, width_high=high)


def _with_n50(
    result: Threshold,
    cells: Cells,
    fit: psychometric.CurveFit,
    intervals: Intervals,
    places: FloatArray,
    means: FloatArray,
) -> Threshold:
    """Add the middle of the achievable range, if curve and means place it within the ladder."""
    halfway = cells.guess + (1 - cells.guess - fit.lapse) / 2
    crossings = find_crossings(places, means, halfway)
    estimate = float(10**fit.middle)
    inside = result.smallest <= estimate <= result.largest
    if result.status == "undecided" or crossings.sustained is None or not inside:
        return result
    assert crossings.first is not None
    below, reached = crossings.first[0], crossings.sustained[1]
    ends = _scaled(intervals.middle)
    estimate, (low, high) = _at_least_the_gap(estimate, ends, below, reached, fit)
    return replace(result, n50=estimate, n50_low=low, n50_high=high)


def _scaled(ends: Ends) -> Ends:
    low, high = (None if end is None else float(10**end) for end in ends)
    return low, high


def _fall_text(axis: Axis, places: FloatArray, means: FloatArray, start: int, end: int) -> str:
    """Say between which of the places (S,) the mean accuracy (S,) falls, with both means."""
    best = f"{means[start]:.2f} at {axis.text(float(places[start]))}"
    if end == places.size - 1:
        return f"the {axis.last} does worse ({means[end]:.2f}) than a {axis.earlier} one ({best})"
    fallen = f"{means[end]:.2f} at {axis.text(float(places[end]))}"
    return f"the mean accuracy falls from {best} to {fallen}"
