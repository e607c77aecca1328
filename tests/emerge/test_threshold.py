"""Thresholds: a published table, simulated truth, and the rules for what is not identified."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from saltus.emerge.outcome import Threshold, find_crossings
from saltus.emerge.threshold import threshold_along_scale
from saltus.emerge.tokens import threshold_along_tokens

PYTHIA = Path(__file__).parents[3] / "shared/public-runs/EleutherAI_pythia"
PYTHIA_SIZES = {
    "125m": 162322944,
    "350m": 405334016,
    "800m": 1011781632,
    "1.3b": 1414647808,
    "2.7b": 2775208960,
    "6.7b": 6857302016,
    "13b": 11846072320,
}
LADDER = 10 ** np.linspace(3, 5.2, 8)


def ladder(accuracies: list[list[float]], trials: int = 2000) -> Threshold:
    """Threshold of a table of accuracies, one row per size of an eight-step ladder."""
    share = np.array(accuracies)
    scale = np.repeat(LADDER[: len(share)], share.shape[1])
    total = np.full(scale.size, trials)
    return threshold_along_scale(scale, np.round(share.ravel() * trials), total, 0.0)


def simulated(
    seed: int, width: float = 0.4, size_sd: float = 0.0, replicas: int = 5
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Eight sizes whose replicas scatter about a logistic by 1 on the logit (sizes by size_sd)."""
    rng = np.random.default_rng(seed)
    x = np.log10(LADDER)
    truth = rng.uniform(x[1], x[-2])
    logit = (x - truth) / width + size_sd * rng.normal(size=x.size)
    logit = np.repeat(logit, replicas) + rng.normal(size=x.size * replicas)
    trials = np.full(logit.size, 2000)
    successes = rng.binomial(trials, special.expit(logit))
    return np.repeat(LADDER, replicas), successes, trials, float(10**truth)


def test_pythia_addition_known_answer() -> None:
    if not PYTHIA.is_dir():
        pytest.skip("../shared/public-runs is not here")
    table = pd.read_csv(PYTHIA / "pythia_v0_arithmetic_agg.csv")
    table = table[
        (table["checkpoint_step"] == 143000)
        & (table["op"] == "addition")
        & (table["fewshot"] == 16)
    ]
    scale = table["model_v0_name"].map(PYTHIA_SIZES).to_numpy()
    successes = np.round(table["mean_acc"].to_numpy() * 5000)
    result = threshold_along_scale(scale, successes, np.full(scale.size, 5000), 0.0)
    assert result.status == "crossed"
    assert result.estimate == pytest.approx(4.4e9, rel=0.03)
    assert result.low is not None and result.low < 2.5e9
    assert result.high is None or result.high > 8.8e9
    assert (result.high or result.largest) / result.low > 4
    assert result.first_crossing_low == PYTHIA_SIZES["1.3b"]
    assert result.first_crossing_high == PYTHIA_SIZES["2.7b"]
    assert result.sustained_crossing_high == PYTHIA_SIZES["13b"]
    assert "more than once" in result.reason
    assert result.label.endswith("> 12B]")


def test_intervals_cover_the_simulated_truth() -> None:
    num = 30
    covered = 0
    for seed in range(num):
        scale, successes, trials, truth = simulated(seed)
        result = threshold_along_scale(scale, successes, trials, 0.0)
        low = 0.0 if result.low is None else result.low
        high = np.inf if result.high is None else result.high
        covered += low <= truth <= high
    assert covered >= 0.9 * num


def test_separated_data_return_the_gap() -> None:
    result = ladder([[0.0] * 5] * 4 + [[1.0] * 5] * 4)
    assert result.status == "crossed" and result.fit_status == "width < gap"
    assert result.low is not None and result.low <= LADDER[3]
    assert result.high is not None and result.high >= LADDER[4]
    assert np.log10(result.high / result.low) < 1.2 * np.log10(LADDER[4] / LADDER[3])
    assert result.estimate == pytest.approx(np.sqrt(LADDER[3] * LADDER[4]), rel=0.02)
    assert result.width_decades is None


def test_below_the_level_everywhere_is_right_censored() -> None:
    result = ladder([[0.0] * 5] * 7 + [[0.2, 0.3, 0.1, 0.2, 0.3]])
    assert (result.status, result.censored, result.label) == ("above largest", "right", "> 158k")
    assert result.estimate is None and result.high is None
    assert result.low is not None and result.low <= LADDER[-1]
    assert result.first_crossing_high is None


