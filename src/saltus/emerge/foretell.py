"""Thresholds foretold from the smaller sizes alone, and held against what the larger ones showed.

The ladder is cut below its largest sizes. Each road of `saltus.emerge.roads` is fitted to the sizes
below the cut and predicts the mean accuracy of every size above it, and the size at which accuracy
reaches one half. Nothing above the cut is read but the sizes themselves, until the scoring.

**Intervals** are delete-one-size jackknives over all steps of a road together, t on the freedom
that the sizes leave. Accuracies are treated as z = arcsin sqrt(accuracy), which has no runaway at 0
and 1, and a new size is off any road: to the jackknife's variance is added the mean square error of
predicting each seen size from the others. Thresholds are treated in log10 of the size. Where a
refit reaches the level nowhere, its threshold is no number, and either end is open.

Legend: S sizes seen, H sizes held out, Q sizes asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.emerge.agreement import judge
from saltus.emerge.outcome import Threshold
from saltus.emerge.roads import (
    LEVEL,
    MIN_SIZES,
    Ladder,
    Refusal,
    Road,
    RoadMaker,
    TextLosses,
    curve,
    text_loss_road,
    two_step,
)
from saltus.emerge.scores import require_columns
from saltus.emerge.threshold import threshold_along_scale
from saltus.law.ends import DeleteOne

FloatArray = NDArray[np.float64]

REPEAT = "repeat"
# A crossing so far beyond the largest (or below the smallest) size seen is not told.
REACH_DECADES = 2.0
# So far refits are searched, so that their spread is known: one whose crossing is out of reach.
SEARCH_DECADES = 8.0
PREDICTION_COLUMNS = (
    "task", "arm", "method", "cut", "num_sizes", "params_nonembedding", "predicted", "low", "high",
    "actual", "error", "inside", "status", "reason",
)  # fmt: skip
FORETOLD_COLUMNS = (
    "task", "arm", "method", "cut", "num_sizes", "predicted", "low", "high", "already_seen",
    "actual_status", "actual_label", "verdict", "verdict_text", "status", "reason",
)  # fmt: skip
_NEEDED = (
    "task", "arm", "params_nonembedding", "horizon", "target_nll", "loss_text", "successes",
    "items", "guess_rate",
)  # fmt: skip
_NUMBERS = ("cut", "params_nonembedding", "predicted", "low", "high", "actual", "error")
_STEP = 0.005  # decades between the points of the search for a crossing


@dataclass(frozen=True, eq=False)
class Foretelling:
    """One road at one cut: accuracies at held-out sizes (H,) and the threshold in log10 of size.

    low, high, log_low, log_high: 95 %; None or nan without an interval. A log_threshold of None, or
    an end, lies out of reach (`log_range`); both ends are None too where `num_lost` of the refits
    reach the level nowhere. `reason` says what is missing; `told` what was fitted.
    """

    predicted: FloatArray
    low: FloatArray
    high: FloatArray
    log_threshold: float | None
    log_low: float | None
    log_high: float | None
    log_range: tuple[float, float]
    num_lost: int
    told: str
    reason: str


def foretell(make: RoadMaker, seen: Ladder, held_out: FloatArray) -> Foretelling | Refusal:
    """Fit a road to `seen`, with its refits, and predict the sizes `held_out` (H,)."""
    whole = make(seen, None)
    if isinstance(whole, Refusal):
        return whole
    sizes = seen.longest.sizes
    bottom = float(np.log10(sizes[0])) - REACH_DECADES
    top = float(np.log10(sizes[-1])) + REACH_DECADES
    further = SEARCH_DECADES - REACH_DECADES
    grid = np.arange(bottom - further, top + further + _STEP, _STEP)
    refits = [make(seen.keep(seen.params != size), whole) for size in sizes]
    missing = [refit.reason for refit in refits if isinstance(refit, Refusal)]
    roads = [refit for refit in refits if isinstance(refit, Road)]
    predicted = whole.accuracy(held_out)
    crossing = _crossing(whole, grid)
    low, high = np.full((2, held_out.size), np.nan)
    ends: tuple[float, float] | None = None
    lost = 0
    reason = f"no interval: without one size {missing[0]}" if missing else ""
    if not missing and whole.freedom >= 1:
        rule = DeleteOne(whole.freedom)
        parts = np.stack([_angle(road.accuracy(held_out)) for road in roads])
        at_own = [road.accuracy(size[None])[0] for road, size in zip(roads, sizes, strict=True)]
        misses = _angle(np.array(at_own)) - _angle(seen.longest.means())
        angles = rule.ends(_angle(predicted), parts, float(np.sqrt(np.mean(misses**2))))
        low, high = (np.sin(np.clip(angle, 0, np.pi / 2)) ** 2 for angle in angles)
        crossings = [_crossing(road, grid) for road in roads]
        lost = crossings.count(None)
        if crossing is not None and not lost:
            found = rule.ends(np.array(crossing), np.array(crossings, dtype=np.float64))
            ends = (float(found[0]), float(found[1]))
    elif not missing:
        reason = "no interval: too few sizes leave no degree of freedom"
    return Foretelling(
        predicted=predicted,
        low=low,
        high=high,
        log_threshold=None if crossing is None or not bottom < crossing < top else crossing,
        log_low=None if ends is None or ends[0] <= bottom else min(ends[0], top),
        log_high=None if ends is None or ends[1] >= top else max(ends[1], bottom),
        log_range=(bottom, top),
        num_lost=lost,
        told=whole.told,
        reason=reason,
    )


def _angle(accuracy: FloatArray) -> FloatArray:
    return np.asarray(np.arcsin(np.sqrt(np.clip(accuracy, 0, 1))))


def _crossing(road: Road, grid: FloatArray) -> float | None:
    """log10 of the size at which the accuracy first reaches the level; None if not on `grid`."""
    accuracy = road.accuracy(10**grid)
    above = accuracy >= LEVEL
    if above[0] or not above.any():
        return None
    i = int(above.argmax())
    part = (LEVEL - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
    return float(grid[i - 1] + part * (grid[i] - grid[i - 1]))


def foretell_table(
    scores: pd.DataFrame, text_losses: TextLosses | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Foretell every task and arm of `scores` at every cut: (predictions, thresholds).

    A cut is the largest size used; all that leave at least 5 sizes at or below it and one above
    are made. predictions: one row per task, arm, method, cut and size above it,
    `PREDICTION_COLUMNS`; `error` is predicted - actual. thresholds: one row per task, arm, method
    and cut, `FORETOLD_COLUMNS`, in parameters. Methods are those of `saltus.emerge.roads`, and
    `repeat`, the largest seen size's mean accuracy, which foretells no threshold. Sizes count if
    they have runs at the longest horizon; the ends of an interval beyond what is searched are null.
    `status` is `predicted`, `no interval`, `beyond` (no crossing within two decades of the sizes
    seen) or `refused`, with a `reason`, which counts the refits that reach the level nowhere.
    Without `text_losses` the
    road `text loss` is refused. Raises TableError for a missing column.
    """
    require_columns(scores, "scores", _NEEDED)
    predictions: list[Mapping[str, object]] = []
    thresholds: list[Mapping[str, object]] = []
    longest = scores["horizon"].max() if len(scores) else 0
    for (task, arm), cell in scores.groupby(["task", "arm"], sort=True):
        named = {"task": str(task), "arm": str(arm)}
        at_longest = cell.loc[cell["horizon"] == longest, "params_nonembedding"]
        ladder = Ladder.of(cell[cell["params_nonembedding"].isin(at_longest)])
        for rows, threshold_rows in _cuts(ladder, text_losses):
            predictions += [{**named, **row} for row in rows]
            thresholds += [{**named, **row} for row in threshold_rows]
    return _typed(predictions, PREDICTION_COLUMNS), _typed(thresholds, FORETOLD_COLUMNS)


