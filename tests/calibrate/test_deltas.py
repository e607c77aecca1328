"""What a shift changes: seed by seed, with SciPy's paired interval, and nothing lost uncounted."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltus.calibrate.deltas import COMPARED, shift_deltas
from saltus.errors import TableError


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return errors of five seeds of two sizes, without a shift and under two."""
    rng = np.random.default_rng(0)
    rows = [
        {"run": f"{size}-seed{seed}", "size": size, "params_nonembedding": params,
         "level": "answer", "tempered": tempered, **{name: rng.normal() for name in COMPARED}}
        for size, params in (("s1", 10), ("s2", 20)) for seed in range(5)
        for tempered in (False, True)
    ]  # fmt: skip
    before = pd.DataFrame(rows)
    under = [
        before.assign(shift=shift, severity=1, **{n: rng.normal(size=20) for n in COMPARED})
        for shift in ("longer", "phrasing")
    ]
    return before, pd.concat(under, ignore_index=True)


def test_changes_are_paired_by_seed_as_in_scipy() -> None:
    before, under = tables()
    found = shift_deltas(before, under.sample(frac=1, random_state=1))
    assert len(found) == 2 * 2 * 2 * len(COMPARED)
    for row in found.to_dict("records"):
        cells = [
            table[(table["size"] == row["size"]) & (table["tempered"] == row["tempered"])]
            for table in (under[under["shift"] == row["shift"]], before)
        ]
        after, first = (cell.sort_values("run")[row["error"]].to_numpy() for cell in cells)
        test = stats.ttest_rel(after, first)
        ends = test.confidence_interval(0.95)
        assert row["delta"] == pytest.approx((after - first).mean())
        assert (row["low"], row["high"]) == pytest.approx((ends.low, ends.high))
        assert (row["num_seeds"], row["num_dropped"]) == (5, 0)


def test_a_missing_error_is_counted_and_one_seed_has_no_interval() -> None:
    before, under = tables()
    under.loc[under["run"] == "s1-seed0", "ece"] = np.nan
    kept = before["run"].isin(["s2-seed3", *[f"s1-seed{n}" for n in range(5)]])
    found = shift_deltas(before[kept], under)
    ece = found[found["error"] == "ece"]
    assert set(ece.loc[ece["size"] == "s1", "num_dropped"]) == {1}
    alone = ece[ece["size"] == "s2"]
    assert set(alone["num_seeds"]) == {1} and set(alone["num_dropped"]) == {4}
    assert alone["delta"].notna().all() and alone[["low", "high"]].isna().all(axis=None)


def test_a_missing_column_is_named() -> None:
    before, under = tables()
    with pytest.raises(TableError, match="nll"):
        shift_deltas(before.drop(columns="nll"), under)
