"""Scores: intervals against closed forms and statsmodels, the table against a plain loop."""

import numpy as np
import pandas as pd
import pytest

from saltus.emerge.scores import SCORE_COLUMNS, clopper_pearson, score_table, wilson
from saltus.errors import TableError


def test_wilson_upper_limit_at_none_of_two_thousand() -> None:
    low, high = wilson(0, 2000)
    assert low == 0
    assert 0.0019 < high <= 0.00192


@pytest.mark.parametrize(("function", "method"), [(wilson, "wilson"), (clopper_pearson, "beta")])
def test_intervals_equal_statsmodels(function, method) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    successes = np.array([0, 1, 3, 50, 99, 100])
    low, high = function(successes, 100)
    expected_low, expected_high = proportion.proportion_confint(successes, 100, 0.05, method)
    np.testing.assert_allclose(low, expected_low, atol=1e-12)
    np.testing.assert_allclose(high, expected_high, atol=1e-12)


def test_intervals_mirror_and_leave_empty_cells_null() -> None:
    for function in (wilson, clopper_pearson):
        low, high = function([3, 17, 0], [20, 20, 0])
        np.testing.assert_allclose([low[0], high[0]], [1 - high[1], 1 - low[1]])
        assert np.isnan(low[2]) and np.isnan(high[2])
        with pytest.raises(ValueError, match="outside"):
            function(5, 4)


def tables(seed: int = 0, per_cell: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    runs = pd.DataFrame(
        {
            "run": ["b", "a"],
            "size": ["s1", "s0"],
            "seed": 0,
            "horizon": 1000,
            "params_nonembedding": [9000, 600],
            "params_total": [13000, 4600],
            "tokens": 1000,
            "flops_exact": 1e9,
            "loss_text": 3.5,
        }
    )
    cells = [(run, task) for run in ("a", "b") for task in ("add_2", "chain_2")]
    items = pd.concat(
        pd.DataFrame(
            {
                "run": run,
                "task": task,
                "arm": "plain",
                "item": np.arange(per_cell),
                "prompt": [f"{i % 25}+1=" for i in range(per_cell)],
                "exact": rng.random(per_cell) < 0.4,
                "digits_correct": rng.integers(0, 3, per_cell),
                "digits": 2,
                "edit_distance": rng.integers(0, 3, per_cell),
                "target_nll": rng.exponential(1.0, per_cell),
                "confidence": rng.random(per_cell),
                "in_distribution": np.arange(per_cell) < 30,
                "guess_rate": 0.02,
                "neighbour_exact": rng.random(per_cell) < 0.1,
            }
        )
        for run, task in cells
    )
    return items.reset_index(drop=True), runs


def test_table_equals_a_plain_loop_over_items_in_distribution() -> None:
    items, runs = tables()
    scores = score_table(items, runs)
    assert tuple(scores.columns) == SCORE_COLUMNS
    assert list(scores["run"]) == ["a", "a", "b", "b"]
    for row in scores.itertuples():
        mine = items[
            (items["run"] == row.run) & (items["task"] == row.task) & items["in_distribution"]
        ]
        assert row.items == len(mine) == 30
        assert row.successes == mine["exact"].sum()
        assert row.exact_match == pytest.approx(mine["exact"].mean())
        assert row.exact_match_low <= row.exact_match <= row.exact_match_high
        assert row.expected_exact_match == pytest.approx(np.exp(-mine["target_nll"]).mean())
        assert row.digit_accuracy == pytest.approx(
            mine["digits_correct"].sum() / mine["digits"].sum()
        )
        assert row.target_nll == pytest.approx(mine["target_nll"].mean())
        assert row.brier == pytest.approx(((mine["confidence"] - mine["exact"]) ** 2).mean())
        assert row.neighbour_accuracy == pytest.approx(mine["neighbour_exact"].mean())
        assert row.distinct_items == 25
    assert scores["params_total"].tolist() == [4600, 4600, 13000, 13000]


def test_row_order_does_not_matter() -> None:
    items, runs = tables()
    shuffled = score_table(items.sample(frac=1, random_state=1), runs.iloc[::-1])
    pd.testing.assert_frame_equal(score_table(items, runs), shuffled)


def test_what_cannot_be_scored_is_named() -> None:
    items, runs = tables()
    with pytest.raises(TableError, match=r"items: no column 'exact'.*exacts"):
        score_table(items.rename(columns={"exact": "exacts"}), runs)
    with pytest.raises(TableError, match="'b' is not in runs"):
        score_table(items, runs[runs["run"] == "a"])
    with pytest.raises(TableError, match="two rows"):
        score_table(items, pd.concat([runs, runs]))
    with pytest.raises(TableError, match="nulls in 'target_nll'"):
        score_table(items.assign(target_nll=np.nan), runs)


def test_nothing_in_distribution_gives_an_empty_table() -> None:
    items, runs = tables()
    scores = score_table(items.assign(in_distribution=False), runs)
    assert scores.empty and tuple(scores.columns) == SCORE_COLUMNS
