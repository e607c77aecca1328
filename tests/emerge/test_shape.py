"""Linearity and breakthroughness: equal steps, leaps, and a published table's values."""

import numpy as np
import pytest

from saltus.emerge.shape import breakthroughness, linearity

PYTHIA_16 = [0.018, 0.035, 0.032, 0.051, 0.685, 0.477, 0.874]


def test_equal_steps_have_as_many_of_both_as_there_are_steps() -> None:
    for num in (2, 5, 8):
        values = np.linspace(0.1, 0.9, num)
        assert linearity(values) == pytest.approx(num - 1)
        assert breakthroughness(values) == pytest.approx(num - 1)
        assert linearity(values[::-1]) == pytest.approx(1 - num)


def test_scores_ignore_shift_and_scale() -> None:
    values = np.array(PYTHIA_16)
    for score in (linearity, breakthroughness):
        assert score(0.3 * values + 0.1) == pytest.approx(score(values))


def test_a_leap_has_a_large_breakthroughness_and_a_linearity_of_a_root() -> None:
    values = [0.0, 0.01, 0.02, 0.93, 0.94, 0.95]
    assert breakthroughness(values) == pytest.approx(95)
    assert 0 < (linearity(values) or 0) < np.sqrt(5) * 1.1


def test_an_even_number_of_steps_averages_the_middle_squares() -> None:
    values = [0.0, 0.1, 0.3, 0.6, 1.0]
    assert breakthroughness(values) == pytest.approx(1 / np.sqrt((0.2**2 + 0.3**2) / 2))


def test_no_change_and_a_median_of_zero_have_no_score() -> None:
    assert linearity([0.4, 0.4]) is None and breakthroughness([0.4, 0.4]) is None
    assert breakthroughness([0, 0, 0, 1]) is None and linearity([0, 0, 0, 1]) is not None


def test_one_value_is_refused() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        linearity([0.4])
