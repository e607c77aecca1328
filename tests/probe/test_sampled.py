"""Draws of whole answers against the probability of the target."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saltus.emerge.resolution import agreement_table
from saltus.probe.arithmetic import item_table
from saltus.probe.exam import make_exams
from saltus.probe.sampled import DRAWS, SAMPLED_ITEMS, count_matches

RUNS = ["first", "second"]


@pytest.fixture(scope="module")
def table(pupils: Any) -> pd.DataFrame:
    """The items of both drills."""
    parts = []
    for drill in pupils.mixture.drills:
        exams = make_exams(drill, pupils.mixture, pupils.alphabet, 150, seed=3)
        assert exams is not None
        parts.append(
            item_table(
                pupils.parameters,
                exams[0],
                pupils.shape,
                pupils.alphabet,
                RUNS,
                torch.ones(2),
                seed=1,
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_the_first_problems_are_sampled_and_the_others_null(table: pd.DataFrame) -> None:
    asked = table["item"] < SAMPLED_ITEMS
    assert (table.loc[asked, "sampled"] == DRAWS).all()
    assert table.loc[asked, "sampled_exact"].between(0, DRAWS).all()
    assert table.loc[~asked, ["sampled", "sampled_exact"]].isna().all(axis=None)
    assert asked.sum() == 2 * 2 * SAMPLED_ITEMS


def test_draws_agree_with_the_probability_of_the_target(table: pd.DataFrame) -> None:
    agreement = agreement_table(table)
    assert agreement["run"].tolist() == RUNS
    assert (agreement["sampled_exact"] > 20).all(), "something to compare"
    assert (agreement["p_value"] > 0.01).all()
    # Item by item: the deviations have the spread of binomials.
    asked = table[table["sampled"].notna()]
    p = np.exp(-asked["target_nll"])
    spread = np.sqrt(DRAWS * p * (1 - p))
    z = ((asked["sampled_exact"].astype(float) - DRAWS * p) / spread)[spread > 1]
    assert len(z) > 20 and abs(z.mean()) < 3 / np.sqrt(len(z)) and 0.7 < z.std() < 1.3


def test_a_wrong_probability_is_noticed(table: pd.DataFrame) -> None:
    wrong = table.assign(target_nll=0.6 * table["target_nll"])
    assert (agreement_table(wrong)["p_value"] < 1e-4).all()


def test_sampling_costs_less_than_the_rest_of_two_thousand_items(pupils: Any) -> None:
    (exam, _) = make_exams(pupils.mixture.drills[0], pupils.mixture, pupils.alphabet, 2_000, 0)
    start = time.process_time()
    item_table(pupils.parameters, exam, pupils.shape, pupils.alphabet, RUNS, torch.ones(2), seed=1)
    whole = time.process_time() - start
    start = time.process_time()
    length = int((exam.prompt[0] >= 0).sum())
    few = slice(0, SAMPLED_ITEMS)
    prompts, targets = exam.prompt[few, :length], exam.target[few]
    count_matches(pupils.parameters, prompts, targets, pupils.shape, pupils.alphabet, RUNS, seed=1)
    assert time.process_time() - start < whole
