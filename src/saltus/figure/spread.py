"""Intervals that figures draw around points: over seeds, over items, along a log axis."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from saltus.emerge.scores import wilson


def accuracy_interval(rows: pd.DataFrame, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a cell's mean accuracy: the wider of seeds (t) and items (Wilson).

    `rows` holds one row per seed with `exact_match`, `successes` and `items`. Seeds need at least
    two; with all seeds at 0 their t interval is empty and the items speak alone.
    """
    limits = wilson(float(rows["successes"].sum()), float(rows["items"].sum()), level)
    low, high = map(float, limits)
    values = rows["exact_match"].to_numpy(float)
    if len(values) > 1:
        half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * stats.sem(values))
        low, high = min(low, values.mean() - half), max(high, values.mean() + half)
    return (float(max(low, 0.0)), float(min(high, 1.0)))


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the t interval of a mean over seeds; (NaN, NaN) below two values."""
    array = np.asarray(values, float)
    if len(array) < 2:
        return (float("nan"), float("nan"))
    half = float(stats.t.ppf(0.5 + level / 2, len(array) - 1) * stats.sem(array))
    return (float(array.mean() - half), float(array.mean() + half))


def combined(centre: float, *intervals: tuple[float, float]) -> tuple[float, float]:
    """Return the interval of several sources of error: half widths add in quadrature.

    Exact for independent sources (MOVER, Zou & Donner 2008); wide where they share a part. An
    interval that is not known (NaN) adds nothing; (NaN, NaN) if none is.
    """
    known = np.array([ends for ends in intervals if np.isfinite(ends).all()])
    if not len(known):
        return (float("nan"), float("nan"))
    below = np.linalg.norm(np.maximum(centre - known[:, 0], 0))
    above = np.linalg.norm(np.maximum(known[:, 1] - centre, 0))
    return (float(centre - below), float(centre + above))


def dodge(positions: pd.Series, groups: pd.Series, decades: float) -> np.ndarray:
    """Return `positions` moved apart on a log axis by group, over `decades` in total."""
    names = sorted(groups.unique())
    if len(names) < 2:
        return positions.to_numpy(float)
    places = {name: place for place, name in enumerate(names)}
    offsets = (groups.map(places).to_numpy(float) / (len(names) - 1) - 0.5) * decades
    moved: np.ndarray = positions.to_numpy(float) * 10**offsets
    return moved