def _typed(rows: list[Mapping[str, object]], columns: tuple[str, ...]) -> pd.DataFrame:
    """The rows as a table: numbers as floats, null where there is none; `inside` may be null."""
    table = pd.DataFrame(rows, columns=list(columns))
    numbers = [name for name in _NUMBERS if name in columns]
    table[numbers] = table[numbers].astype(np.float64)
    return table.astype({"inside": "boolean"}) if "inside" in columns else table


def _cuts(
    ladder: Ladder, text_losses: TextLosses | None
) -> Iterator[tuple[list[dict[str, object]], list[dict[str, object]]]]:
    """Rows of accuracies and of thresholds of one ladder, cut by cut and method by method."""
    last = ladder.longest
    sizes, means = last.sizes, last.means()
    actual = threshold_along_scale(last.params, last.successes, last.trials, ladder.guess, LEVEL)
    roads: dict[str, RoadMaker | None] = {
        "two-step": two_step,
        "text loss": None if text_losses is None else text_loss_road(text_losses),
        "curve": curve,
    }
    cuts = range(min(MIN_SIZES, sizes.size - 1), sizes.size) if sizes.size > 1 else range(0)
    for num in cuts:
        held, shown = sizes[num:], means[num:]
        seen = ladder.keep(ladder.params <= sizes[num - 1])
        base: dict[str, object] = {"cut": float(sizes[num - 1]), "num_sizes": num}
        already = bool((means[:num] >= LEVEL).any())
        for method, make in roads.items():
            made = (
                Refusal("no predicted text losses were given")
                if make is None
                else foretell(make, seen, held)
            )
            named = {**base, "method": method}
            yield (
                [{**named, **row} for row in _accuracies(made, held, shown)],
                [{**named, "already_seen": already, **_threshold(made, actual, already)}],
            )
        repeated = Foretelling(
            predicted=np.full(held.size, means[num - 1]),
            low=np.full(held.size, np.nan),
            high=np.full(held.size, np.nan),
            log_threshold=None,
            log_low=None,
            log_high=None,
            log_range=(0.0, 0.0),
            num_lost=0,
            told="",
            reason="a baseline without interval",
        )
        rows = _accuracies(repeated, held, shown)
        yield [{**base, "method": REPEAT, **row} for row in rows], []


