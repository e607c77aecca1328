"""A prediction held to the runs of the size that it was made for: `heldout` of the laws."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from saltus.errors import TableError
from saltus.law.compare import NO_BASELINE
from saltus.law.forecast import Array, Score, repeat
from saltus.law.runs import rows_sha256


def score_prediction(prediction: Mapping[str, Any], runs: pd.DataFrame) -> dict[str, Any]:
    """Return the `heldout` entry: the prediction held to the usable `runs` of its size, once.

    `prediction_sha256` is for whoever read it from a file: null, it was made on the spot. The
    baseline is the next smaller size's mean loss at the same tokens. Raises `TableError` when the
    runs of the other sizes are not those that it was made from, or a horizon is not in it.
    """
    labels = runs["size"].astype(str)
    held, smaller = runs[labels == prediction["size"]], runs[labels.isin(prediction["sizes"])]
    if rows_sha256(smaller) != prediction["rows_sha256"]:
        raise TableError("prediction: made from other runs of the smaller sizes; make it anew")
    entry: dict[str, Any] = {
        "status": "fitted" if prediction["form"] is not None else prediction["status"],
        "reason": prediction["reason"],
        "size": prediction["size"] or None,
        "form": prediction["form"],
        "equation": prediction["equation"],
        "rows": [],
        "mean_absolute_error_percent": None,
        "inside_share": None,
        "baseline": None,
        "baseline_error_percent": None,
        "baseline_reason": "nothing was predicted",
        **{
            name: prediction[name]
            for name in ("certificate", "interval_method", "unconverged_refits", "parameters")
        },
        "comparison": prediction["comparison"],
        "rows_sha256": prediction["rows_sha256"],
        "prediction_sha256": None,
    }
    if prediction["form"] is None:
        return entry
    if held.empty:
        return entry | {"status": "no runs", "reason": f"no usable run of {prediction['size']}"}
    told = {
        int(loss["tokens"]): loss for loss in prediction["losses"] if loss["predicted"] is not None
    }
    tokens = [int(value) for value in held["tokens"]]
    if absent := sorted(set(tokens) - set(told)):
        raise TableError(f"prediction: has no horizon of {absent[0]} tokens; make it anew")
    bounded = prediction["interval_method"] is not None
    nearest = smaller[smaller["size"].astype(str) == prediction["sizes"][-1]]

    def column(name: str) -> Array:
        return np.array([told[value][name] for value in tokens], dtype=float)

    score = Score(
        column("predicted"),
        column("low") if bounded else None,
        column("high") if bounded else None,
        held["loss_text"].to_numpy(dtype=float),
        repeat(
            nearest["tokens"].to_numpy(dtype=float),
            nearest["loss_text"].to_numpy(dtype=float),
            np.array(tokens, dtype=float),
        ),
    )
    inside, beside = score.inside, score.baseline_percent
    return entry | {
        "rows": [
            {
                "seed": int(held["seed"].iloc[i]),
                "tokens": value,
                **{name: told[value][name] for name in ("predicted", "low", "high")},
                "actual": float(score.actual[i]),
                "error_percent": float(score.error_percent[i]),
                "inside": None if inside is None else bool(inside[i]),
                "baseline_error_percent": None if np.isnan(beside[i]) else float(beside[i]),
            }
            for i, value in enumerate(tokens)
        ],
        "mean_absolute_error_percent": score.mean_absolute_error_percent,
        "inside_share": score.inside_share,
        "baseline": f"mean loss of {prediction['sizes'][-1]} at the same tokens",
        "baseline_error_percent": score.baseline_error_percent,
        "baseline_reason": NO_BASELINE if score.baseline_error_percent is None else "",
    }
