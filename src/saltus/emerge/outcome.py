"""What a threshold may turn out to be, and how each outcome is filled in and printed."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from saltus.emerge.labels import format_count, format_interval

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """One threshold in the units of its axis (parameters or tokens); None is null or open.

    status: crossed | above largest | below smallest | not monotone | undecided.
    censored: none | right | left. fit_status: converged | width < gap | bound hit |
    max iterations | bracket | not fitted. A crossing (low, high] is of the mean accuracies:
    `first` the first from below to at/above the level, `sustained` the last if no later mean is
    below; a low of None means that the smallest was already above. `low` and `high` are a 95 %
    interval if crossed, a one-sided limit if censored, and else the bracket that is left open.
    heterogeneity: factor by which the deviance was divided, along size only.
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
    width_decades: float | None
    overdispersion: float | None
    heterogeneity: float | None
    fit_status: str
    largest: float
    smallest: float
    num_replicas: int
    reason: str


@dataclass(frozen=True)
class Crossings:
    """First and sustained crossing of a level by a sequence of means, in units of the axis."""

    first: tuple[float | None, float] | None
    sustained: tuple[float | None, float] | None

    @property
    def monotone(self) -> bool:
        """Whether the level is crossed once for good (or never)."""
        return self.first == self.sustained


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
        width_decades=None,
        overdispersion=None,
        heterogeneity=None,
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
        base, low=low, high=high, label=f"undecided {bracket}", width_decades=None, reason=reason
    )


def with_remark(base: Threshold, remark: str) -> Threshold:
    """Append a remark to the reason unless the reason says it already."""
    if remark in base.reason:
        return base
    return replace(base, reason="; ".join(part for part in (base.reason, remark) if part))


def fall_text(sizes: FloatArray, means: FloatArray, start: int, end: int) -> str:
    """Say between which of the sizes (S,) the mean accuracy (S,) falls, with both means."""
    best = f"{means[start]:.2f} at {format_count(float(sizes[start]))}"
    if end == sizes.size - 1:
        return f"the largest size does worse ({means[end]:.2f}) than a smaller one ({best})"
    fallen = f"{means[end]:.2f} at {format_count(float(sizes[end]))}"
    return f"the mean accuracy falls from {best} to {fallen}"


def outside_gap(below: float | None, reached: float) -> str:
    """Say that the curve and the means cross the level at different places."""
    start = "the smallest size" if below is None else format_count(below)
    return (
        "the curve's half point lies outside the gap in which the means cross "
        f"({start} to {format_count(reached)}), so the curve does not describe them"
    )


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
    return replace(
        base,
        status="above largest",
        low=None if low is None else min(low, base.largest),
        label=f"> {format_count(base.largest)}",
        censored="right",
        width_decades=None,
        reason=reason or "the level is not reached at the largest size",
    )


def below_smallest(base: Threshold, high: float | None, reason: str) -> Threshold:
    """Left-censored; `high` is the upper limit where the data allow one above the smallest."""
    return replace(
        base,
        status="below smallest",
        high=None if high is None else max(high, base.smallest),
        label=f"< {format_count(base.smallest)}",
        censored="left",
        width_decades=None,
        reason=reason or "the level is already reached at the smallest size",
    )


def not_monotone(base: Threshold, high: float | None, reason: str) -> Threshold:
    """Fallen back in earnest: from the first crossing to `high`, where it is held; no estimate."""
    low = base.first_crossing_low
    bracket = format_interval(None, low, high, base.smallest, base.largest)
    return replace(
        base,
        status="not monotone",
        low=low,
        high=high,
        label=f"not monotone {bracket}",
        width_decades=None,
        reason=reason,
    )
