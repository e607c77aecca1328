r"""How calibration moves with scale, and whether confidence or accuracy moves first.

Each error is laid along log10 of N (largest horizon), of compute and of text loss (all horizons):
its slope per decade, or per nat of loss, through means of a size, with the delete-one-size
jackknife's interval, t on S - 2. The slopes say which way, not by which law. A floor rises with
the spread of confidences, so its own slope stands beside that of its error.

The lag: accuracy and mean confidence of an answer both rise with N. With h half of the accuracy's
range over the ladder, L = log10 N(confidence = h) - log10 N(accuracy = h), in decades, both read
between sizes off monotone means; negative where confidence runs ahead, and the model on its way is
over-confident.

Legend: S sizes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.emerge.scores import require_columns
from saltus.law.ends import DeleteOne

Array = NDArray[np.float64]

MIN_SIZES = 4
LAG_FREEDOM = 3  # a crossing rests on the sizes about it, however long the ladder
ERRORS = (
    "overconfidence", "ece", "floor_ece", "smooth_ece", "floor_smooth_ece", "l2_squared_debiased",
    "over_error", "brier", "nll", "excess_aurc",
)  # fmt: skip
AXES = {"params_nonembedding": True, "flops_exact": True, "loss_text": False}
_NEEDED = ("run", "size", "horizon", "params_nonembedding", "loss_text", "level", "tempered")


def summarise_scaling(calibration: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    """Return the content of `calibration.json`: slopes of every error, and the lags.

    `calibration` is the table by run; `runs` may name `flops_exact`. Raises TableError for a
    missing column.
    """
    require_columns(calibration, "calibration", (*_NEEDED, *ERRORS, "accuracy", "confidence"))
    if "flops_exact" in runs.columns:
        calibration = calibration.merge(runs[["run", "flops_exact"]], on="run", how="left")
    slopes, lags = [], []
    for (level, tempered), rows in calibration.groupby(["level", "tempered"], sort=True):
        final = rows[rows["horizon"] == rows["horizon"].max()]
        about = {"level": str(level), "tempered": bool(tempered)}
        for axis, logarithmic in AXES.items():
            if axis not in rows.columns:
                continue
            chosen = final if axis == "params_nonembedding" else rows
            for error in ERRORS:
                found = slope_of(chosen, axis, error, logarithmic=logarithmic)
                slopes.append({**about, "error": error, "axis": axis, **found})
        lags.append({**about, **lag_of(final)})
    return {"slopes": slopes, "lags": lags}


def slope_of(rows: pd.DataFrame, axis: str, error: str, *, logarithmic: bool) -> Mapping[str, Any]:
    """Return the least-squares slope of `error` per decade (or unit) of `axis`, with its interval.

    Through means over seeds of each size and horizon. Null with a reason below 4 sizes.
    """
    rows = rows[rows[error].notna() & rows[axis].notna()]
    means = rows.groupby(["size", "horizon"])[[axis, error]].mean()
    sizes = means.index.get_level_values(0).to_numpy()
    num = np.unique(sizes).size
    if num < MIN_SIZES:
        reason = f"{num} sizes; a slope with an interval needs {MIN_SIZES}"
        return {"slope": None, "low": None, "high": None, "sizes": num, "reason": reason}
    values = means[axis].to_numpy(np.float64)
    x = np.log10(values) if logarithmic else values
    y = means[error].to_numpy(np.float64)
    whole = _slope(x, y)
    parts = np.array([_slope(x[sizes != each], y[sizes != each]) for each in np.unique(sizes)])
    low, high = DeleteOne(num - 2).ends(np.asarray(whole), parts)
    return {"slope": whole, "low": float(low), "high": float(high), "sizes": num, "reason": ""}


def _slope(x: Array, y: Array) -> float:
    off = x - x.mean()
    return float(off @ y / (off @ off))


def lag_of(rows: pd.DataFrame) -> Mapping[str, Any]:
    """Return the lag in decades of N with its interval (delete one size, t on 3).

    `accuracy_at`, `confidence_at`: the sizes N where each crosses `half`. Null with a reason where
    accuracy spans less than .2 over the ladder, where either does not cross half of that range, or
    where a refit does not.
    """
    means = rows.groupby("params_nonembedding")[["accuracy", "confidence"]].mean().sort_index()
    absent = ("lag", "low", "high", "half", "accuracy_at", "confidence_at")
    empty = {**dict.fromkeys(absent), "sizes": len(means)}
    if len(means) < MIN_SIZES:
        return {**empty, "reason": f"{len(means)} sizes; a lag with an interval needs {MIN_SIZES}"}
    x = np.log10(means.index.to_numpy(np.float64))
    accuracy, confidence = (means[name].to_numpy(np.float64) for name in ("accuracy", "confidence"))
    reach = float(np.ptp(accuracy))
    if reach < 0.2:
        return {**empty, "reason": f"accuracy spans {reach:.2f} over the ladder; a lag needs .2"}
    half = float(accuracy.min() + reach / 2)
    places = [_crossing(x, values, half) for values in (accuracy, confidence)]
    sizes = [None if place is None else 10**place for place in places]
    told = {**empty, "half": half, "accuracy_at": sizes[0], "confidence_at": sizes[1]}
    whole = _lag(x, accuracy, confidence, half)
    if whole is None:
        return {**told, "reason": _uncrossed(confidence, half)}
    parts = [
        _lag(np.delete(x, s), np.delete(accuracy, s), np.delete(confidence, s), half)
        for s in range(x.size)
    ]
    kept = np.array([part for part in parts if part is not None])
    told["lag"] = whole
    if kept.size < x.size:
        lost = x.size - kept.size
        return {**told, "reason": f"without one size {lost} of {x.size} lags are not crossed"}
    low, high = DeleteOne(LAG_FREEDOM).ends(np.asarray(whole), kept)
    return {**told, "low": float(low), "high": float(high), "reason": ""}


def _uncrossed(confidence: Array, half: float) -> str:
    """Return on which side of `half` confidence stays."""
    if confidence.max() < half:
        return f"confidence stays below {half:.2f}, half of the accuracy's range"
    if confidence.min() >= half:
        return f"confidence stays above {half:.2f}, half of the accuracy's range"
    return f"{half:.2f}, half of the accuracy's range, is not crossed upwards"


def _lag(x: Array, accuracy: Array, confidence: Array, half: float) -> float | None:
    places = [_crossing(x, values, half) for values in (accuracy, confidence)]
    if places[0] is None or places[1] is None:
        return None
    return places[1] - places[0]


def _crossing(x: Array, values: Array, half: float) -> float | None:
    """Return where monotone means (S,) cross `half`, between sizes; None where they do not."""
    rising = np.maximum.accumulate(values) / 2 + np.minimum.accumulate(values[::-1])[::-1] / 2
    rising = np.maximum.accumulate(rising)
    if rising[0] >= half or rising[-1] < half:
        return None
    after = int(np.argmax(rising >= half))
    share = (half - rising[after - 1]) / (rising[after] - rising[after - 1])
    return float(x[after - 1] + share * (x[after] - x[after - 1]))
