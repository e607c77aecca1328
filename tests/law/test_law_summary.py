"""`laws.json`: its shape, its counts, and what it says when there is too little to tell."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from saltus.errors import TableError
from saltus.law.predict import hold_out_largest
from saltus.law.summary import plain, summarise_laws

MakeRuns = Callable[..., pd.DataFrame]


def test_a_full_ladder_fills_every_entry(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=6, seeds=3)
    summary = summarise_laws(runs)
    json.dumps(summary, allow_nan=False)
    law = summary["chinchilla"]
    assert law["status"] == "fitted"
    assert law["certificate"]["status"] == "converged"
    assert set(law["parameters"]) == set(law["intervals"]) == {"E", "A", "B", "alpha", "beta"}
    assert law["interval_method"] == "delete-one-size jackknife, t with 3 degrees of freedom"
    assert law["rows"] == len(runs) == len(summary["fitted"])
    assert law["range"]["tokens"] == [1e6, 64e6]
    assert law["residuals"]["rms_percent"] < law["residuals"]["max_percent"] < 5
    assert law["allocation"]["a"] + law["allocation"]["b"] == pytest.approx(1.0)
    assert summary["envelope"]["certificate"]["status"] == "converged"
    assert set(summary["envelope"]["points"][0]) == {"flops_exact", "loss", "size", "tokens"}
    row = summary["fitted"][0]
    expected = 100 * (row["predicted"] / row["actual"] - 1)
    assert row["residual_percent"] == pytest.approx(expected)


def test_the_largest_size_is_held_out_and_predicted(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=6, seeds=3)
    held = summarise_laws(runs)["heldout"]
    assert held["size"] == "s5"
    assert len(held["rows"]) == 12
    assert held["mean_absolute_error_percent"] < 5
    assert held["inside_share"] >= 0.75
    for row in held["rows"]:
        assert row["low"] < row["predicted"] < row["high"]
        assert row["inside"] == (row["low"] <= row["actual"] <= row["high"])
    changed = runs.copy()
    changed.loc[changed["size"] == "s5", "loss_text"] *= 2
    again = hold_out_largest(changed)
    assert again.rows[0]["predicted"] == held["rows"][0]["predicted"]
    assert again.inside_share == 0.0


def test_four_sizes_predict_without_an_interval(make_runs: MakeRuns) -> None:
    summary = summarise_laws(make_runs(sizes=4, seeds=2))
    assert summary["chinchilla"]["interval_method"].endswith("t with 1 degree of freedom")
    held = summary["heldout"]
    assert held["rows"][0]["predicted"] > 0
    assert held["rows"][0]["low"] is None
    assert held["inside_share"] is None
    assert "without an interval" in held["reason"]


@pytest.mark.parametrize("sizes", [1, 2, 3])
def test_too_few_sizes_are_an_answer(make_runs: MakeRuns, sizes: int) -> None:
    summary = summarise_laws(make_runs(sizes=sizes))
    json.dumps(summary, allow_nan=False)
    assert summary["chinchilla"]["status"] == "too few sizes"
    assert "needs 4" in summary["chinchilla"]["reason"]
    assert "parameters" not in summary["chinchilla"]
    assert summary["fitted"] == []
    assert summary["heldout"]["rows"] == []


def test_too_few_rows_and_no_rows_are_answers(make_runs: MakeRuns) -> None:
    few = make_runs(sizes=5, seeds=1, horizons=1)
    assert summarise_laws(few)["chinchilla"]["status"] == "too few rows"
    none = summarise_laws(few.iloc[:0])
    json.dumps(none, allow_nan=False)
    assert none["chinchilla"]["range"] == {"params": None, "tokens": None}


def test_dropped_rows_are_counted_and_change_nothing(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=2)
    bad, swept, unknown = runs.iloc[:3].copy(), runs.iloc[3:5].copy(), runs.iloc[5:6].copy()
    bad[["status", "loss_text", "flops_exact"]] = ["diverged", np.nan, np.nan]
    swept["rate_factor"] = 2.0
    unknown["loss_text"] = np.nan
    more = pd.concat([bad, runs, swept, unknown], ignore_index=True)
    first, second = summarise_laws(runs), summarise_laws(more)
    assert first["chinchilla"]["dropped"] == {"diverged": 0}
    expected = {"diverged": 3, "other learning rate": 2, "no loss": 1}
    assert second["chinchilla"]["dropped"] == expected
    assert second["chinchilla"]["parameters"] == first["chinchilla"]["parameters"]
    assert second["heldout"] == first["heldout"]


def test_what_is_not_finite_becomes_null() -> None:
    value = {"a": (np.float64("nan"), np.int64(3)), "b": [float("inf"), True, 1e304, "x"]}
    assert plain(value) == {"a": [None, 3], "b": [None, True, None, "x"]}


def test_a_missing_column_is_named(make_runs: MakeRuns) -> None:
    with pytest.raises(TableError, match="flops_exact is missing"):
        summarise_laws(make_runs(sizes=4).drop(columns="flops_exact"))
