"""The links of a study: accuracy against loss, one per task, arm and loss, with what is not known.

`link_rows` fits the pooled link of `saltus.emerge.link` to all runs of a task and arm, over sizes,
seeds and horizons, and evaluates it with its band on a grid, so that a figure draws stored numbers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from saltus.emerge.link import (
    SHAPE_PARAMETERS,
    Link,
    find_link,
    parameter_intervals,
    refits_without_a_size,
)
from saltus.emerge.logistic import FloatArray, Runs, evaluate
from saltus.emerge.scores import require_columns
from saltus.law.ends import DeleteOne

LOSSES = ("loss_text", "target_nll")  # nats per token; nats per answer
NUM_POINTS = 41
_NEEDED = ("task", "arm", "params_nonembedding", "successes", "items", "guess_rate", *LOSSES)


def link_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the link of every task, arm and loss of `scores`, as plain values.

    Each has `parameters` with `intervals` (95 %, delete-one-size jackknife, null where held or on a
    bound), `status` (of the link, or `refused` with a `reason`), `dispersion`, the counts `runs`,
    `sizes` and `left_out` (runs without the loss), and a `curve`: `loss` ascending over the runs,
    `accuracy`, and its band `low`, `high` (null without intervals). Raises TableError for a missing
    column.
    """
    require_columns(scores, "scores", _NEEDED)
    return list(_rows(scores))


def _rows(scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (task, arm), cell in scores.groupby(["task", "arm"], sort=True):
        for loss in LOSSES:
            known = cell[cell[loss].notna()]
            runs = Runs(
                loss=known[loss].to_numpy(np.float64),
                successes=known["successes"].to_numpy(np.float64),
                trials=known["items"].to_numpy(np.float64),
                size=known["params_nonembedding"].to_numpy(np.float64),
                guess=float(cell["guess_rate"].mean()),
            )
            named = {"task": str(task), "arm": str(arm), "loss": loss}
            yield {**named, **link_entry(runs), "left_out": len(cell) - len(known)}


def link_entry(runs: Runs) -> dict[str, Any]:
    """Return the link of `runs` with intervals and curve, or why there is none."""
    found: dict[str, Any] = {
        "status": "refused", "reason": "", "parameters": None, "intervals": None,
        "dispersion": None, "runs": int(runs.loss.size), "sizes": int(runs.sizes.size),
        "curve": None,
    }  # fmt: skip
    link = find_link(runs)
    if isinstance(link, str):
        return {**found, "reason": link}
    found |= {
        "status": link.status,
        "parameters": link.parameters,
        "dispersion": link.dispersion,
    }
    loss = np.linspace(float(runs.loss.min()), float(runs.loss.max()), NUM_POINTS)
    curve = {"loss": loss.tolist(), "accuracy": link.accuracy(loss).tolist()}
    if runs.sizes.size < SHAPE_PARAMETERS + 2:
        reason = f"no interval: {runs.sizes.size} sizes, {SHAPE_PARAMETERS + 2} are needed"
        return {**found, "reason": reason, "curve": {**curve, "low": None, "high": None}}
    refits, lost = refits_without_a_size(runs, link)
    if lost:
        reason = f"no interval: without a size {lost} of {len(refits)} links are not fixed"
        return {**found, "reason": reason, "curve": {**curve, "low": None, "high": None}}
    low, high = band(link, refits, loss)
    return {
        **found,
        "intervals": dict(parameter_intervals(link, refits)),
        "curve": {**curve, "low": low.tolist(), "high": high.tolist()},
    }


def band(link: Link, refits: FloatArray, loss: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the 95 % limits (n,) of the link at losses (n,) from its refits (S, 4), in arcsin."""
    angles = np.arcsin(np.sqrt(np.clip(evaluate(refits, loss)[0], 0, 1)))
    whole = np.arcsin(np.sqrt(np.clip(link.accuracy(loss), 0, 1)))
    ends = DeleteOne(len(refits) - SHAPE_PARAMETERS).ends(whole, angles)
    low, high = (np.asarray(np.sin(np.clip(end, 0, np.pi / 2)) ** 2) for end in ends)
    return low, high
