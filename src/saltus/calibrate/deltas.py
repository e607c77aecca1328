"""What a shift does to every error: its change against no shift, seed by seed.

A change is a run's error under the shift less the same run's error without it, so that what sets
seeds apart drops out; mean over seeds, with t. An absolute error of fewer predictions has a higher
floor: the change of the floor stands beside it.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from saltus.calibrate.scaling import ERRORS
from saltus.emerge.scores import require_columns

COMPARED = ("accuracy", *ERRORS, "ece_equal_mass", "aurc")
"""The errors, floors among them, whose change is told."""
KEY = ["run", "level", "tempered"]
DELTA_COLUMNS = (
    "size", "params_nonembedding", "level", "tempered", "shift", "severity", "error", "delta",
    "low", "high", "num_seeds", "num_dropped",
)  # fmt: skip
LEVEL = 0.95


def shift_deltas(calibration: pd.DataFrame, shifted: pd.DataFrame) -> pd.DataFrame:
    """Return one row per size, level, temperature, shift, severity and error.

    `calibration` has the errors without a shift, `shifted` those under each, a row per run (tables
    `calibration` and `calibration_shift`). `delta` is the mean over seeds, `low` and `high` its
    95 % t interval, null below two seeds; `num_dropped` counts seeds of which either error is
    null. Raises TableError for a missing column.
    """
    require_columns(calibration, "calibration", (*KEY, *COMPARED))
    require_columns(
        shifted, "calibration_shift",
        (*KEY, "size", "params_nonembedding", "shift", "severity", *COMPARED),
    )  # fmt: skip
    before = calibration[[*KEY, *COMPARED]]
    pairs = shifted.merge(before, on=KEY, how="left", suffixes=("", "_before"), validate="m:1")
    by = ["params_nonembedding", "size", "level", "tempered", "shift", "severity"]
    rows: list[dict[str, Any]] = []
    for key, cell in pairs.groupby(by, sort=True):
        about = dict(zip(by, key, strict=True))
        for error in COMPARED:
            change = (cell[error] - cell[f"{error}_before"]).to_numpy(dtype=np.float64)
            rows.append({**about, "error": error, **_mean(change)})
    return pd.DataFrame(rows, columns=list(DELTA_COLUMNS))


def _mean(changes: np.ndarray) -> dict[str, float | int]:
    """Return the mean of the seeds' changes (S,) that are known, with its t interval."""
    known = changes[np.isfinite(changes)]
    num = int(known.size)
    delta = float(known.mean()) if num else float("nan")
    half = float("nan")
    if num > 1:
        half = float(stats.t.ppf(0.5 + LEVEL / 2, num - 1) * stats.sem(known))
    return {
        "delta": delta, "low": delta - half, "high": delta + half,
        "num_seeds": num, "num_dropped": int(changes.size) - num,
    }  # fmt: skip
