"""Whether approaches to one exponent agree, in a word and in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

Interval = tuple[float, float]
WIDE = 0.23  # of an interval of a: Chinchilla's .50 and Kaplan's .73 would both lie in it
NAMES = {"envelope": "envelope", "isoflop": "isoFLOP parabolas", "parametric": "parametric law"}


@dataclass(frozen=True)
class Verdict:
    """`agree`, `disagree` or `cannot say`, and why."""

    status: Literal["agree", "disagree", "cannot say"]
    text: str


def judge(
    estimates: Mapping[str, float],
    intervals: Mapping[str, Interval],
    reasons: Mapping[str, str],
    level: float = 0.95,
) -> Verdict:
    """Compare the exponents a of those approaches that have an interval, pair by pair.

    `estimates` and `intervals` are by approach; `reasons` says of each other approach why it has no
    interval. Two intervals that overlap agree; fewer than two cannot say.
    """
    told = ", ".join(
        f"{NAMES[name]} {estimates[name]:.3f} [{low:.3f}, {high:.3f}]"
        for name, (low, high) in intervals.items()
    )
    missing = "".join(f" Not compared: {NAMES[name]}: {why}." for name, why in reasons.items())
    if len(intervals) < 2:
        count = f"only {told} has" if intervals else "no approach has"
        return Verdict("cannot say", f"Cannot say: {count} an interval of a.{missing}")
    apart = [
        f"{NAMES[one]} and {NAMES[other]}"
        for one, other in combinations(intervals, 2)
        if max(intervals[one][0], intervals[other][0]) > min(intervals[one][1], intervals[other][1])
    ]
    percent = f"{100 * level:g} %"
    if apart:
        pairs = "; ".join(apart)
        text = (
            f"Disagree: the {percent} intervals of a do not overlap for {pairs}: {told}.{missing}"
        )
        return Verdict("disagree", text)
    widest = max(high - low for low, high in intervals.values())
    weak = f" Weakly: an interval {widest:.2f} wide agrees with much." if widest > WIDE else ""
    text = f"Agree: the {percent} intervals of a overlap: {told}.{weak}{missing}"
    return Verdict("agree", text)
