"""The thresholds table from a table of scores."""

import numpy as np
import pandas as pd
import pytest

from saltus.emerge.summary import THRESHOLD_COLUMNS, summarise_thresholds
from saltus.errors import TableError


def scores(distinct_items: int = 2000) -> pd.DataFrame:
    """Five sizes, three seeds, three horizons; accuracy rises with size and tokens."""
    rng = np.random.default_rng(0)
    sizes = [(f"s{i}", int(1000 * 3**i)) for i in range(5)]
    rows = []
    for (size, params), seed, horizon in [
        (s, seed, h) for s in sizes for seed in range(3) for h in (10**6, 2 * 10**6, 4 * 10**6)
    ]:
        reach = 3 * np.log(params / 9000) + 2 * np.log(horizon / 2e6)
        logit = reach + 0.5 * rng.normal()
        rows.append(
            {
                "size": size,
                "seed": seed,
                "horizon": horizon,
                "params_nonembedding": params,
                "flops_exact": 6.0 * params * horizon,
                "loss_text": 2 + np.exp(-0.1 * reach) + 0.01 * seed,
                "task": "add_2",
                "arm": "plain",
                "items": 2000,
                "successes": int(rng.binomial(2000, 1 / (1 + np.exp(-logit)))),
                "guess_rate": 0.02,
                "distinct_items": distinct_items,
            }
        )
    return pd.DataFrame(rows)


def test_one_row_for_each_axis_and_one_per_size_for_tokens() -> None:
    table = summarise_thresholds(scores())
    assert tuple(table.columns) == THRESHOLD_COLUMNS
    axes = ["params_nonembedding", "flops_exact", "loss_text"]
    assert table["axis"].tolist() == axes + ["tokens"] * 5
    assert table["size"].tolist()[3:] == ["s0", "s1", "s2", "s3", "s4"]
    by_size = table.iloc[0]
    assert by_size["status"] == "crossed" and by_size["num_replicas"] == 15
    assert by_size["low"] <= by_size["estimate"] <= by_size["high"]
    assert by_size["n50_low"] <= by_size["n50"] <= by_size["n50_high"]
    assert by_size["width_low"] <= by_size["width_decades"] <= by_size["width_high"]
    assert by_size["largest"] == 81000 and by_size["level"] == 0.5
    assert table.iloc[3]["status"] == "above largest" and table.iloc[3]["label"] == "> 4M"
    assert table.iloc[7]["status"] == "below smallest" and table.iloc[7]["num_replicas"] == 3


def test_compute_follows_size_and_loss_runs_downwards() -> None:
    """At one horizon compute is proportional to size; a loss takes all sizes and horizons."""
    table = summarise_thresholds(scores()).set_index("axis")
    size, compute = table.loc["params_nonembedding"], table.loc["flops_exact"]
    for name in ("estimate", "low", "high", "n50", "first_crossing_high"):
        assert compute[name] == pytest.approx(6 * 4e6 * size[name], rel=1e-3)
    for name in ("width_decades", "overdispersion"):
        assert compute[name] == pytest.approx(size[name], rel=1e-2)
    loss = table.loc["loss_text"]
    assert loss["num_replicas"] == 45 and pd.isna(loss["heterogeneity"])
    assert loss["smallest"] < loss["estimate"] < loss["largest"] < 6
    assert loss["first_crossing_low"] < loss["first_crossing_high"]


def test_runs_without_a_loss_are_counted() -> None:
    table = scores()
    table.loc[0, "loss_text"] = np.nan
    found = summarise_thresholds(table).set_index("axis")
    assert "1 without a loss" in found.loc["loss_text", "reason"]
    assert found.loc["loss_text", "num_replicas"] == 44


def test_order_of_rows_does_not_matter() -> None:
    table = scores()
    shuffled = summarise_thresholds(table.sample(frac=1, random_state=3))
    pd.testing.assert_frame_equal(summarise_thresholds(table), shuffled)


def test_small_cells_keep_a_threshold_without_a_verdict() -> None:
    table = summarise_thresholds(scores(distinct_items=55))
    assert table["reason"].str.contains("55 distinct items, no verdict").all()
    assert table.iloc[0]["status"] == "crossed"


def test_few_sizes_are_undecided_and_missing_runs_are_counted() -> None:
    table = scores()
    few = summarise_thresholds(table[table["size"].isin(["s0", "s1", "s2"])])
    assert few.iloc[0]["status"] == "undecided"
    lacking = table[(table["size"] != "s4") | (table["horizon"] < 4e6)]
    assert "largest horizon for s4" in summarise_thresholds(lacking).iloc[0]["reason"]


def test_empty_and_misspelt_tables() -> None:
    assert summarise_thresholds(scores().iloc[:0]).empty
    with pytest.raises(TableError, match="successes"):
        summarise_thresholds(scores().rename(columns={"successes": "succeses"}))
