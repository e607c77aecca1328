"""Risk and coverage: closed forms, ties, extremes."""

import itertools

import numpy as np
import pytest

from saltus.calibrate.selective import risk_coverage


def plain_aurc(correct: np.ndarray) -> float:
    return float((np.cumsum(1 - correct) / np.arange(1, correct.size + 1)).mean())


def test_without_ties_it_is_the_cumulative_error_rate() -> None:
    confidence = np.array([0.2, 0.9, 0.5, 0.7])
    correct = np.array([0, 1, 1, 0])
    curve = risk_coverage(confidence, correct)
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 2])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    assert curve.aurc == pytest.approx(plain_aurc(np.array([1, 0, 1, 0])))
    assert curve.augrc == pytest.approx((0 + 1 + 1 + 2) / 16)


def test_ties_are_the_average_over_all_orders() -> None:
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    correct = np.array([1, 0, 1, 0, 1])
    orders = [
        plain_aurc(np.concatenate([[1], correct[list(order)], [1]]))
        for order in itertools.permutations([1, 2, 3])
    ]
    assert risk_coverage(confidence, correct).aurc == pytest.approx(np.mean(orders))


def test_rows_have_no_order() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.integers(0, 5, 200) / 5
    correct = rng.random(200) < 0.6
    order = rng.permutation(200)
    assert risk_coverage(confidence, correct).aurc == pytest.approx(
        risk_coverage(confidence[order], correct[order]).aurc, abs=1e-14
    )


def test_excess_is_zero_for_a_perfect_order_and_positive_for_chance() -> None:
    correct = np.arange(100) < 70
    assert risk_coverage(np.linspace(1, 0, 100), correct).excess_aurc == pytest.approx(0)
    constant = risk_coverage(np.full(100, 0.5), correct)
    assert constant.aurc == pytest.approx(0.3)
    assert constant.excess_aurc > 0.2
