"""What a threshold may turn out to be, and how each outcome is filled in and printed."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from saltus.emerge.labels import format_beyond, format_interval

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """One threshold in the units of its axis (parameters, FLOPs, tokens, nats); None: null or open.

    status: crossed | above largest | below smallest | not monotone | undecided.
    censored: none | right | left. fit_status: converged | width < gap | bound hit |
    max iterations | bracket | not fitted. A crossing (low, high] is of the mean accuracies:
    `first` the first from below to at/above the level, `sustained` the last if no later mean is
    below; a low of None means that the smallest was already above. `low` and `high` are a 95 %
    interval if crossed, a one-sided limit if censored, and else the bracket that is left open.
    n50: halfway between guessing and what the largest reach, where it lies within what was tried.
    width_decades: N10-N90, with its interval. heterogeneity: factor by which the deviance was
    divided. fit_p_value: of `saltus.emerge.fitness.misfit`. curve: what was fitted, or None.
    """

    status: str
    estimate: float | None
    low: float | None
    high: float | None
    label: str
    censored: str
    first_crossing_low: float | None
    first_crossing_high: float | None
    sustained_crossing_low: float | None
    sustained_crossing_high: float | None
    n50: float | None
    n50_low: float | None
    n50_high: float | None
    width_decades: float | None
    width_low: float | None
    width_high: float | None
    overdispersion: float | None
    heterogeneity: float | None
    fit_p_value: float | None
    fit_status: str
    largest: float
    smallest: float
    num_replicas: int
    reason: str
    curve: "Curve | None" = None


@dataclass(frozen=True)
class Curve:
    """psi = guess + (1 - guess - lapse) / (1 + exp(-(x - middle) / width)).

    x is log10 of the scale, or of its reciprocal where ability grows as the scale falls; width in
    decades.
    """

    guess: float
    lapse: float
    middle: float
    width: float


@dataclass(frozen=True)
class Crossings:
    """First and sustained crossing of a level by a sequence of means, in units of the axis."""

    first: tuple[float | None, float] | None
    sustained: tuple[float | None, float] | None


def find_crossings(scales: FloatArray, means: FloatArray, level: float) -> Crossings:
    """Gaps in which means (S,), ordered by scales (S,), first and last rise to the level."""
    above = means >= level
    if not above.any():
        return Crossings(None, None)

    def gap(index: int) -> tuple[float | None, float]:
        return (float(scales[index - 1]) if index else None, float(scales[index]))

    first = gap(int(above.argmax()))
    if not above[-1]:
        return Crossings(first, None)
    below = np.flatnonzero(~above)
    return Crossings(first, gap(int(below[-1]) + 1 if below.size else 0))


def blank(scales: FloatArray, crossings: Crossings, num_replicas: int) -> Threshold:
    """An undecided threshold over `scales` (S,), ascending, to be filled in by the others."""
    first = crossings.first or (None, None)
    sustained = crossings.sustained or (None, None)
    return Threshold(
        status="undecided",
        estimate=None,
        low=None,
        high=None,
        label="undecided",
        censored="none",
        first_crossing_low=first[0],
        first_crossing_high=first[1],
        sustained_crossing_low=sustained[0],
        sustained_crossing_high=sustained[1],
        n50=None,
        n50_low=None,
        n50_high=None,
        width_decades=None,
        width_low=None,
        width_high=None,
        overdispersion=None,
        heterogeneity=None,
        fit_p_value=None,
        fit_status="not fitted",
        largest=float(scales[-1]),
        smallest=float(scales[0]),
        num_replicas=num_replicas,
        reason="",
    )


def undecided(base: Threshold, reason: str) -> Threshold:
    """Too little to tell; the crossings of the means stand."""
    return replace(base, reason=reason)


def unsettled(base: Threshold, low: float | None, high: float | None, reason: str) -> Threshold:
    """Undecided within a bracket, since the data speak for either side; no estimate."""
    bracket = format_interval(None, low, high, base.smallest, base.largest)
    return replace(
        without_width(base), low=low, high=high, label=f"undecided {bracket}", reason=reason
    )


def without_width(base: Threshold) -> Threshold:
    """Take back the width, where the curve has no say."""
    return replace(base, width_decades=None, width_low=None, width_high=None)


def with_remark(base: Threshold, remark: str) -> Threshold:
    """Append a remark to the reason unless the reason says it already."""
    if remark in base.reason:
        return base
    return replace(base, reason="; ".join(part for part in (base.reason, remark) if part))


def crossed(
    base: Threshold, estimate: float, low: float | None, high: float | None, reason: str
) -> Threshold:
    """Crossed within the range tried; an end of None is open and printed as such."""
    again = (base.first_crossing_low, base.first_crossing_high) != (
        base.sustained_crossing_low,
        base.sustained_crossing_high,
    )
    note = "means cross the level more than once, within the spread of replicas" if again else ""
    return replace(
        base,
        status="crossed",
        estimate=estimate,
        low=low,
        high=high,
        label=format_interval(estimate, low, high, base.smallest, base.largest),
        reason="; ".join(part for part in (reason, note) if part),
    )


def above_largest(base: Threshold, low: float | None, reason: str) -> Threshold:
    """Right-censored; `low` is the lower limit where the data allow one below the largest."""
    low = None if low is None else min(low, base.largest)
    return replace(
        without_width(base),
        status="above largest",
        low=low,
        label=format_beyond(True, low, base.smallest, base.largest),
        censored="right",
        reason=reason or "the level is not reached at the largest size",
    )


def below_smallest(base: Threshold, high: float | None, reason: str) -> Threshold:
    """Left-censored; `high` is the upper limit where the data allow one above the smallest."""
    high = None if high is None else max(high, base.smallest)
    return replace(
        without_width(base),
        status="below smallest",
        high=high,
        label=format_beyond(False, high, base.smallest, base.largest),
        censored="left",
        reason=reason or "the level is already reached at the smallest size",
    )


def not_monotone(base: Threshold, high: float | None, reason: str) -> Threshold:
    """Fallen back in earnest: from the first crossing to `high`, where it is held; no estimate."""
    low = base.first_crossing_low
    bracket = format_interval(None, low, high, base.smallest, base.largest)
    return replace(
        without_width(base),
        status="not monotone",
        low=low,
        high=high,
        label=f"not monotone {bracket}",
        reason=reason,
    )
