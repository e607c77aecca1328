"""One group of a table described: its threshold and its scores, as plain values."""

from dataclasses import asdict
from typing import Any

import numpy as np

from saltus.emerge.axis import Axis
from saltus.emerge.outcome import Threshold
from saltus.emerge.shape import breakthroughness, linearity
from saltus.emerge.table import Group
from saltus.emerge.threshold import threshold_along_scale


def describe(
    group: Group, axis: Axis, level: float = 0.5, seed: int = 0
) -> tuple[dict[str, Any], Threshold]:
    """Return what `saltus emergence` writes of one group, and its threshold.

    The verdict, which looks at all groups at once, is `ability.judge_groups`'. Numbers are in the
    units of the scale; null is "not identified" or an open end.
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
    }, found
