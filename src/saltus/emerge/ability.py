"""Verdicts on every task and arm of a study: the content of `emergence.json`.

All values are plain JSON; what cannot be known is null beside a reason. Along parameters without
embedding, at the largest horizon.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from saltus.emerge.axis import Axis
from saltus.emerge.means import Means, accuracy_means, nll_means
from saltus.emerge.power import Power, power_of_both
from saltus.emerge.rivals import rivals
from saltus.emerge.scores import require_columns
from saltus.emerge.table import Group
from saltus.emerge.transition import Transition
from saltus.emerge.verdict import MIN_ITEMS, W0, Judgement, judge, settle

AXIS = "params_nonembedding"
NEEDED = (
    "horizon", "task", "arm", AXIS, "successes", "items", "target_nll", "distinct_items",
)  # fmt: skip


def summarise_emergence(scores: pd.DataFrame) -> dict[str, Any]:
    """Return the verdicts of a `scores` table; raises `TableError` for a missing column."""
    require_columns(scores, "scores", NEEDED)
    rule = {"w0_decades": W0, "minimum_items": MIN_ITEMS, "axis": AXIS}
    if scores.empty:
        return {"rule": rule, "verdicts": []}
    final = scores[scores["horizon"] == scores["horizon"].max()]
    cells = list(final.groupby(["task", "arm"], sort=True))
    metrics = [
        (
            nll_means(cell[AXIS], cell["target_nll"]),
            accuracy_means(cell[AXIS], cell["successes"], cell["items"]),
        )
        for _, cell in cells
    ]
    found = [
        judge(nll, accuracy, int(cell["distinct_items"].max()))
        for (nll, accuracy), (_, cell) in zip(metrics, cells, strict=True)
    ]
    return {
        "rule": rule,
        "verdicts": [
            {
                "task": str(task),
                "arm": str(arm),
                **judgement_entry(judged),
                "rivals": [asdict(each) for each in rivals(nll)],
                "power": power_entry(power_of_both(nll, accuracy, W0)),
                "sizes": int(nll.x.size),
                "replicas": len(cell),
            }
            for ((task, arm), cell), (nll, accuracy), judged in zip(
                cells, metrics, settle(found), strict=True
            )
        ],
    }


def judge_groups(groups: Sequence[Group], axis: Axis, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return the verdict on every group of anybody's table, as `saltus emergence` writes it.

    A falling scale has no verdict: a leap is told from its width in decades of what grows. The
    trials of the median row stand for the distinct items, which such a table does not know.
    """
    found: list[Judgement] = []
    powers: list[dict[str, Any] | None] = []
    for group in groups:
        nll = None if group.nll is None else nll_means(group.scale, group.nll)
        accuracy = accuracy_means(group.scale, group.successes, group.trials)
        reason = _no_verdict(axis, accuracy, group.chance)
        if reason:
            found.append(Judgement("undecided", reason, None, None, None, None))
            powers.append(None)
            continue
        found.append(judge(nll, accuracy, int(np.median(group.trials)), seed=seed))
        powers.append(power_entry(power_of_both(nll, accuracy, W0, seed=seed)))
    told = [judgement_entry(each) for each in settle(found)]
    return [
        {
            "verdict": entry["verdict"],
            "reason": entry["reason"],
            "p_value": entry["p_adjusted"],
            "evidence": entry,
            "power": power,
        }
        for entry, power in zip(told, powers, strict=True)
    ]


def _no_verdict(axis: Axis, accuracy: Means, chance: float) -> str:
    """Return why a group is not judged, or an empty string."""
    if axis.falling:
        return "a leap is told along a scale that grows"
    if np.all(accuracy.y < chance):
        return f"accuracy is below guessing ({chance:g}) at every scale"
    return ""


def judgement_entry(judged: Judgement) -> dict[str, Any]:
    """Return a verdict with its evidence as JSON-able values."""
    return {
        "verdict": judged.verdict,
        "reason": judged.reason,
        "nll": transition_entry(judged.nll),
        "accuracy": transition_entry(judged.accuracy),
        "p_nll": judged.p_nll,
        "p_accuracy": judged.p_accuracy,
        "p_adjusted": judged.p_adjusted,
    }


def transition_entry(fit: Transition | None) -> Mapping[str, Any] | None:
    """Return a fitted curve, None of none."""
    return None if fit is None else asdict(fit)


def power_entry(power: Power | None) -> dict[str, Any] | None:
    """Return a power analysis with what it says in words."""
    if power is None:
        return None
    if power.sharp is None:
        shares = (
            f"of tables like this one, {100 * power.smooth:.0f} % of smooth truths would be told, "
            "and no sharp one"
        )
        needed = "without a target NLL no design tells a leap"
        return {**asdict(power), "sufficient": False, "text": f"{shares}; {needed}"}
    shares = (
        f"of tables like this one, {100 * power.sharp:.0f} % of sharp truths and "
        f"{100 * power.smooth:.0f} % of smooth ones would be told"
    )
    if power.sufficient:
        needed = "the design is sufficient"
    elif power.sizes is None:
        needed = "no design tried, of up to four times the sizes and twice the seeds, is sufficient"
    else:
        seeds = f"{power.seeds} seed{'' if power.seeds == 1 else 's'}"
        needed = f"{power.sizes} sizes of {seeds} each on the same ladder would do"
    return {**asdict(power), "sufficient": power.sufficient, "text": f"{shares}; {needed}"}
