"""Calibration errors: against torchmetrics, published bias floors, and simulated coverage."""

import numpy as np
import pytest

from saltus.calibrate.cells import gather, groups_of
from saltus.calibrate.errors import (
    brier,
    equal_mass_bins,
    expected_calibration_error,
    l2_squared_debiased,
    negative_log_likelihood,
    overconfidence,
)
from saltus.calibrate.inversion import run_errors
from saltus.calibrate.resampling import interval, mean_draws, resampling_weights


def floor_of(confidence: np.ndarray, seed: int = 0) -> float:
    return run_errors(gather(confidence, confidence > 0.5), seed=seed).floors["ece"]


def cluster_interval(values: np.ndarray, cluster: np.ndarray, draws: int, seed: int = 0):  # type: ignore[no-untyped-def]
    group, num = groups_of(cluster, len(values), seed)
    weights = resampling_weights(num, draws, np.random.default_rng(seed))
    return interval(mean_draws(values[:, None], group, weights, num)[:, 0])


def calibrated(seed: int, n: int, sharp: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.beta(8, 2, n) if sharp else rng.random(n)
    return confidence, rng.random(n) < confidence


@pytest.mark.parametrize("seed", [0, 1])
def test_ece_equals_torchmetrics(seed: int) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    confidence, correct = calibrated(seed, 3000)
    confidence = np.clip(confidence, 0.5, 1 - 1e-6)
    # Two classes with top-1 probability `confidence`; class 0 is always the prediction.
    probabilities = torch.tensor(np.stack([confidence, 1 - confidence], axis=1))
    target = torch.tensor(np.where(correct, 0, 1))
    for num_bins in (10, 15):
        expected = functional.multiclass_calibration_error(
            probabilities, target, num_classes=2, n_bins=num_bins, norm="l1"
        )
        ours = expected_calibration_error(confidence, correct, num_bins)
        assert ours == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("n", "sharp", "floor"),
    [
        (300, False, 0.071),
        (1000, False, 0.038),
        (3000, False, 0.023),
        (10_000, False, 0.012),
        (300, True, 0.050),
        (1000, True, 0.027),
        (3000, True, 0.017),
        (10_000, True, 0.009),
    ],
)
def test_bias_floor_of_a_calibrated_model(n: int, sharp: bool, floor: float) -> None:
    floors = [floor_of(calibrated(seed, n, sharp)[0], seed) for seed in range(5)]
    assert np.mean(floors) == pytest.approx(floor, abs=0.0015)


def test_debiased_l2_is_zero_on_average_and_not_clipped() -> None:
    values = [l2_squared_debiased(*calibrated(seed, 10_000)) for seed in range(60)]
    assert abs(np.mean(values)) < 2e-4
    assert min(values) < 0
    shifted = [
        l2_squared_debiased(np.minimum(confidence + 0.1, 1), correct)
        for confidence, correct in (calibrated(seed, 10_000, sharp=True) for seed in range(5))
    ]
    assert np.mean(shifted) > 5e-3


def test_debiased_l2_equals_its_formula() -> None:
    confidence, correct = calibrated(2, 600)
    order = np.argsort(confidence)
    total = 0.0
    for rows in np.split(order, 15):
        accuracy = correct[rows].mean()
        gap = accuracy - confidence[rows].mean()
        total += rows.size / 600 * (gap**2 - accuracy * (1 - accuracy) / (rows.size - 1))
    assert l2_squared_debiased(confidence, correct) == pytest.approx(total, abs=1e-12)


def test_closed_forms() -> None:
    confidence, correct = np.array([0.9, 0.6, 0.8, 1.0]), np.array([1, 0, 1, 0])
    assert brier(confidence, correct) == pytest.approx((0.01 + 0.36 + 0.04 + 1.0) / 4)
    assert overconfidence(confidence, correct) == pytest.approx(0.825 - 0.5)
    expected = -(np.log(0.9) + np.log(0.4) + np.log(0.8) + np.log(1e-6)) / 4
    assert negative_log_likelihood(confidence, correct) == pytest.approx(expected, rel=1e-6)
    # One bin each: 0.9 → |1 - .9|, 0.6 → .6, 0.8 (bin 12), 0.9 (13), 1.0 (14, closed).
    assert expected_calibration_error(confidence, correct) == pytest.approx(
        (0.1 + 0.6 + 0.2 + 1.0) / 4
    )


def test_ties_share_a_bin_and_rows_have_no_order() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.integers(1, 8, 500) / 8
    correct = rng.random(500) < confidence
    bins = equal_mass_bins(confidence)
    assert all(np.unique(bins[confidence == value]).size == 1 for value in np.unique(confidence))
    order = rng.permutation(500)
    for equal_mass in (False, True):
        assert expected_calibration_error(
            confidence, correct, equal_mass=equal_mass
        ) == pytest.approx(
            expected_calibration_error(confidence[order], correct[order], equal_mass=equal_mass)
        )
    assert l2_squared_debiased(confidence, correct) == pytest.approx(
        l2_squared_debiased(confidence[order], correct[order])
    )
    assert floor_of(confidence) == floor_of(confidence[order])


def test_equal_mass_bins_are_equal_and_hold_two_rows_or_more() -> None:
    counts = np.bincount(equal_mass_bins(np.random.default_rng(1).random(1500)))
    assert counts.tolist() == [100] * 15
    few = np.bincount(equal_mass_bins(np.array([0.1, 0.1, 0.2, 0.9, 0.9])))
    assert few.min() >= 2 and few.sum() == 5


def test_cluster_bootstrap_covers_the_signed_gap() -> None:
    """Documents share a shift; rows resampled alone would cover about half as often as claimed."""
    rng = np.random.default_rng(7)
    covered = by_row = 0
    num = 200
    for seed in range(num):
        document = np.repeat(np.arange(60), 15)
        shift = 0.12 * rng.normal(size=60)[document]
        confidence = rng.uniform(0.4, 0.9, document.size)
        chance = np.clip(confidence - 0.05 + shift, 0, 1)
        gap = confidence - (rng.random(document.size) < chance)
        ends = cluster_interval(gap, document, 300, seed)
        covered += ends.low <= 0.05 <= ends.high
        naive = cluster_interval(gap, np.arange(document.size), 200, seed)
        by_row += naive.low <= 0.05 <= naive.high
    assert covered / num >= 0.90
    assert by_row < covered


def test_gathered_clusters_do_not_change_the_interval() -> None:
    values = np.random.default_rng(3).normal(size=6000)
    found = cluster_interval(values, np.arange(6000), 500)
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(6000), rel=0.12)


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        brier([0.5], [1, 0])
    with pytest.raises(ValueError, match="outside"):
        brier([1.2], [1])
    with pytest.raises(ValueError, match="null"):
        brier([float("nan")], [1])
