"""The prediction of a study's largest size: made from the others' runs, later held to its own.

`predict_largest` gives the content of `prediction.json`. It is handed the runs of the smaller sizes
and, of the largest, only what the study file says; `score_prediction` is handed what then came.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saltus.errors import TableError
from saltus.law.compare import choose_form
from saltus.law.criterion import Criterion
from saltus.law.forecast import Array, Sample, Score, forecast, interval_entries, repeat, rows_of
from saltus.law.intervals import SIZE_PARAMETERS
from saltus.law.solve import HUBER

HASHED = ("run", "size", "seed", "params_total", "tokens", "flops_exact", "loss_text")
CONVENTION = {
    "params": "params_total",
    "tokens": "tokens",
    "compute": "flops_exact",
    "loss": "loss_text (nats/token)",
    "unique": "tokens - tokens_text + tokens_unique",
}


@dataclass(frozen=True)
class Target:
    """The size to be predicted: its N and its horizons, in tokens and exact FLOPs."""

    size: str
    params_total: int
    tokens: tuple[int, ...]
    flops_exact: tuple[float, ...]


def variables_of(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the law's variables: N is `params_total`, D is `tokens`."""
    return {
        "N": runs["params_total"].to_numpy(dtype=float),
        "D": runs["tokens"].to_numpy(dtype=float),
    }


def replicas_of(runs: pd.DataFrame) -> list[tuple[str, int]]:
    """Return the (size, seed) of every row: horizons of one replica share a trunk."""
    return [(str(size), int(seed)) for size, seed in zip(runs["size"], runs["seed"], strict=True)]


def sizes_in_order(runs: pd.DataFrame) -> list[str]:
    """Return size names by growing `params_total`."""
    ordered = runs.sort_values("params_total", kind="stable")
    return list(dict.fromkeys(str(size) for size in ordered["size"]))


def unique_tokens(runs: pd.DataFrame) -> dict[int, float] | None:
    """Return the distinct tokens among those of each horizon, or None where they are not known.

    Text may repeat, generated arithmetic does not. Every size sees the same tokens.
    """
    if not {"tokens_text", "tokens_unique"} <= set(runs.columns):
        return None
    unique = (runs["tokens"] - runs["tokens_text"] + runs["tokens_unique"]).to_numpy(dtype=float)
    if not np.all(np.isfinite(unique) & (unique > 0)):
        return None
    tokens = runs["tokens"].to_numpy(dtype=int)
    return {int(value): float(np.mean(unique[tokens == value])) for value in np.unique(tokens)}


def rows_sha256(runs: pd.DataFrame) -> str:
    """Return the hash of the rows a prediction rests on: canonical JSON, sorted by run."""
    ordered = runs.sort_values("run", kind="stable")
    rows = [[_scalar(value) for value in row] for row in ordered[list(HASHED)].to_numpy(object)]
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def without_largest(runs: pd.DataFrame) -> tuple[pd.DataFrame, Target]:
    """Split usable `runs`: those of the smaller sizes, and the largest one's design alone."""
    sizes = sizes_in_order(runs)
    if not sizes:
        return runs, Target("", 0, (), ())
    labels = runs["size"].astype(str)
    design = runs[labels == sizes[-1]].drop_duplicates("tokens").sort_values("tokens")
    return runs[labels != sizes[-1]], Target(
        sizes[-1],
        int(design["params_total"].iloc[0]),
        tuple(int(tokens) for tokens in design["tokens"]),
        tuple(float(flops) for flops in design["flops_exact"]),
    )


def predict_largest(
    runs: pd.DataFrame,
    target: Target,
    *,
    minimum_tokens: int = 0,
    criterion: Criterion = HUBER,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the content of `prediction.json`, from usable `runs` of the smaller sizes.

    `scored` marks the horizons that the law covers, from `minimum_tokens` on. Without a chosen form
    there are no losses but a status and a reason. Raises `TableError` if a run of the target, or
    of a size that is no smaller, is among them.
    """
    sizes = sizes_in_order(runs)
    late = runs["size"].astype(str).eq(target.size) | (runs["params_total"] > target.params_total)
    if late.any():
        raise TableError(
            f"runs: found {runs.loc[late, 'run'].iloc[0]}, expected only sizes below {target.size}"
        )
    rows, targets = _variables(runs, target)
    choice = choose_form(rows, criterion=criterion, seed=seed)
    prediction: dict[str, Any] = {
        "status": "predicted",
        "reason": "",
        "size": target.size,
        "params_total": target.params_total,
        "form": None,
        "equation": None,
        "source": None,
        "parameters": None,
        "certificate": None,
        **interval_entries(None),
        "losses": [],
        "comparison": choice.to_dict(),
        "convention": CONVENTION,
        "criterion": str(criterion),
        "minimum_tokens": minimum_tokens,
        "seed": seed,
        "sizes": sizes,
        "rows": len(runs),
        "rows_sha256": rows_sha256(runs),
    }
    if choice.form is None:
        few = len(sizes) < SIZE_PARAMETERS
        reason = f"{len(sizes)} sizes below the largest; needs {SIZE_PARAMETERS}"
        return prediction | {
            "status": "too few sizes" if few else "no form chosen",
            "reason": reason if few else choice.reason,
        }
    made = forecast(choice.form, rows, targets, criterion=criterion, seed=seed)
    return prediction | {
        "reason": made.reason,
        "form": choice.form.name,
        "equation": choice.form.equation,
        "source": choice.form.source,
        "parameters": made.fitted.parameters,
        "certificate": made.fitted.certificate.to_dict(),
        **interval_entries(made.errors),
        "losses": [
            {
                "tokens": tokens,
                "flops_exact": target.flops_exact[i],
                "predicted": float(made.predicted[i]),
                "low": None if made.low is None else float(made.low[i]),
                "high": None if made.high is None else float(made.high[i]),
                "scored": tokens >= minimum_tokens,
            }
            for i, tokens in enumerate(target.tokens)
        ],
    }


def _variables(runs: pd.DataFrame, target: Target) -> tuple[Sample, dict[str, Array]]:
    """Return rows and the target's variables, with U if it is known at every horizon of both."""
    table = variables_of(runs)
    num = len(target.tokens)
    targets = {
        "N": np.full(num, float(target.params_total)),
        "D": np.asarray(target.tokens, dtype=float),
    }
    unique = unique_tokens(runs)
    if unique is not None and set(target.tokens) <= set(unique):
        table["U"] = np.array([unique[int(tokens)] for tokens in runs["tokens"]])
        targets["U"] = np.array([unique[tokens] for tokens in target.tokens])
    rows = rows_of(
        table,
        runs["loss_text"].to_numpy(dtype=float),
        [str(size) for size in runs["size"]],
        replicas_of(runs),
        runs["flops_exact"].to_numpy(dtype=float),
    )
    return rows, targets


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
    told = {int(loss["tokens"]): loss for loss in prediction["losses"]}
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
    }
