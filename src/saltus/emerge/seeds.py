"""Seeds of one size: how many have learnt a task, how well those do, and whether two kinds exist.

Near a threshold the mean over seeds can hide that some succeed and others do not (Zhao et al.
2025). Shares need 5 seeds to be shown, a claim of two kinds needs 20.
"""

import numpy as np
import pandas as pd

from saltus.emerge.mixture import bimodality_coefficient, two_kinds
from saltus.emerge.scores import require_columns, wilson

SEED_COLUMNS = (
    "task",
    "arm",
    "size",
    "params_nonembedding",
    "horizon",
    "level",
    "num_seeds",
    "num_learnt",
    "learnt_share",
    "learnt_low",
    "learnt_high",
    "mean",
    "mean_given_learnt",
    "spread_given_learnt",
    "bimodality_coefficient",
    "likelihood_ratio",
    "p_value",
    "lower_mean",
    "upper_mean",
    "upper_share",
    "reason",
)
LEVEL = 0.5
MIN_SHOWN = 5
MIN_CLAIM = 20
_NEEDED = (
    "task",
    "arm",
    "size",
    "seed",
    "horizon",
    "params_nonembedding",
    "items",
    "successes",
)


def seed_table(scores: pd.DataFrame, level: float = LEVEL, seed: int = 0) -> pd.DataFrame:
    """Seeds by task × arm × size at the largest horizon of the table, smallest size first.

    A seed has learnt at an exact match of `level` or more. `learnt_low` and `learnt_high` are 95 %
    Wilson limits of the share; `mean_given_learnt` and `spread_given_learnt` (standard deviation,
    null below two) are over the seeds that learnt. From 20 seeds on, also the bimodality
    coefficient and the test of `mixture.two_kinds`, whose bootstrap `seed` sets. Below 5 seeds only
    the counts and the mean are there. `reason` says what is null for want of seeds. Raises
    TableError for a missing column.
    """
    require_columns(scores, "scores", _NEEDED)
    rows = []
    final = scores[scores["horizon"] == scores["horizon"].max()]
    keys = ["task", "arm", "params_nonembedding", "size"]
    for (task, arm, params, size), cell in final.groupby(keys, sort=True):
        cell = cell.sort_values("seed", kind="stable")
        rows.append(
            {
                "task": task,
                "arm": arm,
                "size": size,
                "params_nonembedding": params,
                "horizon": cell["horizon"].iloc[0],
                "level": level,
                **_seeds(cell["successes"].to_numpy(), cell["items"].to_numpy(), level, seed),
            }
        )
    table = pd.DataFrame(rows, columns=list(SEED_COLUMNS))
    numbers = list(SEED_COLUMNS[SEED_COLUMNS.index("learnt_share") : -1])
    table[numbers] = table[numbers].astype(np.float64)
    return table


def _seeds(successes: np.ndarray, items: np.ndarray, level: float, seed: int) -> dict[str, object]:
    share = successes / items
    num_seeds = share.size
    learnt = share[share >= level]
    found: dict[str, object] = {
        "num_seeds": num_seeds,
        "num_learnt": learnt.size,
        "mean": share.mean(),
    }
    if num_seeds < MIN_SHOWN:
        return found | {"reason": f"{num_seeds} seeds, {MIN_SHOWN} needed"}
    low, high = wilson(learnt.size, num_seeds)
    found |= {
        "learnt_share": learnt.size / num_seeds,
        "learnt_low": float(low),
        "learnt_high": float(high),
        "mean_given_learnt": learnt.mean() if learnt.size else None,
        "spread_given_learnt": learnt.std(ddof=1) if learnt.size > 1 else None,
    }
    if num_seeds < MIN_CLAIM:
        return found | {"reason": f"{num_seeds} seeds, {MIN_CLAIM} needed for two kinds"}
    test = two_kinds(successes, items, seed)
    return found | {
        "bimodality_coefficient": bimodality_coefficient(share),
        "likelihood_ratio": test.ratio,
        "p_value": test.p_value,
        "lower_mean": test.lower_mean,
        "upper_mean": test.upper_mean,
        "upper_share": test.upper_share,
        "reason": "",
    }
