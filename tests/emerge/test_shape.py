"""Linearity and breakthroughness: closed forms, invariances, and a published table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saltus.emerge.shape import SHAPE_COLUMNS, breakthroughness, linearity, shape_table
from saltus.errors import TableError

PYTHIA = Path(__file__).parents[3] / "shared/public-runs/EleutherAI_pythia"
PYTHIA_SIZES = ["125m", "350m", "800m", "1.3b", "2.7b", "6.7b", "13b"]


@pytest.mark.parametrize(("shots", "line", "leap"), [(16, 2.70, 5.80), (8, 2.64, 6.49)])
def test_pythia_addition_known_answer(shots: int, line: float, leap: float) -> None:
    if not PYTHIA.is_dir():
        pytest.skip("the public tables are not beside the repository (../shared/public-runs)")
    table = pd.read_csv(PYTHIA / "pythia_v0_arithmetic_agg.csv")
    table = table[table["checkpoint_step"] == 143000]
    table = table[(table["op"] == "addition") & (table["fewshot"] == shots)]
    scores = table.set_index("model_v0_name")["mean_acc"].loc[PYTHIA_SIZES]
    assert linearity(scores) == pytest.approx(line, abs=0.005)
    assert breakthroughness(scores) == pytest.approx(leap, abs=0.005)


@pytest.mark.parametrize("num_sizes", [3, 6, 9])
def test_equal_steps_give_the_number_of_steps(num_sizes: int) -> None:
    rise = np.linspace(0.1, 0.9, num_sizes)
    for score in (linearity, breakthroughness):
        assert score(rise) == pytest.approx(num_sizes - 1)
        assert score(rise[::-1]) == pytest.approx(1 - num_sizes)


def test_one_leap_over_even_steps() -> None:
    # Steps e, e, e, 1 - 3e: an even number, so the median is the mean of two of e².
    e = 0.01
    scores = [0, e, 2 * e, 3 * e, 1]
    assert breakthroughness(scores) == pytest.approx(1 / e)
    assert linearity(scores) == pytest.approx(1 / np.sqrt((3 * e**2 + (1 - 3 * e) ** 2) / 4))
    # Steps e, e, 3e, 1 - 5e: the two middle squares are e² and 9e².
    scores = [0, e, 2 * e, 5 * e, 1]
    assert breakthroughness(scores) == pytest.approx(1 / (e * np.sqrt(5)))


def test_units_do_not_matter_and_nothing_is_divided_by_zero() -> None:
    scores = np.random.default_rng(0).random(8)
    for score in (linearity, breakthroughness):
        assert score(3 * scores + 1) == pytest.approx(score(scores))
        assert score([0.2, 0.2, 0.2]) is None and score([0.2]) is None
        with pytest.raises(ValueError, match="null"):
            score([0.1, np.nan])
    assert breakthroughness([0, 0, 0, 0, 1]) is None
    assert linearity([0, 0, 0, 0, 1]) == pytest.approx(2)


def scores() -> pd.DataFrame:
    """Five sizes, two seeds, two horizons: greedy leaps, sampling rises evenly."""
    return pd.DataFrame(
        {
            "task": "add_2",
            "arm": "plain",
            "horizon": horizon,
            "params_nonembedding": 10**size,
            "exact_match": (0.01 * size if size < 4 else 0.9) + 0.01 * seed,
            "expected_exact_match": 0.1 * size + 0.01 * seed,
            "digit_accuracy": 0.5,
        }
        for size in range(5)
        for seed in (0, 1)
        for horizon in (10, 20)
    )


def test_the_table_averages_seeds_at_the_largest_horizon() -> None:
    table = shape_table(scores().sample(frac=1, random_state=0))
    assert tuple(table.columns) == SHAPE_COLUMNS and (table["horizon"] == 20).all()
    greedy, sampled, digits = (row for _, row in table.iterrows())
    assert greedy["breakthroughness"] == pytest.approx(90) and greedy["num_replicas"] == 10
    assert sampled["breakthroughness"] == pytest.approx(sampled["linearity"]) == pytest.approx(4)
    assert sampled["lowest"] == pytest.approx(0.005)
    assert np.isnan(digits["linearity"]) and "zero" in digits["reason"]
    few = shape_table(scores()[scores()["params_nonembedding"] < 50])
    assert few["linearity"].isna().all() and (few["reason"] == "2 sizes, 3 needed").all()
    assert shape_table(scores().iloc[:0]).empty
    with pytest.raises(TableError, match="exact_match"):
        shape_table(scores().drop(columns="exact_match"))
