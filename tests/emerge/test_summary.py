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
        logit = 3 * np.log(params / 9000) + 2 * np.log(horizon / 2e6) + 0.5 * rng.normal()
        rows.append(
            {
                "size": size,
                "seed": seed,
                "horizon": horizon,
                "params_nonembedding": params,
                "task": "add_2",
                "arm": "plain",
                "items": 2000,
                "successes": int(rng.binomial(2000, 1 / (1 + np.exp(-logit)))),
                "guess_rate": 0.02,
                "distinct_items": distinct_items,
            }
        )
    return pd.DataFrame(rows)


def test_one_row_for_sizes_and_one_per_size_for_tokens() -> None:
    table = summarise_thresholds(scores())
    assert tuple(table.columns) == THRESHOLD_COLUMNS
    assert table["axis"].tolist() == ["params_nonembedding"] + ["tokens"] * 5
    assert table["size"].tolist()[1:] == ["s0", "s1", "s2", "s3", "s4"]
    by_size = table.iloc[0]
    assert by_size["status"] == "crossed" and by_size["num_replicas"] == 15
    assert by_size["low"] <= by_size["estimate"] <= by_size["high"]
    assert by_size["largest"] == 81000 and by_size["level"] == 0.5
    assert table.iloc[1]["status"] == "above largest" and table.iloc[1]["label"] == "> 4M"
    assert table.iloc[5]["status"] == "below smallest" and table.iloc[5]["num_replicas"] == 3


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
