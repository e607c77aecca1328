"""The prediction of a study's largest size, made from the others' runs: `prediction.json`.

`predict_largest` is handed the runs of the smaller sizes and, of the largest, only what the study
file says. What then came, `heldout.score_prediction` is handed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saltus.errors import TableError
from saltus.law.choice import LACKED, choose_form
from saltus.law.criterion import Criterion
from saltus.law.forecast import Array, Sample, forecast, interval_entries, rows_of
from saltus.law.jackknife import SIZE_PARAMETERS
from saltus.law.plain import plain
from saltus.law.runs import (
    replicas_of,
    rows_sha256,
    sizes_in_order,
    unique_tokens,
    variables_of,
)
from saltus.law.solve import HUBER

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
    """Return the content of `prediction.json` as plain JSON, from usable `runs` of smaller sizes.

    `scored` marks the horizons that the law covers, from `minimum_tokens` on; at the others a form
    that asks for unique tokens foretells null where these are not known. Without a chosen form
    there are no losses but a status and a reason. Raises `TableError` if a run of the target, or
    of a size that is no smaller, is among them.
    """
    sizes = sizes_in_order(runs)
    late = runs["size"].astype(str).eq(target.size) | (runs["params_total"] > target.params_total)
    if late.any():
        raise TableError(
            f"runs: found {runs.loc[late, 'run'].iloc[0]}, expected only sizes below {target.size}"
        )
    rows, targets, lacking = _variables(runs, target, minimum_tokens)
    choice = choose_form(rows, lacking=lacking, criterion=criterion, seed=seed)
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
        prediction |= {
            "status": "too few sizes" if few else "no form chosen",
            "reason": reason if few else choice.reason,
        }
        refused: dict[str, Any] = plain(prediction)
        return refused
    made = forecast(choice.form, rows, targets, criterion=criterion, seed=seed)
    prediction |= {
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
    document: dict[str, Any] = plain(prediction)
    return document


def _variables(
    runs: pd.DataFrame, target: Target, minimum_tokens: int
) -> tuple[Sample, dict[str, Array], dict[str, str]]:
    """Return rows, the target's variables, and what both lack with the reason, by variable.

    U is there if it is known at every horizon of the rows and at every one that will be scored;
    where else it is not known it is NaN.
    """
    table = variables_of(runs)
    num = len(target.tokens)
    targets = {
        "N": np.full(num, float(target.params_total)),
        "D": np.asarray(target.tokens, dtype=float),
    }
    known, lacking = unique_tokens(runs), {}
    scored = {tokens for tokens in target.tokens if tokens >= minimum_tokens}
    unknown = sorted((scored | {int(tokens) for tokens in runs["tokens"]}) - set(known))
    if unknown:
        lacking["U"] = f"not known at {unknown[0]:,} tokens" if known else LACKED
    else:
        table["U"] = np.array([known[int(tokens)] for tokens in runs["tokens"]])
        targets["U"] = np.array([known.get(tokens, np.nan) for tokens in target.tokens])
    rows = rows_of(
        table,
        runs["loss_text"].to_numpy(dtype=float),
        [str(size) for size in runs["size"]],
        replicas_of(runs),
        runs["flops_exact"].to_numpy(dtype=float),
    )
    return rows, targets, lacking