def _accuracies(
    made: Foretelling | Refusal, held: FloatArray, shown: FloatArray
) -> Iterator[dict[str, object]]:
    for i, size in enumerate(held):
        row: dict[str, object] = {"params_nonembedding": float(size), "actual": float(shown[i])}
        if isinstance(made, Refusal):
            yield {**row, "status": "refused", "reason": made.reason}
            continue
        bounded = bool(np.isfinite(made.low[i]))
        inside = bool(made.low[i] <= shown[i] <= made.high[i])
        yield {
            **row,
            "predicted": float(made.predicted[i]),
            "low": float(made.low[i]) if bounded else None,
            "high": float(made.high[i]) if bounded else None,
            "error": float(made.predicted[i] - shown[i]),
            "inside": inside if bounded else None,
            "status": "predicted" if bounded else "no interval",
            "reason": made.reason or made.told,
        }


def _threshold(made: Foretelling | Refusal, actual: Threshold, already: bool) -> dict[str, object]:
    row: dict[str, object] = {"actual_status": actual.status, "actual_label": actual.label}
    if isinstance(made, Refusal):
        verdict = judge(None, None, None, actual, already)
        return {**row, **verdict, "status": "refused", "reason": made.reason}
    low, high, estimate = (
        None if end is None else float(10**end)
        for end in (made.log_low, made.log_high, made.log_threshold)
    )
    reason = made.reason
    if made.num_lost:
        reason = f"no interval: {made.num_lost} of the refits without a size never reach the level"
    status = "beyond" if estimate is None else "no interval" if reason else "predicted"
    return {
        **row,
        **judge(estimate, low, high, actual, already),
        "predicted": estimate,
        "low": low,
        "high": high,
        "status": status,
        "reason": reason or made.told,
    }
