"""Pooled seeds by size: the same numbers as one set of predictions, shifts apart, levels apart."""

import numpy as np
import pandas as pd
import pytest

from saltus.calibrate.measure import measure
from saltus.calibrate.sizes import ERRORS, pools, size_curves, size_errors, size_risks
from saltus.calibrate.summary import summarise_calibration, summarise_shift

ROWS = 60


def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """One size, two seeds, two horizons; noise of two severities and a shift of problems."""
    rng = np.random.default_rng(11)
    names = [f"s0-{seed}-{horizon}" for seed in (0, 1) for horizon in (1000, 2000)]
    runs = pd.DataFrame({
        "run": names, "size": "s0", "seed": [0, 0, 1, 1], "horizon": [1000, 2000] * 2,
        "params_nonembedding": 600, "params_total": 900, "loss_text": 3.5,
    })  # fmt: skip
    tokens, items = [], []
    for run in names:
        for shift, severity in ((None, 0), ("noise", 1), ("noise", 5)):
            confidence = rng.beta(2, 3, ROWS)
            right = rng.random(ROWS) < np.clip(confidence - 0.1 * severity, 0, 1)
            tokens.append(pd.DataFrame({
                "run": run, "domain": "wiki", "document": np.arange(ROWS) // 3,
                "temperature": 1.0, "confidence": confidence, "correct": right, "nll": 2.0,
                "brier": 0.5, "shift": shift, "severity": severity,
            }))  # fmt: skip
        for shift in (None, "longer"):
            confidence = rng.beta(4, 2, ROWS)
            items.append(pd.DataFrame({
                "run": run, "task": "add_2", "arm": "plain", "item": np.arange(ROWS),
                "exact": rng.random(ROWS) < confidence, "confidence": confidence,
                "confidence_tempered": confidence**1.5, "temperature": 1.3,
                "in_distribution": shift is None, "shift": shift,
            }))  # fmt: skip
    return pd.concat(tokens), pd.concat(items), runs


def test_a_pool_is_measured_as_its_rows_put_together() -> None:
    tokens, items, runs = tables()
    found = size_errors(pools(tokens, items, runs, ["wiki"]))
    row = found[(found["level"] == "token") & found["shift"].isna()].iloc[0]
    rows = tokens[tokens["run"].isin(["s0-0-2000", "s0-1-2000"]) & tokens["shift"].isna()]
    document = "wiki/" + rows["document"].astype(str)
    expected = measure(rows["confidence"], rows["correct"], document)
    assert row["n"] == 2 * ROWS and row["num_clusters"] == ROWS // 3
    for name in ERRORS:
        value = expected.brier.total if name == "brier" else getattr(expected, name)
        ends = expected.intervals[name]
        assert row[name] == pytest.approx(value)
        assert [row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx([ends.low, ends.high])


def test_shifts_levels_and_temperatures_stay_apart() -> None:
    tokens, items, runs = tables()
    made = pools(tokens, items, runs, ["wiki"])
    keys = {(pool.key[2:]) for pool in made}
    assert keys == {
        ("token", None, 0, False), ("token", "noise", 1, False), ("token", "noise", 5, False),
        ("answer", None, 0, False), ("answer", None, 0, True), ("answer", "longer", 1, False),
        ("answer", "longer", 1, True),
    }  # fmt: skip
    errors = size_errors(made).set_index(["level", "severity", "tempered"])["overconfidence"]
    assert errors["token", 5, False] > errors["token", 1, False] > errors["token", 0, False]
    table = summarise_shift(tokens, items, runs)
    assert set(zip(table["shift"], table["severity"], strict=True)) == {
        ("noise", 1), ("noise", 5), ("longer", 1)
    }  # fmt: skip
    assert summarise_calibration(tokens, items, runs)["n"].max() == ROWS


def test_curves_and_risks_are_of_what_has_no_shift() -> None:
    tokens, items, runs = tables()
    made = pools(tokens, items, runs, ["wiki"])
    curves, risks = size_curves(made), size_risks(made)
    assert curves["shift"].isna().all() and risks["shift"].isna().all()
    answers = risks[(risks["level"] == "answer") & ~risks["tempered"]]
    wrong = 1 - items[items["run"].str.endswith("-2000") & items["shift"].isna()]["exact"].mean()
    assert answers["coverage"].iloc[-1] == 1 and answers["risk"].iloc[-1] == pytest.approx(wrong)
    drawn = curves[curves["accuracy"].notna()]
    assert len(drawn) > 100 and (drawn["low"] <= drawn["high"]).all()


def test_few_predictions_are_counted_and_not_measured() -> None:
    tokens, items, runs = tables()
    few = tokens.groupby(["run", "severity"]).head(5)
    found = size_errors(pools(few, items, runs, ["wiki"]))
    row = found[(found["level"] == "token") & found["shift"].isna()].iloc[0]
    assert row["n"] == 10 and np.isnan(row["ece"])
