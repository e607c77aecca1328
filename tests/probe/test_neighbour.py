"""The nearest training problem against a search through all of them."""

import time

import numpy as np
import pytest

from saltus.code import stage_modules
from saltus.data.arithmetic import Sampler, distinct_problems, enumerate_space
from saltus.probe.neighbour import _pairs, neighbour_exact


@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.parametrize("task", ["add_2", "sub_2", "mul_2x1", "chain_2", "chain_3"])
def test_equals_a_search_through_all_training_problems(task: str, share: float) -> None:
    problems = distinct_problems(task, share, "salt", 40, seed=1)
    trained = enumerate_space(task, share, "salt").split(held_out=False)
    found = neighbour_exact(problems, task, share, "salt")
    for operands, answer, value in zip(problems.operands, problems.answers, found, strict=True):
        distance = np.abs(trained.operands - operands).sum(1)
        nearest = trained.answers[distance == distance.min()]
        assert value == pytest.approx((nearest == answer).mean())


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("task", ["add_4", "sub_4"])
def test_pairs_that_are_not_enumerated_are_held_out_as_the_sampler_says(
    task: str, held_out: bool
) -> None:
    sampler = Sampler(task, 0.5, "salt", held_out=held_out)
    drawn = sampler.draw(np.random.default_rng(0), 500)
    trained, answers = _pairs(task, 0.5, "salt")(drawn.operands)
    assert (trained[:, 0] != held_out).all()
    assert (answers[:, 0] == drawn.answers).all()
    # A problem that is itself trained on is its own nearest neighbour.
    assert (neighbour_exact(drawn, task, 0.5, "salt") == 1).all() != held_out


def test_a_sum_has_no_right_neighbour_one_step_away() -> None:
    for task in ("add_2", "sub_3", "add_4"):
        problems = distinct_problems(task, 0.1, "salt", 500, seed=0)
        assert neighbour_exact(problems, task, 0.1, "salt").mean() < 0.01


def test_a_chain_with_a_zero_is_half_known_from_its_other_sign() -> None:
    problems = distinct_problems("chain_2", 0.1, "salt", 400, seed=0)
    found = neighbour_exact(problems, "chain_2", 0.1, "salt")
    has_zero = (problems.operands[:, 1:] == 0).any(1)
    assert found[has_zero].mean() > 0.2 > found[~has_zero].mean()


def test_takes_seconds_and_leaves_training_alone() -> None:
    sets = {
        task: distinct_problems(task, 0.1, "salt", 2_000, seed=0)
        for task in ("add_2", "add_3", "add_4", "sub_4", "mul_2x1", "chain_3")
    }
    start = time.process_time()
    for task, problems in sets.items():
        neighbour_exact(problems, task, 0.1, "salt")
    assert time.process_time() - start < 6  # measured: under 2 for these six
    assert "saltus.probe.neighbour" not in stage_modules("saltus.train.job")
