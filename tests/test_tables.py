"""The table of runs from records made by hand: counts, weights, order, and diverged rows."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltus.model.count import count_parameters, flops_6nd, flops_per_token
from saltus.tables import runs_table, with_runs
from saltus.train.engine import Engine
from saltus.train.spec import TrainSpec

HORIZON = 640
COLUMNS = """
run architecture size block replica seed horizon width depth heads params_total params_embedding
params_head params_nonembedding tokens tokens_text tokens_arithmetic tokens_unique epochs optimizer
precision kernels replicas_at_once micro_batches checkpointing processes sharding
flops_exact flops_6nd loss_text loss_validation bits_per_byte loss_arithmetic learning_rate
rate_factor batch_tokens status seconds tokens_per_second peak_memory_bytes device code config_hash
"""


@pytest.fixture
def small(make_spec: Callable[..., TrainSpec]) -> TrainSpec:
    return make_spec((10,))


@pytest.fixture
def large(small: TrainSpec) -> TrainSpec:
    shape = dataclasses.replace(small.shape, width=16)
    return dataclasses.replace(small, size="s0", shape=shape)


def status_of(spec: TrainSpec, *, diverged: tuple[int, ...] = ()) -> dict[str, Any]:
    """What a training job leaves behind, with times made up."""
    runs = [
        {
            "run": f"{spec.size}-{replica.name}-h{HORIZON}",
            "replica": row,
            "name": replica.name,
            "horizon": HORIZON,
            "status": "diverged" if row in diverged else "ok",
            "seconds": 2.0 + row,
            "tokens_text": 320,
            "tokens_arithmetic": 320,
            "tokens_unique": 300,
            "epochs": 320 / 300,
        }
        for row, replica in enumerate(spec.replicas)
    ]
    return {
        "spec": json.loads(spec.to_json()),
        "state": f"key of {spec.size}",
        "code": "0123",
        "torch": "2",
        "device": "cpu",
        "engine": dataclasses.asdict(Engine("written", 2)) | {"processes": 1, "sharding": "none"},
        "peak_memory_bytes": 10**8,
        "runs": runs,
    }


def losses_of(runs: list[str]) -> pd.DataFrame:
    """Three domains, of different lengths, with losses that tell which was counted."""
    generator = np.random.default_rng(0)
    rows = [
        {
            "run": run,
            "domain": domain,
            "split": split,
            "tokens": tokens,
            "bytes": num_bytes,
            "loss": float(generator.uniform(2, 5)),
            "bits_per_byte": float(generator.uniform(1, 2)),
        }
        for run in runs
        for domain, tokens, num_bytes in (("a", 300, 900), ("b", 100, 500), ("shift", 700, 1_000))
        for split in ("validation", "test")
    ]
    return pd.DataFrame(rows)


def items_of(runs: list[str]) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    counts = generator.integers(2, 6, size=20 * len(runs))
    return pd.DataFrame(
        {
            "run": np.repeat(runs, 20),
            "target_tokens": counts,
            "target_nll": counts * generator.uniform(0, 2, size=len(counts)),
            "in_distribution": np.arange(len(counts)) % 4 > 0,
        }
    )


def make_table(*statuses: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    names = [run["run"] for status in statuses for run in status["runs"]]
    losses, items = losses_of(names), items_of(names)
    return runs_table(statuses, losses, items, ["a", "b"]), losses, items


def test_the_columns_are_those_of_the_contract(small: TrainSpec) -> None:
    table, _, _ = make_table(status_of(small))
    assert set(table.columns) == set(COLUMNS.split())
    assert not table.isna().any(axis=None)


def test_text_losses_are_weighted_by_tokens_over_the_training_domains(small: TrainSpec) -> None:
    table, losses, items = make_table(status_of(small))
    for row in table.itertuples():
        for column, split in (("loss_text", "test"), ("loss_validation", "validation")):
            own = losses[(losses["run"] == row.run) & (losses["split"] == split)]
            own = own.set_index("domain")
            expected = (300 * own.loc["a", "loss"] + 100 * own.loc["b", "loss"]) / 400
            assert getattr(row, column) == pytest.approx(expected)
        own = losses[(losses["run"] == row.run) & (losses["split"] == "test")].set_index("domain")
        bits = (900 * own.loc["a", "bits_per_byte"] + 500 * own.loc["b", "bits_per_byte"]) / 1400
        assert row.bits_per_byte == pytest.approx(bits)
        answers = items[(items["run"] == row.run) & items["in_distribution"]]
        assert row.loss_arithmetic == pytest.approx(
            answers["target_nll"].sum() / answers["target_tokens"].sum()
        )


def test_counts_are_those_of_the_shape(small: TrainSpec) -> None:
    table, _, _ = make_table(status_of(small))
    counts = count_parameters(small.shape)
    for row in table.itertuples():
        assert row.params_total == counts.total == row.params_embedding + row.params_nonembedding
        assert row.params_head == 0
        assert row.flops_exact == flops_per_token(small.shape) * HORIZON
        assert row.flops_6nd == flops_6nd(small.shape) * HORIZON == 6 * counts.total * HORIZON
        assert row.tokens == row.horizon == row.tokens_text + row.tokens_arithmetic
        assert row.tokens_per_second == pytest.approx(HORIZON / row.seconds)
        assert row.learning_rate == small.replicas[row.replica].rate
        assert row.seed == small.replicas[row.replica].number


def test_rows_come_smallest_size_first(small: TrainSpec, large: TrainSpec) -> None:
    table, _, _ = make_table(status_of(large), status_of(small))
    assert table["size"].tolist() == ["s1", "s1", "s0", "s0"]
    assert table["replica"].tolist() == [0, 1, 0, 1]
    assert table["params_nonembedding"].is_monotonic_increasing
    turned, _, _ = make_table(status_of(small), status_of(large))
    assert turned["run"].tolist() == table["run"].tolist()


def test_a_diverged_row_stays_and_measures_nothing(small: TrainSpec) -> None:
    table, losses, items = make_table(status_of(small, diverged=(1,)))
    measured = ["loss_text", "loss_validation", "bits_per_byte", "loss_arithmetic"]
    assert table["status"].tolist() == ["ok", "diverged"]
    assert table.loc[1, measured].isna().all() and table.loc[0, measured].notna().all()
    assert table.loc[1, ["tokens", "seconds", "learning_rate"]].notna().all()
    kept = with_runs(items, table)
    assert set(kept["run"]) == {table.loc[0, "run"]}
    assert len(kept) == 20 and kept.index.tolist() == list(range(20))
    assert len(with_runs(losses, table)) == len(losses) / 2


def test_without_items_there_is_no_arithmetic_loss(small: TrainSpec) -> None:
    status = status_of(small)
    losses = losses_of([run["run"] for run in status["runs"]])
    table = runs_table([status], losses, pd.DataFrame({"run": []}), ["a"])
    assert "loss_arithmetic" not in table
    assert set(COLUMNS.split()) - set(table.columns) == {"loss_arithmetic"}
