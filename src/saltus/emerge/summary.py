"""The `thresholds` table: every task × arm along size, compute, loss and tokens."""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd

from saltus.emerge.axis import COMPUTE, LOSS, SIZE
from saltus.emerge.cells import Clusters
from saltus.emerge.outcome import Threshold
from saltus.emerge.scores import require_columns
from saltus.emerge.threshold import threshold_along_scale
from saltus.emerge.tokens import threshold_along_tokens

LEVEL = 0.5
MIN_DISTINCT_ITEMS = 200
THRESHOLD_COLUMNS = (
    "task",
    "arm",
    "axis",
    "size",
    "level",
    "status",
    "estimate",
    "low",
    "high",
    "label",
    "censored",
    "first_crossing_low",
    "first_crossing_high",
    "sustained_crossing_low",
    "sustained_crossing_high",
    "n50",
    "n50_low",
    "n50_high",
    "width_decades",
    "width_low",
    "width_high",
    "overdispersion",
    "heterogeneity",
    "fit_p_value",
    "fit_status",
    "largest",
    "smallest",
    "num_replicas",
    "num_items",
    "guess_rate",
    "reason",
)
_NUMBERS = (
    "estimate",
    "low",
    "high",
    "first_crossing_low",
    "first_crossing_high",
    "sustained_crossing_low",
    "sustained_crossing_high",
    "n50",
    "n50_low",
    "n50_high",
    "width_decades",
    "width_low",
    "width_high",
    "overdispersion",
    "heterogeneity",
    "fit_p_value",
)
_NEEDED = (
    "size",
    "seed",
    "horizon",
    "params_nonembedding",
    "flops_exact",
    "loss_text",
    "task",
    "arm",
    "items",
    "successes",
    "guess_rate",
    "distinct_items",
)


def summarise_thresholds(scores: pd.DataFrame) -> pd.DataFrame:
    """Thresholds at exact match .5 from the `scores` table.

    One row per task × arm on each of the axes `params_nonembedding` and `flops_exact` (at the
    largest horizon of the table) and `loss_text` (every size at every horizon, seeds of a size
    and horizon being one place, sizes the unit of the interval), and one per task × arm × size on
    the axis `tokens`. Columns are `THRESHOLD_COLUMNS`, numbers in the units of the axis; null is
    "not identified" or, for `low` and `high`, open. `num_items` is the number of distinct prompts;
    below 200 the threshold stands but the reason says that no verdict may rest on it. Raises
    TableError for a missing column.
    """
    require_columns(scores, "scores", _NEEDED)
    rows = list(_rows(scores))
    table = pd.DataFrame(rows, columns=list(THRESHOLD_COLUMNS))
    table[list(_NUMBERS)] = table[list(_NUMBERS)].astype(np.float64)
    return table


def _rows(scores: pd.DataFrame) -> Iterator[dict[str, object]]:
    if scores.empty:
        return
    longest = scores["horizon"].max()
    for (task, arm), cell in scores.groupby(["task", "arm"], sort=True):
        name = (str(task), str(arm))
        guess_rate = float(cell["guess_rate"].mean())
        final = cell[cell["horizon"] == longest]
        missing = sorted(set(cell["size"]) - set(final["size"]))
        note = f"no run at the largest horizon for {', '.join(missing)}" if missing else ""
        for column, axis in (("params_nonembedding", SIZE), ("flops_exact", COMPUTE)):
            if not final.empty:
                threshold = threshold_along_scale(
                    final[column], final["successes"], final["items"], guess_rate, LEVEL, axis=axis
                )
                yield _row(name, column, None, threshold, final, guess_rate, note)
        known = cell[cell["loss_text"].notna()]
        lost = len(cell) - len(known)
        if not known.empty:
            threshold = threshold_along_scale(
                known["loss_text"],
                known["successes"],
                known["items"],
                guess_rate,
                LEVEL,
                axis=LOSS,
                clusters=Clusters(known.groupby(["size", "horizon"]).ngroup(), known["size"]),
            )
            note = f"runs left out: {lost} without a loss" if lost else ""
            yield _row(name, "loss_text", None, threshold, known, guess_rate, note)
        by_size = cell.sort_values("params_nonembedding", kind="stable")
        for size, trunks in by_size.groupby("size", sort=False):
            threshold = threshold_along_tokens(
                trunks["horizon"], trunks["successes"], trunks["items"], trunks["seed"], LEVEL
            )
            yield _row(name, "tokens", str(size), threshold, trunks, guess_rate, "")


def _row(
    name: tuple[str, str],
    axis: str,
    size: str | None,
    threshold: Threshold,
    cell: pd.DataFrame,
    guess_rate: float,
    note: str,
) -> dict[str, object]:
    num_items = int(cell["distinct_items"].max())
    few = f"{num_items} distinct items, no verdict under {MIN_DISTINCT_ITEMS}"
    notes = [threshold.reason, note, few if num_items < MIN_DISTINCT_ITEMS else ""]
    return {
        **asdict(threshold),
        "task": name[0],
        "arm": name[1],
        "axis": axis,
        "size": size,
        "level": LEVEL,
        "num_items": num_items,
        "guess_rate": guess_rate,
        "reason": "; ".join(part for part in notes if part),
    }
