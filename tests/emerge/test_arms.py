"""Ratios of two arms' thresholds: known ratios, censoring, pairing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special

from saltus.emerge.arms import ARM_COLUMNS, arm_table, compare
from saltus.emerge.outcome import Threshold, blank, find_crossings
from saltus.errors import TableError

SIZES = 10 ** np.linspace(3, 5.2, 8)


def scores(shifts: dict[str, float], seed: int = 0, seeds: int = 5) -> pd.DataFrame:
    """Logistic rises about 10^4 · 10^shift; seeds scatter, and half of it is common to the arms."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(SIZES.size, seeds))
    rows = []
    for arm, shift in shifts.items():
        for i, params in enumerate(SIZES):
            for replica in range(seeds):
                logit = (np.log10(params) - 4.0 - shift) / 0.3
                logit += 0.5 * (common[i, replica] + rng.normal())
                rows.append(
                    {
                        "task": "add_2",
                        "arm": arm,
                        "size": f"s{i}",
                        "seed": replica,
                        "horizon": 1000,
                        "params_nonembedding": int(params),
                        "items": 500,
                        "successes": int(rng.binomial(500, special.expit(logit))),
                        "guess_rate": 0.0,
                    }
                )
    return pd.DataFrame(rows)


def test_a_known_ratio_lies_within_its_interval() -> None:
    table = arm_table(scores({"reversed": -0.5, "plain": 0.3, "padded": 0.3}))
    assert tuple(table.columns) == ARM_COLUMNS
    pairs = list(zip(table["arm"], table["reference"], strict=True))
    assert pairs == [("padded", "plain"), ("reversed", "plain"), ("reversed", "padded")]
    assert (table["status"] == "estimated").all()
    truth = 10 ** np.array([0.0, -0.8, -0.8])
    assert (table["low"] < truth).all() and (truth < table["high"]).all()
    assert table["ratio"].to_numpy() == pytest.approx(truth, rel=0.5)
    assert (table["num_replicas"] == 40).all() and (table["num_unpaired"] == 0).all()
    assert table["label"].iloc[0].startswith(f"{table['ratio'].iloc[0]:.2g} [")


def test_a_replica_that_lacks_an_arm_is_left_out_and_counted() -> None:
    whole = scores({"plain": 0.3, "reversed": -0.3})
    lacking = whole.drop(index=[3, 17])
    table = arm_table(lacking)
    assert table["num_unpaired"].tolist() == [2] and table["num_replicas"].tolist() == [38]
    kept = whole.drop(index=[3, 17, 43, 57])
    columns = ["ratio", "low", "high"]
    pd.testing.assert_frame_equal(arm_table(kept)[columns], table[columns])
    shuffled = arm_table(lacking.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(shuffled, table)


def test_a_threshold_that_is_not_reached_bounds_the_ratio() -> None:
    (row,) = arm_table(scores({"plain": 3.0, "reversed": 0.0})).to_dict("records")
    assert row["status"] == "bound" and np.isnan(row["ratio"]) and np.isnan(row["low"])
    assert row["label"] == f"< {row['high']:.2g}" and row["high"] < 1
    assert row["reference_label"].startswith("> ")


@pytest.fixture(scope="module")
def known() -> Threshold:
    base = blank(SIZES, find_crossings(SIZES, np.linspace(0.1, 0.9, 8), 0.5), 40)
    return replace(
        base, status="crossed", estimate=1e4, low=8e3, high=2e4, label="10k", fit_status="converged"
    )


def test_the_interval_is_the_closed_form(known: Threshold) -> None:
    other = replace(known, estimate=1e3, low=5e2, high=1.25e3)
    found = compare(known, other)
    assert found["ratio"] == pytest.approx(10)
    assert found["low"] == pytest.approx(10 / 10 ** (np.sqrt(2) * np.log10(1.25)))
    assert found["high"] == pytest.approx(10 * 10 ** (np.sqrt(2) * np.log10(2)))
    back = compare(other, known)
    assert [back[key] for key in ("ratio", "low", "high")] == pytest.approx(
        [1 / found[key] for key in ("ratio", "high", "low")]
    )
    added = compare(replace(known, fit_status="width < gap"), other)
    assert (added["low"], added["high"]) == pytest.approx((8e3 / 1.25e3, 2e4 / 5e2))
    opened = compare(replace(known, high=None), other)
    assert opened["high"] is None and opened["low"] == found["low"]
    assert str(opened["label"]).endswith("open]")


def test_censoring(known: Threshold) -> None:
    above = replace(known, status="above largest", estimate=None, low=1.2e5, high=None)
    below = replace(known, status="below smallest", estimate=None, low=None, high=1.1e3)
    found = compare(above, known)
    assert found["status"] == "bound" and found["low"] == 6 and found["high"] is None
    assert found["label"] == "> 6" and "above largest" in str(found["reason"])
    assert compare(known, above)["high"] == pytest.approx(1 / 6)
    assert compare(below, known)["label"] == "< 0.14"
    assert compare(above, below)["low"] == pytest.approx(1.2e5 / 1.1e3)
    for arm, reference, reason in (
        (above, above, "both thresholds are above largest"),
        (known, replace(known, status="not monotone"), "not monotone"),
        (replace(above, low=None), known, "no limit is known"),
        (None, known, "no replica"),
    ):
        refused = compare(arm, reference)
        assert refused["status"] == refused["label"] == "undecided"
        assert reason in str(refused["reason"]) and refused["low"] is None is refused["high"]


def test_one_arm_has_no_ratio_and_what_lacks_is_named() -> None:
    assert arm_table(scores({"plain": 0.0})).empty
    assert arm_table(scores({"plain": 0.0}).iloc[:0]).empty
    apart = scores({"plain": 0.0, "padded": 0.0})
    apart.loc[apart["arm"] == "padded", "seed"] += 10
    (row,) = arm_table(apart).to_dict("records")
    assert row["reason"] == "no replica has all arms" and row["num_unpaired"] == 80
    with pytest.raises(TableError, match="successes"):
        arm_table(apart.drop(columns="successes"))
