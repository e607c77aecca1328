"""Probabilities below one in n, and the exact test of draws against SciPy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltus.emerge.resolution import (
    AGREEMENT_COLUMNS,
    PROBABILITY_COLUMNS,
    agreement_table,
    log_mean_interval,
    probability_table,
    sum_of_binomials,
)
from saltus.errors import TableError


def items(seed: int = 0, runs: int = 2, count: int = 300, shift: float = 0.0) -> pd.DataFrame:
    """Draws that follow exp(−target_nll) times exp(shift)."""
    rng = np.random.default_rng(seed)
    nll = rng.gamma(4.0, 0.5, runs * count)
    item = np.tile(np.arange(count), runs)
    sampled = pd.Series(np.where(item < 32, 64, -1), dtype="Int64").replace(-1, pd.NA)
    drawn = pd.Series(rng.binomial(64, np.exp(-nll + shift)), dtype="Int64")
    return pd.DataFrame(
        {
            "run": np.repeat([f"r{i}" for i in range(runs)], count),
            "task": "add_2",
            "arm": "plain",
            "item": item,
            "exact": rng.random(runs * count) < np.exp(-nll),
            "target_nll": nll,
            "sampled": sampled,
            "sampled_exact": drawn.where(sampled.notna(), pd.NA),
            "in_distribution": True,
        }
    )


@pytest.mark.parametrize("chances", [[0.3] * 6, [0.0, 1.0, 0.5], [1e-9, 0.2, 0.999, 0.5, 0.5]])
def test_a_sum_of_binomials_equals_scipy(chances: list[float]) -> None:
    trials = np.arange(1, len(chances) + 1)
    mass = sum_of_binomials(trials, chances)
    each = np.repeat(chances, trials)
    expected = stats.poisson_binom.pmf(np.arange(each.size + 1), each)
    np.testing.assert_allclose(mass, expected, atol=1e-13)
    one = sum_of_binomials([2000], [0.01])
    np.testing.assert_allclose(one, stats.binom.pmf(np.arange(2001), 2000, 0.01), atol=1e-13)


def test_draws_from_the_probability_agree_and_others_do_not() -> None:
    table = agreement_table(items(runs=200))
    assert tuple(table.columns) == AGREEMENT_COLUMNS and len(table) == 200
    assert (table["problems"] == 32).all() and (table["sampled"] == 32 * 64).all()
    # Exact two-sided p-values of a discrete sum are uniform or a little above.
    assert 0.01 <= (table["p_value"] < 0.05).mean() <= 0.09
    assert abs(table["z"].mean()) < 0.25 and table["z"].std() == pytest.approx(1, abs=0.15)
    assert (agreement_table(items(shift=-0.5))["p_value"] < 1e-6).all()


def test_a_run_without_draws_has_no_row_and_impossible_counts_are_refused() -> None:
    table = items()
    without = table.assign(sampled=table["sampled"].mask(table["run"] == "r0"))
    assert agreement_table(without)["run"].tolist() == ["r1"]
    for wrong in (65, None):
        broken = table.copy()
        broken.loc[3, "sampled_exact"] = wrong
        with pytest.raises(TableError, match="sampled_exact"):
            agreement_table(broken)


def test_a_cell_without_right_answers_has_a_probability() -> None:
    table = items(runs=1).assign(exact=False)
    table["target_nll"] += 8
    row = probability_table(table).iloc[0]
    assert tuple(row.index) == PROBABILITY_COLUMNS
    assert row["exact_match"] == 0 == row["exact_match_low"]
    assert row["exact_match_high"] == pytest.approx(1 - 0.025 ** (1 / 300))
    assert 0 < row["probability_low"] < row["probability"] < row["probability_high"] < 1e-3
    assert row["probability"] == pytest.approx(np.exp(-table["target_nll"]).mean())
    assert row["difference"] == pytest.approx(-row["probability"])
    assert 1 <= row["effective_items"] <= row["items"] == 300


def test_a_mean_that_few_items_carry_has_no_limits() -> None:
    table = items(runs=1)
    table["target_nll"] = np.where(table["item"] < 5, 1.0, 20.0)
    row = probability_table(table).iloc[0]
    assert row["effective_items"] == pytest.approx(5, rel=1e-4)
    assert np.isnan(row["probability_low"]) and row["probability"] > 0


def test_greedy_less_sampling_is_a_paired_difference() -> None:
    table = items(runs=1)
    row = probability_table(table).iloc[0]
    test = stats.ttest_1samp(table["exact"] - np.exp(-table["target_nll"]), 0)
    low, high = test.confidence_interval()
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high))


@pytest.mark.parametrize(("spread", "least"), [(0.5, 0.92), (1.0, 0.90)])
def test_the_interval_of_a_probability_covers(spread: float, least: float) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = log_mean_interval(np.exp(spread * rng.normal(size=300) - 6))
        held += low <= np.exp(spread**2 / 2 - 6) <= high
    assert held / 400 >= least


def test_nothing_positive_has_no_interval() -> None:
    assert np.isnan(log_mean_interval([0.0, 0.0])).all()
    assert np.isnan(log_mean_interval([0.3])).all()
    assert log_mean_interval([0.25, 0.25]) == pytest.approx((0.25, 0.25))
