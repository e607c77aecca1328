"""Reliability bins and the smooth curve."""

import numpy as np
import pytest

from saltus.calibrate.errors import expected_calibration_error
from saltus.calibrate.reliability import reliability_bins, smooth_curve


def overconfident(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 2, n)
    return confidence, rng.random(n) < confidence**2


def test_bins_add_up_to_the_expected_calibration_error() -> None:
    confidence, correct = overconfident(0)
    bins = reliability_bins(confidence, correct)
    assert bins.count.sum() == 4000 and bins.share.sum() == pytest.approx(1)
    gap = np.nan_to_num(np.abs(bins.accuracy - bins.confidence))
    assert (bins.share * gap).sum() == pytest.approx(
        expected_calibration_error(confidence, correct)
    )
    held = bins.count > 0
    assert ((bins.low <= bins.confidence) & (bins.confidence <= bins.high))[held].all()
    assert ((bins.accuracy_low <= bins.accuracy) & (bins.accuracy <= bins.accuracy_high))[
        held
    ].all()


def test_an_empty_bin_is_null() -> None:
    bins = reliability_bins([0.95, 0.99], [1, 1])
    assert bins.count.tolist() == [0] * 14 + [2]
    assert np.isnan(bins.accuracy[:14]).all() and np.isnan(bins.accuracy_low[0])
    assert bins.accuracy[14] == bins.accuracy_high[14] == 1


def test_smooth_curve_follows_the_truth_within_its_band() -> None:
    inside = []
    for seed in range(8):
        confidence, correct = overconfident(seed)
        curve = smooth_curve(confidence, correct, seed=seed)
        middle = (curve.confidence > 0.3) & (curve.confidence < 0.95)
        truth = curve.confidence[middle] ** 2
        assert np.abs(curve.accuracy[middle] - truth).max() < 0.12
        inside.append(((curve.low[middle] <= truth) & (truth <= curve.high[middle])).mean())
    assert np.mean(inside) > 0.85


def test_density_integrates_to_one_and_thin_ends_are_null() -> None:
    confidence, correct = overconfident(1)
    curve = smooth_curve(confidence, correct)
    assert np.trapezoid(curve.density, curve.confidence) == pytest.approx(1, abs=0.01)
    assert np.isnan(curve.accuracy[0]) and np.isnan(curve.low[0])


def test_band_is_wider_when_whole_documents_are_resampled() -> None:
    rng = np.random.default_rng(0)
    document = np.repeat(np.arange(100), 40)
    confidence = rng.uniform(0.2, 0.9, 4000)
    correct = rng.random(4000) < np.clip(confidence + 0.2 * rng.normal(size=100)[document], 0, 1)
    rows = smooth_curve(confidence, correct)
    documents = smooth_curve(confidence, correct, document)
    middle = slice(30, 80)
    assert np.mean((documents.high - documents.low)[middle]) > 1.2 * np.mean(
        (rows.high - rows.low)[middle]
    )
