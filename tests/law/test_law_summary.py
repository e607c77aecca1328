"""`laws.json`: its shape, its counts, and what it says when there is too little to tell."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from saltus.errors import TableError
from saltus.law.checks import cut_offs
from saltus.law.forms import Chinchilla, Kaplan
from saltus.law.plain import plain
from saltus.law.solve import HUBER
from saltus.law.summary import (
    summarise_chinchilla,
    summarise_envelope,
    summarise_heldout,
    summarise_laws,
)

MakeRuns = Callable[..., pd.DataFrame]


@pytest.fixture(autouse=True)
def two_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two forms stand for all in the comparison: the others take longer to fit."""
    monkeypatch.setattr("saltus.law.choice.CANDIDATES", (Chinchilla(), Kaplan()))


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
    assert set(law["columns"].values()) <= set(runs.columns)
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
    again = summarise_heldout(changed, HUBER, 0, None)
    assert again["rows"][0]["predicted"] == held["rows"][0]["predicted"]
    assert again["inside_share"] == 0.0


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
    short = summarise_laws(few, minimum_tokens=10**12)["chinchilla"]
    assert short["reason"].endswith(f"(not counted: {len(few)} below {10**12} tokens)")
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


def test_the_held_out_prediction_has_a_baseline_and_a_certificate(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=6, seeds=3)
    held = summarise_heldout(runs, HUBER, 0, None)
    assert held["baseline"] == "mean loss of s4 at the same tokens"
    means = runs[runs["size"] == "s4"].groupby("tokens")["loss_text"].mean()
    last = runs[runs["size"] == "s5"]
    errors = 100 * np.abs(last["tokens"].map(means) / last["loss_text"] - 1)
    assert held["baseline_error_percent"] == pytest.approx(errors.mean())
    assert held["certificate"]["status"] == "converged"
    assert held["interval_method"] == "delete-one-size jackknife, t with 2 degrees of freedom"
    assert held["unconverged_refits"] == 0
    gap = runs[(runs["size"] != "s4") | (runs["tokens"] != runs["tokens"].max())]
    lacking = summarise_heldout(gap, HUBER, 0, None)
    assert lacking["baseline_error_percent"] is None
    assert "no run at the same tokens" in lacking["baseline_reason"]
    assert held["baseline_reason"] == ""


def test_residuals_stand_beside_the_spread_of_seeds(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=6, seeds=40, noise=0.01)
    law = summarise_chinchilla(runs, {}, HUBER, 0)[0]
    test = law["lack_of_fit"]
    assert test["seed_percent"] == pytest.approx(1.0, rel=0.1)
    assert law["residuals"]["rms_percent"] == pytest.approx(test["seed_percent"], rel=0.2)
    assert test["ratio"] == pytest.approx(law["residuals"]["rms_percent"] / test["seed_percent"])
    moved = runs["loss_text"] * np.where(runs["size"].isin(["s1", "s4"]), 1.05, 1.0)
    moved_runs = runs.assign(loss_text=moved)
    worse = summarise_chinchilla(moved_runs, {}, HUBER, 0)[0]["lack_of_fit"]
    assert worse["seed_percent"] == pytest.approx(test["seed_percent"], rel=1e-9)
    assert worse["ratio"] > 1.5
    assert worse["status"] == "does not fit"
    alone = summarise_chinchilla(make_runs(sizes=6, seeds=1), {}, HUBER, 0)[0]["lack_of_fit"]
    assert alone["seed_percent"] is None


def test_a_cut_off_is_varied(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=2, horizons=5)
    horizons = sorted(int(value) for value in runs["tokens"].unique())
    law = summarise_laws(runs, minimum_tokens=horizons[1])["chinchilla"]
    rows = law["sensitivity"]
    assert [row["minimum_tokens"] for row in rows] == [0, horizons[1], horizons[2]]
    assert [row["rows"] for row in rows] == [50, 40, 30]
    assert rows[1]["alpha"] == law["parameters"]["alpha"]
    assert rows[1]["rms_percent"] == pytest.approx(law["residuals"]["rms_percent"])
    assert rows[1]["status"] == law["certificate"]["status"]
    assert all((row["status"] == "boundary") == bool(row["bounds_hit"]) for row in rows)
    assert cut_offs(runs, 0) == [0, horizons[1]]
    assert cut_offs(runs, horizons[2]) == [0, horizons[2]]
    assert cut_offs(runs[runs["tokens"] <= horizons[1]], 0) == []


def test_the_band_is_the_jackknifes(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=2)
    summary = summarise_laws(runs)
    rows = pd.DataFrame(summary["chinchilla"]["band"])
    assert set(rows["size"]) == set(runs["size"]) and len(rows) == 5 * 12
    ends = [float(runs["tokens"].min()), float(runs["tokens"].max())]
    assert [rows["tokens"].min(), rows["tokens"].max()] == pytest.approx(ends)
    fitted = pd.DataFrame(summary["fitted"])
    for size, part in rows.groupby("size"):
        law = fitted[(fitted["size"] == size) & (fitted["tokens"] == ends[0])]["predicted"].iloc[0]
        first = part.sort_values("tokens").iloc[0]
        assert first["low"] < law < first["high"]


def test_the_envelope_counts_its_unconverged_refits(make_runs: MakeRuns) -> None:
    envelope = summarise_envelope(make_runs(sizes=6, seeds=3), HUBER, 0)
    assert envelope["unconverged_refits"] == 0
    assert envelope["intervals"]["alpha"] is not None
