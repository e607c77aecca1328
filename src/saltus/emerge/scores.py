"""Scores: how often each run answers each task exactly, with its doubt.

`score_table` turns the `items` table (one row per scored answer) into one row per
run × task × arm. Items out of the training distribution are left to the study of shift.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from saltus.errors import TableError, nearest

ITEM_COLUMNS = (
    "run",
    "task",
    "arm",
    "prompt",
    "exact",
    "digits_correct",
    "digits",
    "edit_distance",
    "target_nll",
    "confidence",
    "in_distribution",
    "guess_rate",
    "neighbour_exact",
)
RUN_COLUMNS = (
    "run",
    "size",
    "seed",
    "horizon",
    "params_nonembedding",
    "params_total",
    "tokens",
    "flops_exact",
    "loss_text",
)
SCORE_COLUMNS = (
    *RUN_COLUMNS,
    "task",
    "arm",
    "items",
    "successes",
    "exact_match",
    "exact_match_low",
    "exact_match_high",
    "expected_exact_match",
    "digit_accuracy",
    "edit_distance",
    "target_nll",
    "confidence",
    "brier",
    "guess_rate",
    "neighbour_accuracy",
    "distinct_items",
)
_NOT_NULL = ("exact", "digits_correct", "digits", "target_nll", "confidence", "neighbour_exact")

FloatArray = NDArray[np.float64]


def wilson(
    successes: ArrayLike, trials: ArrayLike, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Wilson score interval of a binomial share; arrays of one shape in, (low, high) out.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4. At 0 of n the lower limit is exactly
    0 and the upper z²/(n + z²). Zero trials give (nan, nan). Raises ValueError if a count of
    successes lies outside [0, trials].
    """
    hits, total = _counts(successes, trials)
    z = float(stats.norm.ppf(0.5 + level / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = hits / total
        centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
        spread = np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
        half = z * spread / (1 + z**2 / total)
    low = np.where(hits == 0, 0.0, np.clip(centre - half, 0, 1))
    high = np.where(hits == total, 1.0, np.clip(centre + half, 0, 1))
    empty = total == 0
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def clopper_pearson(
    successes: ArrayLike, trials: ArrayLike, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Exact (conservative) interval of a binomial share; the one to quote at 0 of n.

    Source: Clopper and Pearson 1934, through the beta quantiles. Shapes, empty cells and errors as
    in `wilson`.
    """
    hits, total = _counts(successes, trials)
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, hits, total - hits + 1)
    high = stats.beta.ppf(1 - tail, hits + 1, total - hits)
    low = np.where(hits == 0, 0.0, low)
    high = np.where(hits == total, 1.0, high)
    empty = total == 0
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _counts(successes: ArrayLike, trials: ArrayLike) -> tuple[FloatArray, FloatArray]:
    hits, total = np.broadcast_arrays(
        np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    )
    if np.any((hits < 0) | (hits > total)):
        raise ValueError("successes: found a count outside [0, trials]")
    return hits, total


def require_columns(table: pd.DataFrame, name: str, columns: Iterable[str]) -> None:
    """Raise TableError, naming the first missing column and its nearest spelling."""
    for column in columns:
        if column not in table.columns:
            hint = nearest(column, (str(found) for found in table.columns))
            raise TableError(f"{name}: no column '{column}'{hint}")


def items_inside(
    items: pd.DataFrame, columns: Iterable[str], not_null: Iterable[str]
) -> pd.DataFrame:
    """Return `columns` of the items within the training distribution.

    Raises TableError for a missing column, or a null in one of `not_null`.
    """
    require_columns(items, "items", columns)
    inside = items.loc[items["in_distribution"].astype(bool), list(columns)]
    nulls = inside[list(not_null)].isna().sum()
    if nulls.any():
        column = str(nulls.idxmax())
        raise TableError(f"items: {int(nulls.max())} nulls in '{column}', expected none")
    return inside


def with_run_columns(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return `table`, one of whose columns is `run`, with `RUN_COLUMNS` of `runs` beside it.

    Raises TableError for a missing column, and for a run that `runs` lacks or lists twice.
    """
    require_columns(runs, "runs", RUN_COLUMNS)
    if runs["run"].duplicated().any():
        twice = runs.loc[runs["run"].duplicated(), "run"].iloc[0]
        raise TableError(f"runs: '{twice}' stands in two rows, expected one row per run")
    unknown = set(table["run"]) - set(runs["run"])
    if unknown:
        raise TableError(f"items: run '{min(unknown)}' is not in runs")
    return table.merge(runs[list(RUN_COLUMNS)], on="run", how="left", validate="many_to_one")


def score_table(items: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Score every run × task × arm on its items within the training distribution.

    items: one row per scored answer (`ITEM_COLUMNS`). runs: one row per run (`RUN_COLUMNS`).
    Returns `SCORE_COLUMNS`, sorted by size (params_nonembedding), horizon, seed, task and arm:
    `exact_match` with its 95 % Wilson limits, `expected_exact_match` = mean of exp(−target_nll)
    (the score of sampling rather than of greedy decoding; Schaeffer et al. 2023),
    `digit_accuracy` = share of all answer digits that are right, means of `edit_distance`,
    `target_nll` (nats per answer) and `confidence`, `brier` = mean of (confidence − exact)² (Brier
    1950, of the whole answer), `neighbour_accuracy` = what answering as the nearest training
    problem would score, and `distinct_items` (different prompts).
    Wilson counts items only; the spread between seeds belongs to the threshold.

    Raises TableError for a missing column, a run that `runs` lacks or lists twice, or a null
    in a scored column.
    """
    inside = items_inside(items, ITEM_COLUMNS, _NOT_NULL)
    if inside.empty:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))

    exact = inside["exact"].astype(np.float64)
    grouped = inside.assign(
        exact=exact,
        brier=(inside["confidence"] - exact) ** 2,
        probability=np.exp(-inside["target_nll"].to_numpy(np.float64)),
        prompt=pd.factorize(inside["prompt"])[0],
    ).groupby(["run", "task", "arm"], sort=False, observed=True)
    scores = grouped.agg(
        items=("exact", "size"),
        successes=("exact", "sum"),
        expected_exact_match=("probability", "mean"),
        digits_correct=("digits_correct", "sum"),
        digits=("digits", "sum"),
        edit_distance=("edit_distance", "mean"),
        target_nll=("target_nll", "mean"),
        confidence=("confidence", "mean"),
        brier=("brier", "mean"),
        guess_rate=("guess_rate", "mean"),
        neighbour_accuracy=("neighbour_exact", "mean"),
        distinct_items=("prompt", "nunique"),
    ).reset_index()
    scores["successes"] = scores["successes"].astype(np.int64)
    scores["exact_match"] = scores["successes"] / scores["items"]
    scores["exact_match_low"], scores["exact_match_high"] = wilson(
        scores["successes"], scores["items"]
    )
    scores["digit_accuracy"] = scores["digits_correct"] / scores["digits"]

    merged = with_run_columns(scores, runs)
    order = ["params_nonembedding", "horizon", "seed", "task", "arm", "run"]
    return merged.sort_values(order, ignore_index=True)[list(SCORE_COLUMNS)]
