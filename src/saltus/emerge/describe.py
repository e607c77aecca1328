"""One group of a table described: its threshold, its scores, its verdict, as plain values."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from saltus.emerge.axis import Axis
from saltus.emerge.outcome import Threshold
from saltus.emerge.shape import breakthroughness, linearity
from saltus.emerge.table import Group
from saltus.emerge.threshold import MIN_SIZES, threshold_along_scale

Judge = Callable[[Group, Axis, int], Mapping[str, Any]]
"""A verdict from a group, its axis and a seed: `verdict`, `reason`, `p_value`, `power`."""


def describe(
    group: Group, axis: Axis, level: float = 0.5, seed: int = 0, judge: Judge | None = None
) -> tuple[dict[str, Any], Threshold]:
    """Return what `saltus emergence` writes of one group, and its threshold.

    `judge` decides whether the rise is sharp; below 4 sizes it is not asked and the verdict is
    `undecided`. Numbers are in the units of the scale; null is "not identified" or an open end.
    """
    found = threshold_along_scale(
        group.scale, group.successes, group.trials, group.chance, level, seed, axis
    )
    places = np.unique(group.scale)
    if axis.falling:
        places = places[::-1]
    share = group.successes / group.trials
    means = [float(share[group.scale == place].mean()) for place in places]
    return {
        "group": group.name,
        "threshold": {
            "level": level,
            "status": found.status,
            "label": found.label,
            "estimate": found.estimate,
            "low": found.low,
            "high": found.high,
            "censored": found.censored,
            "first_crossing": [found.first_crossing_low, found.first_crossing_high],
            "sustained_crossing": [found.sustained_crossing_low, found.sustained_crossing_high],
            "n50": found.n50,
            "n50_interval": [found.n50_low, found.n50_high],
            "reason": found.reason,
        },
        "width": found.width_decades,
        "width_interval": [found.width_low, found.width_high],
        "fit": {
            "status": found.fit_status,
            "overdispersion": found.overdispersion,
            "heterogeneity": found.heterogeneity,
            "p_value": found.fit_p_value,
            "curve": None if found.curve is None else asdict(found.curve),
        },
        "scores": {"linearity": linearity(means), "breakthroughness": breakthroughness(means)},
        "sizes": places.size,
        "replicas": group.scale.size,
        "accuracy": [
            {"scale": float(place), "mean": mean} for place, mean in zip(places, means, strict=True)
        ],
        **_verdict(group, axis, seed, places.size, judge),
    }, found


def _verdict(
    group: Group, axis: Axis, seed: int, num_sizes: int, judge: Judge | None
) -> Mapping[str, Any]:
    """Return verdict, reason, p_value and power; all null where nobody judges."""
    blank: dict[str, Any] = {"verdict": None, "reason": None, "p_value": None, "power": None}
    if num_sizes < MIN_SIZES:
        few = f"{num_sizes} sizes were tried, at least {MIN_SIZES} are needed"
        return {**blank, "verdict": "undecided", "reason": few}
    return blank if judge is None else {**blank, **judge(group, axis, seed)}
