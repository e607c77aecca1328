"""A study's `runs` table as the laws read it: usable rows, variables, replicas, sizes, its hash."""

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from saltus.errors import TableError

COLUMNS = (
    "run", "size", "seed", "horizon", "params_total", "tokens", "flops_exact", "loss_text",
    "status",
)  # fmt: skip
HASHED = ("run", "size", "seed", "params_total", "tokens", "flops_exact", "loss_text")


def usable_runs(runs: pd.DataFrame, minimum_tokens: int = 0) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows a law may use, and how many were dropped for which reason.

    Dropped are rows by their status, rows of a rate sweep (`rate_factor` not 1), rows without a
    loss, and horizons below `minimum_tokens`. Raises `TableError` if a column is missing.
    """
    missing = [name for name in COLUMNS if name not in runs.columns]
    if missing:
        raise TableError(f"runs: column {missing[0]} is missing; the laws need it")
    dropped = {"diverged": 0}
    for status, count in (
        runs.loc[runs["status"] != "ok", "status"].value_counts(dropna=False).items()
    ):
        dropped[str(status)] = int(count)
    kept = runs[runs["status"] == "ok"]
    if "rate_factor" in kept.columns:
        swept = kept["rate_factor"].to_numpy(dtype=float) != 1.0
        if swept.any():
            dropped["other learning rate"] = int(swept.sum())
        kept = kept[~swept]
    unknown = ~np.isfinite(kept["loss_text"].to_numpy(dtype=float, na_value=np.nan))
    if unknown.any():
        dropped["no loss"] = int(unknown.sum())
    kept = kept[~unknown]
    short = kept["tokens"].to_numpy(dtype=float) < minimum_tokens
    if short.any():
        dropped[f"below {minimum_tokens} tokens"] = int(short.sum())
    return kept[~short].reset_index(drop=True), dropped


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


def unique_tokens(runs: pd.DataFrame) -> dict[int, float]:
    """Return the distinct tokens among those of each horizon, for horizons where they are known.

    Text may repeat, generated arithmetic does not. Every size sees the same tokens.
    """
    if not {"tokens_text", "tokens_unique"} <= set(runs.columns):
        return {}
    unique = (runs["tokens"] - runs["tokens_text"] + runs["tokens_unique"]).to_numpy(dtype=float)
    tokens = runs["tokens"].to_numpy(dtype=int)
    means = {int(value): float(np.mean(unique[tokens == value])) for value in np.unique(tokens)}
    return {value: mean for value, mean in means.items() if np.isfinite(mean) and mean > 0}


def rows_sha256(runs: pd.DataFrame) -> str:
    """Return the hash of the rows a prediction rests on: canonical JSON, sorted by run."""
    ordered = runs.sort_values("run", kind="stable")
    rows = [[_scalar(value) for value in row] for row in ordered[list(HASHED)].to_numpy(object)]
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
