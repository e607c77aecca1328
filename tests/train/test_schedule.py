"""The learning rate over a trunk and its branches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from saltus.train.schedule import Branch, rate_factor

WARMUP = 7
TRUNK = Branch(None, 0, 60)
ANNEAL = Branch(9_999, 60, 80)


def test_the_trunk_warms_up_linearly_and_then_stays() -> None:
    factors = [rate_factor(step, TRUNK, WARMUP) for step in range(60)]
    assert factors[:WARMUP] == pytest.approx([(n + 1) / WARMUP for n in range(WARMUP)])
    assert set(factors[WARMUP - 1 :]) == {1.0}


def test_the_trunk_does_not_know_how_long_it_will_be() -> None:
    for end in (10, 60, 1_000):
        other = Branch(None, 0, end)
        assert [rate_factor(s, other, WARMUP) for s in range(10)] == [
            rate_factor(s, TRUNK, WARMUP) for s in range(10)
        ]


@pytest.mark.parametrize(("start", "end"), [(60, 80), (60, 61), (9, 12), (500, 1_500)])
def test_an_anneal_falls_from_the_trunk_towards_zero(start: int, end: int) -> None:
    branch = Branch(1, start, end)
    factors = np.array([rate_factor(step, branch, WARMUP) for step in range(start, end)])
    assert (np.diff(factors) < 0).all()
    assert (factors > 0).all() and (factors < 1).all()
    if end - start > 1:
        middles = (np.arange(end - start) + 0.5) / (end - start)
        assert factors == pytest.approx(1 - np.sqrt(middles))
        # The last step moves, by less than a step of the anneal's length would on a line.
        assert factors[-1] < 1 / (end - start)


def test_anneals_scale_with_their_length() -> None:
    # The mean of 1 - sqrt(t) is a third: a long anneal spends a third of its steps' full rate.
    branch = Branch(1, 100, 2_100)
    mean = np.mean([rate_factor(step, branch, 5) for step in range(100, 2_100)])
    assert mean == pytest.approx(1 / 3, abs=1e-3)


def test_warm_up_goes_on_in_an_anneal_that_begins_within_it() -> None:
    branch = Branch(1, 3, 9)
    assert rate_factor(3, branch, 100) == pytest.approx(0.04 * rate_factor(3, branch, 1), rel=1e-12)


def test_one_step_of_warm_up_is_none() -> None:
    assert rate_factor(0, TRUNK, 1) == 1.0


@pytest.mark.parametrize("anneal", [0.01, 0.1, 0.25, 0.5, 0.99])
def test_every_horizon_leaves_the_trunk_before_its_end(
    anneal: float, make_spec: Callable[..., Any]
) -> None:
    spec = make_spec(anneal=anneal)
    starts = []
    for steps in range(1, 300):
        horizon = steps * spec.batch_tokens
        assert spec.steps(horizon) == steps
        start = spec.anneal_start(horizon)
        assert 0 <= start < steps
        assert abs((steps - start) - max(1, anneal * steps)) <= 0.5
        starts.append(start)
    assert starts == sorted(starts), "a longer horizon leaves the trunk no earlier"


def test_branches_have_names_of_their_own() -> None:
    assert len({TRUNK.name, ANNEAL.name, Branch(1, 60, 80).name}) == 3
