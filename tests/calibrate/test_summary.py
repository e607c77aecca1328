"""The calibration and reliability tables from small tables of predictions."""

import numpy as np
import pandas as pd
import pytest

from saltus.calibrate.errors import expected_calibration_error
from saltus.calibrate.summary import (
    CALIBRATION_COLUMNS,
    RELIABILITY_COLUMNS,
    summarise_calibration,
    summarise_reliability,
)
from saltus.errors import TableError


def tables(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    names = [f"{size}-{number}-{horizon}" for size, number, horizon in COMBINATIONS]
    runs = pd.DataFrame(COMBINATIONS, columns=["size", "seed", "horizon"]).assign(
        run=names,
        params_nonembedding=lambda t: t["size"].map({"s0": 600, "s1": 9000}),
        params_total=lambda t: t["params_nonembedding"] + 4096,
        loss_text=3.5,
    )
    tokens, items = [], []
    for run in names:
        for temperature in (1.0, 1.3):
            confidence = rng.beta(2, 3, 300)
            tokens.append(
                pd.DataFrame(
                    {
                        "run": run,
                        "domain": np.where(np.arange(300) < 200, "wiki", "api"),
                        "document": rng.integers(0, 20, 300),
                        "temperature": temperature,
                        "confidence": confidence,
                        "correct": rng.random(300) < confidence,
                        "nll": rng.exponential(3, 300),
                        "brier": rng.random(300),
                    }
                )
            )
        for task, count in (("add_2", 100), ("chain_2", 20)):
            confidence = rng.beta(4, 2, count)
            items.append(
                pd.DataFrame(
                    {
                        "run": run,
                        "task": task,
                        "arm": "plain",
                        "item": np.arange(count),
                        "exact": rng.random(count) < confidence**2,
                        "confidence": confidence,
                        "confidence_tempered": confidence**1.5,
                        "temperature": 1.3,
                        "in_distribution": np.arange(count) != 0,
                    }
                )
            )
    return pd.concat(tokens), pd.concat(items), runs


COMBINATIONS = [(s, n, h) for s in ("s0", "s1") for n in (0, 1) for h in (1000, 2000)]


def test_calibration_has_a_row_per_run_level_and_temperature() -> None:
    tokens, items, runs = tables()
    table = summarise_calibration(tokens, items, runs)
    assert tuple(table.columns) == CALIBRATION_COLUMNS
    levels = {"token", "answer", "answer:add_2:plain", "answer:chain_2:plain"}
    assert set(table["level"]) == levels
    assert len(table) == 8 * 4 * 2
    assert not table.duplicated(["run", "level", "tempered"]).any()
    tempered = table["tempered"].astype(bool)
    assert (table.loc[tempered, "temperature"] == 1.3).all()
    assert (table.loc[~tempered, "temperature"] == 1.0).all()
    full = table[table["n"] >= 30]
    assert (full["overconfidence_low"] < full["overconfidence"]).all()
    assert (full["overconfidence"] < full["overconfidence_high"]).all()
    assert ((full["brier_low"] < full["brier"]) & (full["brier"] < full["brier_high"])).all()
    assert (full["floor_ece"] > 0).all() and (full["floor_smooth_ece"] > 0).all()


def test_rows_equal_the_functions_on_their_rows() -> None:
    tokens, items, runs = tables()
    table = summarise_calibration(tokens, items, runs, domains=["wiki"])
    run = str(runs["run"][0])
    row = table[(table["run"] == run) & (table["level"] == "token") & ~table["tempered"]].iloc[0]
    mine = tokens[
        (tokens["run"] == run) & (tokens["temperature"] == 1.0) & (tokens["domain"] == "wiki")
    ]
    assert row["n"] == 200
    ece = expected_calibration_error(mine["confidence"], mine["correct"])
    assert row["ece"] == pytest.approx(ece)
    assert row["nll"] == pytest.approx(mine["nll"].mean())
    assert row["brier"] == pytest.approx(mine["brier"].mean())
    answer = table[(table["run"] == run) & (table["level"] == "answer") & table["tempered"]].iloc[0]
    items = items[(items["run"] == run) & items["in_distribution"]]
    assert answer["n"] == 118
    assert answer["overconfidence"] == pytest.approx(
        items["confidence_tempered"].mean() - items["exact"].mean()
    )
    assert answer["brier"] == pytest.approx(
        ((items["confidence_tempered"] - items["exact"]) ** 2).mean()
    )


def test_shifted_rows_never_count() -> None:
    tokens, items, runs = tables()
    tokens = tokens.assign(shift=pd.array([None] * len(tokens), dtype="string"), severity=0)
    items = items[items["in_distribution"]].assign(shift=None)
    noisy = tokens.assign(shift="noise", severity=3, correct=False, confidence=0.9)
    other = tokens.assign(shift="domain", severity=1, domain="unread", correct=False)
    harder = items.assign(shift="longer", in_distribution=False, exact=False, confidence=0.9)
    shifted = pd.concat([tokens, noisy, other]), pd.concat([items, harder])
    for domains in (None, ["wiki"]):
        for summarise in (summarise_calibration, summarise_reliability):
            pd.testing.assert_frame_equal(
                summarise(*shifted, runs, domains=domains),
                summarise(tokens, items, runs, domains=domains),
            )


def test_few_rows_have_counts_but_no_errors() -> None:
    table = summarise_calibration(*tables())
    few = table[table["level"] == "answer:chain_2:plain"]
    assert (few["n"] == 19).all()
    assert few["accuracy"].notna().all() and few["confidence"].notna().all()
    errors = list(CALIBRATION_COLUMNS[CALIBRATION_COLUMNS.index("ece") :])
    assert few[errors].isna().all().all()


def test_without_tempered_confidences_there_are_no_tempered_rows() -> None:
    tokens, items, runs = tables()
    plain = items.drop(columns="confidence_tempered")
    table = summarise_calibration(tokens[tokens["temperature"] == 1.0], plain, runs)
    assert not table["tempered"].astype(bool).any() and len(table) == 8 * 4


def test_reliability_pools_seeds_at_the_largest_horizon() -> None:
    tokens, items, runs = tables()
    table = summarise_reliability(tokens, items, runs)
    assert tuple(table.columns) == RELIABILITY_COLUMNS
    assert len(table) == 2 * 2 * 2 * 15
    groups = table.groupby(["size", "level", "tempered"])
    assert groups["share"].sum().round(12).eq(1).all()
    counts = groups["n"].sum()
    assert counts["s0", "token", False] == 600 and counts["s1", "answer", True] == 236
    held = table[table["n"] > 0]
    assert (held["accuracy_low"] <= held["accuracy"]).all()
    assert table.loc[table["n"] == 0, "accuracy"].isna().all()


def test_order_of_rows_does_not_matter() -> None:
    tokens, items, runs = tables()
    shuffled = (tokens.sample(frac=1, random_state=0), items.sample(frac=1, random_state=1), runs)
    pd.testing.assert_frame_equal(
        summarise_reliability(tokens, items, runs), summarise_reliability(*shuffled)
    )
    exact = ["n", "accuracy", "ece", "ece_equal_mass", "l2_squared_debiased", "floor_ece"]
    pd.testing.assert_frame_equal(
        summarise_calibration(tokens, items, runs)[exact], summarise_calibration(*shuffled)[exact]
    )


def test_a_missing_column_is_named() -> None:
    tokens, items, runs = tables()
    with pytest.raises(TableError, match="tokens: no column 'domain'"):
        summarise_calibration(tokens.drop(columns="domain"), items, runs)
    with pytest.raises(TableError, match="items: no column 'exact'"):
        summarise_reliability(tokens, items.drop(columns="exact"), runs)
