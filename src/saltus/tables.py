"""From the jobs' outputs to the tables that all analysis begins with. No torch."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saltus.model.count import count_parameters, flops_6nd, flops_per_token
from saltus.train.spec import TrainSpec

MEASURED = (
    "loss_text",
    "loss_validation",
    "bits_per_byte",
    "loss_arithmetic",
)
"""Columns that a diverged row lacks."""


def runs_table(
    statuses: Sequence[Mapping[str, Any]],
    losses: pd.DataFrame,
    items: pd.DataFrame,
    training_domains: Sequence[str],
) -> pd.DataFrame:
    """Return `runs`: one row per (architecture, size, seed, horizon), smallest size first.

    `statuses` are the contents of the training jobs' `status.json`. Text losses are over the test
    split of the training domains, weighted by tokens; `loss_arithmetic` is the mean over the answer
    tokens of all held-out problems within the training distribution, terminators included.
    """
    rows = [row for status in statuses for row in _job_rows(status)]
    table = pd.DataFrame(rows)
    inside = losses[losses["domain"].isin(list(training_domains))]
    weighted = inside.assign(
        nats=inside["loss"] * inside["tokens"],
        bits=inside["bits_per_byte"] * inside["bytes"],
    )
    sums = weighted.groupby(["run", "split"])[["nats", "tokens", "bits", "bytes"]].sum()
    sums["loss"] = sums["nats"] / sums["tokens"]
    sums["bits_per_byte"] = sums["bits"] / sums["bytes"]
    test = sums.xs("test", level="split")
    validation = sums.xs("validation", level="split")
    table["loss_text"] = table["run"].map(test["loss"])
    table["loss_validation"] = table["run"].map(validation["loss"])
    table["bits_per_byte"] = table["run"].map(test["bits_per_byte"])
    if len(items):
        answered = items[items["in_distribution"].astype(bool)]
        answers = answered.groupby("run")[["target_nll", "target_tokens"]].sum()
        table["loss_arithmetic"] = table["run"].map(
            answers["target_nll"] / answers["target_tokens"]
        )
    measured = [column for column in MEASURED if column in table]
    table.loc[table["status"] != "ok", measured] = np.nan
    table["block"] = table["block"].astype("int64")
    order = ["params_nonembedding", "size", "horizon", "block", "replica"]
    return table.sort_values(order, kind="stable", ignore_index=True)


def _job_rows(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    spec = TrainSpec.from_json(json.dumps(status["spec"]))
    counts = count_parameters(spec.shape)
    rows = []
    for run in status["runs"]:
        replica = spec.replicas[run["replica"]]
        horizon = run["horizon"]
        rows.append(
            {
                "run": run["run"],
                "architecture": "transformer",
                "size": spec.size,
                "block": spec.block,
                "replica": run["replica"],
                "seed": replica.number,
                "horizon": horizon,
                "width": spec.shape.width,
                "depth": spec.shape.depth,
                "heads": spec.shape.heads,
                "params_total": counts.total,
                "params_embedding": counts.embedding,
                "params_head": counts.head,
                "params_nonembedding": counts.nonembedding,
                "tokens": horizon,
                "tokens_text": run["tokens_text"],
                "tokens_arithmetic": run["tokens_arithmetic"],
                "tokens_unique": run["tokens_unique"],
                "epochs": run["epochs"],
                "optimizer": spec.optimizer.name,
                "precision": spec.precision,
                **status["engine"],
                "flops_exact": float(flops_per_token(spec.shape)) * horizon,
                "flops_6nd": float(flops_6nd(spec.shape)) * horizon,
                "learning_rate": replica.rate,
                "rate_factor": replica.rate_factor,
                "batch_tokens": spec.batch_tokens,
                "status": run["status"],
                "seconds": run["seconds"],
                "tokens_per_second": horizon / run["seconds"],
                "peak_memory_bytes": status["peak_memory_bytes"],
                "device": status["device"],
                "code": status["code"],
                "config_hash": status["state"],
            }
        )
    return rows


def with_runs(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `table` whose run is not diverged: an analysis never sees the others."""
    healthy = runs.loc[runs["status"] == "ok", "run"]
    return table[table["run"].isin(healthy)].reset_index(drop=True)
