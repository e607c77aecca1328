"""Seeds: shares against closed forms, one kind of seed told from two, and honest nulls."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltus.emerge.mixture import _log_mass, bimodality_coefficient, two_kinds
from saltus.emerge.scores import wilson
from saltus.emerge.seeds import SEED_COLUMNS, seed_table
from saltus.errors import TableError


def scores(shares: list[float], items: int = 200) -> pd.DataFrame:
    """One size, one seed per share, at two horizons, the shorter of which is all wrong."""
    return pd.DataFrame(
        {
            "task": "add_2",
            "arm": "plain",
            "size": "s1",
            "seed": seed,
            "horizon": horizon,
            "params_nonembedding": 600,
            "items": items,
            "successes": round(share * items) if horizon == 20 else 0,
        }
        for seed, share in enumerate(shares)
        for horizon in (10, 20)
    )


def test_shares_and_means_by_hand() -> None:
    (row,) = seed_table(scores([0.1, 0.5, 0.9, 0.2, 0.7])).to_dict("records")
    assert tuple(row) == SEED_COLUMNS
    assert (row["num_seeds"], row["num_learnt"], row["horizon"]) == (5, 3, 20)
    assert row["learnt_share"] == 0.6
    assert (row["learnt_low"], row["learnt_high"]) == pytest.approx(tuple(map(float, wilson(3, 5))))
    assert row["mean"] == pytest.approx(0.48)
    assert row["mean_given_learnt"] == pytest.approx(0.7)
    assert row["spread_given_learnt"] == pytest.approx(0.2)
    assert np.isnan(row["p_value"]) and np.isnan(row["bimodality_coefficient"])
    assert row["reason"] == "5 seeds, 20 needed for two kinds"


def test_few_seeds_show_counts_only() -> None:
    (row,) = seed_table(scores([0.1, 0.9, 0.8, 0.2])).to_dict("records")
    assert (row["num_seeds"], row["num_learnt"]) == (4, 2)
    assert np.isnan(row["learnt_share"]) and np.isnan(row["mean_given_learnt"])
    assert row["reason"] == "4 seeds, 5 needed"
    none = seed_table(scores([0.1] * 6)).iloc[0]
    assert none["learnt_share"] == 0 == none["learnt_low"] and np.isnan(none["mean_given_learnt"])


def test_order_does_not_matter_and_what_lacks_is_named() -> None:
    table = scores(list(np.random.default_rng(0).random(24)))
    pd.testing.assert_frame_equal(
        seed_table(table), seed_table(table.sample(frac=1, random_state=1))
    )
    assert seed_table(table.iloc[:0]).empty
    with pytest.raises(TableError, match="successes"):
        seed_table(table.drop(columns="successes"))


def test_two_kinds_of_seeds_are_told_from_one() -> None:
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal(0.05, 0.02, 12), rng.normal(0.9, 0.03, 12)]).clip(0, 1)
    (row,) = seed_table(scores(list(two))).to_dict("records")
    assert row["p_value"] == pytest.approx(1 / 200) and row["reason"] == ""
    assert row["bimodality_coefficient"] > 5 / 9
    assert row["lower_mean"] < 0.15 and row["upper_mean"] > 0.8
    assert row["upper_share"] == pytest.approx(0.5, abs=0.05)
    one = scores(list(rng.beta(4, 4, 24)))
    (row,) = seed_table(one).to_dict("records")
    assert row["p_value"] > 0.05 and row["bimodality_coefficient"] < 5 / 9


def test_wide_and_skewed_single_kinds_rarely_look_like_two() -> None:
    rng = np.random.default_rng(1)
    found = [
        two_kinds(rng.binomial(200, rng.beta(a, b, 20)), np.full(20, 200), seed=i, draws=39).p_value
        for i, (a, b) in enumerate([(1, 1), (1, 8), (5, 1.5), (30, 30)] * 5)
    ]
    assert np.mean(np.array(found) <= 0.05) <= 0.2


def test_the_mass_is_scipys() -> None:
    hits = np.array([[0.0, 3, 10]])
    logs = _log_mass(hits, np.full(3, 10.0), np.array([0.3]), np.array([5.0]))[0, :, 0]
    expected = stats.betabinom.logpmf([0, 3, 10], 10, 1.5, 3.5)
    binomial = stats.binom.logpmf([0, 3, 10], 10, 0.5) + 10 * np.log(2)
    np.testing.assert_allclose(logs, expected - binomial)


def test_the_coefficient_of_known_shapes() -> None:
    assert bimodality_coefficient(np.linspace(0, 1, 5001)) == pytest.approx(5 / 9, abs=1e-3)
    assert bimodality_coefficient([0.0, 1.0] * 2000) == pytest.approx(1, abs=2e-3)
    normal = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert bimodality_coefficient(normal) == pytest.approx(1 / 3, abs=5e-3)
    assert bimodality_coefficient([0.5] * 9) is None and bimodality_coefficient([0, 1, 2]) is None
