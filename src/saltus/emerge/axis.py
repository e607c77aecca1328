"""The axis that a threshold lies on: which way ability grows along it, and how it is printed.

Sizes, compute and tokens rise with ability, a loss falls. Everything is computed in the order of
ability, on the reciprocal of a falling scale; `turned` gives a threshold back in its own units.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saltus.emerge.labels import format_beyond, format_count, format_interval
from saltus.emerge.outcome import Threshold


@dataclass(frozen=True)
class Axis:
    """What the scale is called, and whether ability grows as it falls."""

    noun: str = "size"
    nouns: str = "sizes"
    falling: bool = False

    @property
    def last(self) -> str:
        """Return the superlative of the able end."""
        return f"{'lowest' if self.falling else 'largest'} {self.noun}"

    @property
    def first(self) -> str:
        """Return the superlative of the other end."""
        return f"{'highest' if self.falling else 'smallest'} {self.noun}"

    @property
    def earlier(self) -> str:
        """Return the comparative that leads away from the able end."""
        return "higher" if self.falling else "smaller"

    def ordered(self, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scale, or its reciprocal if it falls, so that ability rises with it."""
        return 1 / scale if self.falling else scale

    def text(self, ordered: float) -> str:
        """Print a place on the axis, given in the order of ability."""
        return f"{1 / ordered:.3g}" if self.falling else format_count(ordered)


SIZE = Axis()
COMPUTE = Axis("compute", "amounts of compute")
LOSS = Axis("loss", "losses", falling=True)

_STATUS = {"above largest": "below smallest", "below smallest": "above largest"}
_CENSORED = {"right": "left", "left": "right"}


def turned(found: Threshold, axis: Axis) -> Threshold:
    """Return a threshold in the units of its axis; only a falling one has to be turned.

    Low ends become high ends. What was above the largest place in the order of ability lies below
    the smallest value of the scale, and is left-censored.
    """
    if not axis.falling:
        return found
    turns: dict[str, Any] = {
        new: None if getattr(found, old) is None else 1 / getattr(found, old)
        for pair in (
            ("low", "high"),
            ("first_crossing_low", "first_crossing_high"),
            ("sustained_crossing_low", "sustained_crossing_high"),
            ("n50_low", "n50_high"),
            ("estimate", "estimate"),
            ("n50", "n50"),
        )
        for new, old in (pair, pair[::-1])
    }
    result = replace(
        found,
        **turns,
        status=_STATUS.get(found.status, found.status),
        censored=_CENSORED.get(found.censored, found.censored),
        smallest=1 / found.largest,
        largest=1 / found.smallest,
    )
    return replace(result, label=_label(result, "[" in found.label))


def _label(found: Threshold, bracketed: bool) -> str:
    def text(value: float) -> str:
        return f"{value:.3g}"

    if found.status in ("above largest", "below smallest"):
        above = found.status == "above largest"
        limit = found.low if above else found.high
        return format_beyond(above, limit, found.smallest, found.largest, text)
    interval = format_interval(
        found.estimate, found.low, found.high, found.smallest, found.largest, text
    )
    if found.status == "crossed":
        return interval
    return f"{found.status} {interval}" if bracketed else found.status