def test_above_the_level_everywhere_is_left_censored() -> None:
    result = ladder([[0.9] * 5] * 2 + [[1.0] * 5] * 6)
    assert (result.status, result.censored, result.label) == ("below smallest", "left", "< 1k")
    assert result.estimate is None and result.low is None
    assert result.sustained_crossing_low is None
    assert result.sustained_crossing_high == pytest.approx(LADDER[0])


def test_an_end_that_the_data_do_not_close_is_open() -> None:
    result = ladder([[0.0] * 3] * 6 + [[0.05, 0.3, 0.6], [0.3, 0.7, 0.9]])
    assert result.status == "crossed" and result.high is None
    assert result.label.endswith("> 158k]")


def test_a_fall_beyond_the_spread_of_replicas_is_not_monotone() -> None:
    up = [[0.0] * 5, [0.02] * 5, [0.9, 0.92, 0.88, 0.9, 0.91], [0.1, 0.12, 0.09, 0.1, 0.11]]
    result = ladder([*up, [0.95] * 5, [0.97] * 5, [0.99] * 5, [1.0] * 5])
    assert result.status == "not monotone" and result.estimate is None
    assert result.first_crossing_high == pytest.approx(LADDER[2])
    assert result.sustained_crossing_low == pytest.approx(LADDER[3])
    assert (result.low, result.high) == (LADDER[1], LADDER[4])
    assert result.label == "not monotone [2.1k, 18k]"


def test_a_fall_within_the_spread_of_replicas_is_not_called_one() -> None:
    rising = [[0.0] * 3, [0.1, 0.0, 0.2], [0.2, 0.9, 0.5], [0.1, 0.8, 0.5], [0.6, 0.9, 0.8]]
    result = ladder([*rising, [0.9] * 3, [1.0, 0.9, 1.0], [1.0] * 3])
    assert result.status == "crossed"
    assert "more than once" in result.reason


def test_too_little_to_tell_is_an_answer() -> None:
    few = threshold_along_scale([1e3, 1e4, 1e5], [0, 50, 100], [100] * 3, 0.0)
    assert few.status == "undecided" and "3 sizes" in few.reason
    assert few.first_crossing_high == 1e4
    guessing = threshold_along_scale(LADDER, LADDER * 0 + 60, LADDER * 0 + 100, 0.5)
    assert guessing.status == "undecided" and "guessing" in guessing.reason


def test_units_shift_and_row_order_does_not_matter() -> None:
    scale, successes, trials, _ = simulated(3)
    base = threshold_along_scale(scale, successes, trials, 0.0)
    scaled = threshold_along_scale(scale * 7e4, successes, trials, 0.0)
    for name in ("estimate", "low", "high"):
        assert getattr(scaled, name) == pytest.approx(7e4 * getattr(base, name), rel=1e-3)
    order = np.random.default_rng(0).permutation(scale.size)
    shuffled = threshold_along_scale(scale[order], successes[order], trials[order], 0.0)
    assert shuffled == base


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        threshold_along_scale([1e3, 1e4], [1], [2, 2], 0.0)
    with pytest.raises(ValueError, match="not positive"):
        threshold_along_scale([0.0], [1], [2], 0.0)
    with pytest.raises(ValueError, match="outside"):
        threshold_along_scale([1e3], [3], [2], 0.0)


def test_crossings_of_a_sequence() -> None:
    scales = np.array([1.0, 2, 3, 4])
    assert find_crossings(scales, np.array([0, 0.6, 0.4, 0.9]), 0.5).first == (1, 2)
    assert find_crossings(scales, np.array([0, 0.6, 0.4, 0.9]), 0.5).sustained == (3, 4)
    assert find_crossings(scales, np.array([0.5, 0.6, 0.4, 0.3]), 0.5).first == (None, 1)
    assert find_crossings(scales, np.array([0.5, 0.6, 0.4, 0.3]), 0.5).sustained is None
    never = find_crossings(scales, np.zeros(4), 0.5)
    assert never.first is None and never.sustained is None


def trunks(accuracies: list[list[float]]) -> Threshold:
    """Threshold along tokens of a table of accuracies, one row per trunk, horizons doubling."""
    share = np.array(accuracies)
    horizons = 2.0**17 * 2 ** np.arange(share.shape[1])
    replica = np.repeat(np.arange(len(share)), share.shape[1])
    tokens = np.tile(horizons, len(share))
    return threshold_along_tokens(tokens, share.ravel() * 1000, np.full(tokens.size, 1000), replica)


