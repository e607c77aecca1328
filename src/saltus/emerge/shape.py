"""How a score rises over sizes in order: BIG-bench's linearity and breakthroughness.

With y the scores of S sizes in ascending order, d their S − 1 steps and

    I = sign(argmax y − argmin y) · (max y − min y)

    linearity L = I / sqrt(mean d²),    breakthroughness B = I / sqrt(median d²).

Source: Srivastava et al. 2022 (BIG-bench), appendix B. The median of an even number of squared
steps is the mean of the two middle ones. The emergence score of Schaeffer et al. 2023 is B, word
for word, so it is not given a second time. What they add is the null: does B stay large for the
score that sampling would have (`expected_exact_match`, mean of exp(−target_nll))?

Both ignore how far sizes lie apart and how sure each score is: descriptions, not tests.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from saltus.emerge.scores import require_columns

SHAPE_COLUMNS = (
    "task",
    "arm",
    "score",
    "horizon",
    "num_sizes",
    "num_replicas",
    "lowest",
    "highest",
    "linearity",
    "breakthroughness",
    "reason",
)
SCORES = ("exact_match", "expected_exact_match", "digit_accuracy")
MIN_SIZES = 3


def linearity(scores: ArrayLike) -> float | None:
    """L of scores (S,) in order of size; None if all are equal or fewer than two."""
    return _over_steps(scores, np.mean)


def breakthroughness(scores: ArrayLike) -> float | None:
    """B of scores (S,) in order of size; None if the median squared step is 0, or no step is."""
    return _over_steps(scores, np.median)


def _over_steps(
    scores: ArrayLike, average: Callable[[NDArray[np.float64]], np.floating]
) -> float | None:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"scores: found shape {values.shape} or a null, expected numbers (S,)")
    if values.size < 2:
        return None
    scale = float(np.sqrt(average(np.diff(values) ** 2)))
    rise = np.sign(int(values.argmax()) - int(values.argmin())) * np.ptp(values)
    return float(rise / scale) if scale > 0 else None


def shape_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Shape of each score over sizes, one row per task × arm × score at the largest horizon.

    scores: of `score_table`. `score` is one of `SCORES`, averaged over the seeds of a size.
    Compare `exact_match`, which greedy decoding makes, with `expected_exact_match`, the same
    answers drawn item by item. `linearity` and `breakthroughness` are null where they are not
    defined or fewer than 3 sizes were scored, and `reason` says why. Raises TableError for a
    missing column.
    """
    needed = ("task", "arm", "horizon", "params_nonembedding", *SCORES)
    require_columns(scores, "scores", needed)
    rows = []
    final = scores[scores["horizon"] == scores["horizon"].max()]
    for (task, arm), cell in final.groupby(["task", "arm"], sort=True):
        means = cell.groupby("params_nonembedding", sort=True)[list(SCORES)].mean()
        for score in SCORES:
            values = means[score].to_numpy(np.float64)
            few = values.size < MIN_SIZES
            found = (None, None) if few else (linearity(values), breakthroughness(values))
            reason = f"{values.size} sizes, {MIN_SIZES} needed" if few else ""
            if not few and found[1] is None:
                reason = "half of the steps or more are zero"
            rows.append(
                {
                    "task": task,
                    "arm": arm,
                    "score": score,
                    "horizon": cell["horizon"].iloc[0],
                    "num_sizes": values.size,
                    "num_replicas": len(cell),
                    "lowest": values.min(),
                    "highest": values.max(),
                    "linearity": found[0],
                    "breakthroughness": found[1],
                    "reason": reason,
                }
            )
    table = pd.DataFrame(rows, columns=list(SHAPE_COLUMNS))
    numbers = ["lowest", "highest", "linearity", "breakthroughness"]
    table[numbers] = table[numbers].astype(np.float64)
    return table
