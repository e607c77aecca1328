"""Falls with size: the referee's three cases in exact counts, and the rate of false alarms."""

import numpy as np
import pytest
from scipy import special

from saltus.emerge.cells import Cells
from saltus.emerge.monotone import largest_fall
from saltus.emerge.outcome import Threshold
from saltus.emerge.threshold import threshold_along_scale

# Exact answers of 300 by five seeds at each size of the laptop reference.
SIZES = np.array([452, 1544, 3564, 6384, 13992, 24512, 55584, 148768])
ADD_2 = [
    [0, 7, 2, 7, 7], [8, 5, 4, 2, 3], [31, 2, 3, 3, 15], [28, 21, 57, 24, 96],
    [36, 30, 36, 37, 16], [43, 39, 74, 32, 36], [269, 284, 239, 285, 281], [38, 61, 287, 96, 268],
]  # fmt: skip
CHAIN_2 = [
    [25, 18, 23, 20, 21], [26, 19, 29, 25, 20], [133, 25, 21, 12, 137], [129, 183, 186, 174, 151],
    [207, 211, 111, 102, 141], [205, 188, 193, 177, 172], [196, 195, 197, 205, 186],
    [265, 261, 275, 233, 225],
]  # fmt: skip


def threshold(counts: list[list[int]], guess_rate: float = 0.03) -> Threshold:
    scale = np.repeat(SIZES, 5)
    return threshold_along_scale(scale, np.ravel(counts), np.full(40, 300), guess_rate)


def test_the_interval_holds_the_gap_where_the_curve_misses_it() -> None:
    result = threshold(CHAIN_2, 0.056667)
    assert result.status == "crossed"
    assert (result.sustained_crossing_low, result.sustained_crossing_high) == (3564, 6384)
    assert result.low is not None and result.low <= 3564
    assert result.high is not None and result.high >= 6384
    assert result.estimate is not None and result.estimate > 6384
    assert "half point lies outside the gap" in result.reason
    assert "(3.6k to 6.4k)" in result.reason
    assert result.heterogeneity == pytest.approx(3.594, abs=0.01)


@pytest.mark.parametrize("items", [-1, 0, 1])
def test_a_fall_to_exactly_the_level_is_judged_as_one_beside_it(items: int) -> None:
    counts = np.array(ADD_2)
    counts[-1, 0] += items
    result = threshold(counts.tolist())
    assert result.status == "not monotone" and result.estimate is None
    assert result.label == "not monotone [25k, > 149k]"
    assert (result.low, result.high) == (24512, None)
    assert result.reason.startswith(
        "the largest size does worse (0.50) than a smaller one (0.91 at 56k), more than chance"
    )
    assert result.reason.count("does worse") == 1


def test_reached_at_a_smaller_size_only_is_undecided() -> None:
    counts = [*ADD_2[:-2], [270, 60, 240, 90, 180], [30, 270, 90, 180, 60]]
    result = threshold(counts)
    assert result.status == "undecided" and result.censored == "none"
    assert result.label == "undecided [25k, > 149k]"
    assert (result.estimate, result.low, result.high) == (None, 24512, None)
    assert "at a smaller size, not at the largest" in result.reason
    assert "within the spread of replicas" in result.reason
    assert result.reason.endswith("does worse (0.42) than a smaller one (0.56 at 56k)")


def test_a_worse_largest_size_is_told_whatever_the_status() -> None:
    told = "the largest size does worse"
    assert told in threshold([*ADD_2[:-2], [60] * 5, [15] * 5]).reason
    assert told in threshold([[200] * 5] * 7 + [[190] * 5]).reason
    assert told not in threshold([*ADD_2[:-1], [285] * 5]).reason


def test_an_end_on_which_means_and_curve_disagree_is_undecided() -> None:
    rise = [[0] * 5, [3] * 5, [9] * 5, [30] * 5, [30] * 5, [40] * 5, [50] * 5]
    late = threshold([*rise, [10, 20, 150, 280, 292]])
    assert (late.status, late.label) == ("undecided", "undecided [56k, > 149k]")
    assert late.reason.endswith("reaches the level (0.50), the curve only beyond it")
    high = [[240] * 5, [200] * 5, [220] * 5, [240] * 5, [260] * 5, [270] * 5, [290] * 5]
    early = threshold([[147] * 5, *high])
    assert early.status == "undecided" and early.low is None
    assert early.high is not None and early.high >= 1544
    assert "is below the level (0.49), the curve above it already" in early.reason


def test_one_scattered_size_does_not_fall_beyond_chance() -> None:
    plateau = [[3] * 5] * 4 + [[270] * 5, [15, 285, 280, 280, 285], [270] * 5, [270] * 5]
    assert threshold(plateau).status == "crossed"


@pytest.mark.parametrize(("spread", "plateau"), [(1.0, 1.0), (3.0, 1.0), (1.0, 0.6), (3.0, 0.6)])
def test_a_monotone_truth_is_rarely_called_anything_else(spread: float, plateau: float) -> None:
    num, x, false = 200, np.linspace(3, 5.2, 8), 0
    rng = np.random.default_rng(5)
    for _ in range(num):
        rise = np.minimum((x - rng.uniform(x[1], x[-2])) / 0.2, special.logit(plateau))
        logit = np.repeat(rise, 5) + spread * rng.normal(size=40)
        hits = rng.binomial(300, special.expit(logit)).astype(float)
        fall = largest_fall(Cells(np.repeat(x, 5), hits, np.full(40, 300.0), 0.0), 0.1, 0, 299)
        false += fall is not None and fall.p_value < 0.05
    assert false <= 0.08 * num


def test_no_fall_counts_above_or_below_the_level() -> None:
    x = np.repeat(np.linspace(3, 5.2, 8), 5)
    for top, end in ((0.99, 0.9), (0.4, 0.1)):
        share = np.repeat([0, 0, 0, 0.1, top, top, top, end], 5)
        assert largest_fall(Cells(x, share * 300, np.full(40, 300.0), 0.0), 0.1, 0) is None