def test_tokens_all_in_one_gap_return_the_gap() -> None:
    result = trunks([[0.0, 0.1, 0.8, 1.0]] * 3)
    assert result.status == "crossed" and result.fit_status == "width < gap"
    assert (result.low, result.high) == (2**18, 2**19)
    assert result.label == "371k [262k, 524k]"
    assert trunks([[0.0, 0.1, 0.8, 1.0]]).fit_status == "bracket"


@pytest.mark.parametrize("share", [[0.0] * 6, [1.0] * 6, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]])
def test_no_scatter_is_told_where_none_could_show(share: list[float]) -> None:
    assert ladder([[each] * 3 for each in share]).overdispersion is None


def test_tokens_never_reached_or_reached_at_once() -> None:
    never = trunks([[0.0, 0.1, 0.2, 0.3]] * 3)
    assert (never.status, never.label, never.low) == ("above largest", "> 1M", 2**20)
    assert never.reason.startswith("0 of 3")
    few = trunks([[0.0, 0.1, 0.2, 0.3]] * 4 + [[0.0, 0.1, 0.9, 0.9]])
    assert few.status == "above largest" and few.estimate is None
    at_once = trunks([[0.9, 1.0, 1.0, 1.0]] * 3)
    assert (at_once.status, at_once.high) == ("below smallest", 2**17)


def test_tokens_interval_holds_the_bracket_of_the_median() -> None:
    early, late = [0.1, 0.9, 1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.1, 0.8, 0.9, 1.0]
    result = trunks([early, late, late, late, late])
    assert result.status == "crossed" and result.low is not None
    assert result.low <= 2**19 and (result.high is None or result.high >= 2**20)


def test_tokens_of_trunks_in_two_gaps_have_no_spread() -> None:
    early, late = [0.1, 0.2, 0.9, 0.9, 0.9], [0.1, 0.2, 0.3, 0.9, 0.9]
    found = trunks([early, early, late, late])
    assert found.status == "crossed" and found.fit_status == "bound hit"
    assert found.width_decades is None
    assert found.low is not None and found.high is not None and found.low < found.high


def test_tokens_that_fall_back_are_not_monotone() -> None:
    result = trunks([[0.1, 0.9, 0.1, 0.9]] * 2 + [[0.1, 0.1, 0.9, 0.9]])
    assert result.status == "not monotone" and "2 of 3" in result.reason
    assert trunks([[0.9, 0.9]]).status == "below smallest"
    assert trunks([[0.9]]).status == "undecided"


def test_a_few_right_by_luck_below_a_leap_do_not_flatten_the_curve() -> None:
    """3 of 1,000 below, .98 above: the threshold lies in the gap, where a curve from 0 lost it."""
    rng = np.random.default_rng(8)
    scale = np.repeat(10 ** np.linspace(3, 6.5, 8), 5)
    hits = rng.binomial(1000, np.where(scale < 10**4.7, 0.003, 0.98))
    found = threshold_along_scale(scale, hits, np.full(scale.size, 1000), 0.0)
    assert found.status == "crossed" and found.curve is not None
    assert 0.001 < found.curve.guess < 0.006
    assert found.low == pytest.approx(10**4.5) and found.high == pytest.approx(10**5)


def test_small_accuracies_that_rise_are_no_floor() -> None:
    scale = np.repeat(10 ** np.linspace(3, 5, 5), 4)
    hits = np.repeat([0, 6, 18, 300, 900], 4)
    found = threshold_along_scale(scale, hits, np.full(scale.size, 1000), 0.0)
    assert found.curve is not None and found.curve.guess == 0


def test_a_half_point_outside_the_gap_of_the_means_is_withheld_where_sizes_misfit() -> None:
    """2-step chains of the laptop study: up at once, then slowly; means cross from 6.4k to 14k."""
    hits = {
        452: [22, 18, 21, 25, 20], 1544: [31, 20, 33, 23, 26], 3564: [31, 26, 24, 24, 23],
        6384: [141, 170, 78, 115, 141], 13992: [177, 196, 196, 197, 190],
        24512: [186, 208, 164, 155, 192], 55584: [199, 213, 190, 215, 211],
        148768: [233, 235, 216, 274, 211],
    }  # fmt: skip
    scale, counts = np.repeat(list(hits), 5), np.concatenate(list(hits.values()))
    found = threshold_along_scale(scale, counts, np.full(scale.size, 300), 0.0567)
    assert found.status == "undecided" and found.fit_status == "misfit"
    assert (found.low, found.high) == pytest.approx((6384, 13992))
    assert found.estimate is None and "outside the gap" in found.reason
