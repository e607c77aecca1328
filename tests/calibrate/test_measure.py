"""All errors together: oracles, identities, resampling by weights, and speed."""

import json
import time

import numpy as np
import pandas as pd
import pytest

from saltus.calibrate import errors, resampling
from saltus.calibrate.cells import MAX_GROUPS, gather, groups_of
from saltus.calibrate.clusters import clustering_of
from saltus.calibrate.measure import measure
from saltus.calibrate.selective import coverage_at, risk_coverage


def made(n: int, gap: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 2, n)
    return confidence, (rng.random(n) < np.clip(confidence - gap, 0, 1)).astype(int)


@pytest.mark.filterwarnings("ignore")
def test_debiased_error_is_that_of_uncertainty_calibration() -> None:
    calibration = pytest.importorskip("calibration", reason="the test extra is not installed")
    confidence, correct = made(1500, 0.2)
    bins = errors.equal_mass_bins(confidence)
    binned = [
        list(zip(confidence[bins == b], correct[bins == b], strict=True)) for b in np.unique(bins)
    ]
    theirs = calibration.utils.unbiased_square_ce(binned)
    assert errors.l2_squared_debiased(confidence, correct) == pytest.approx(theirs, abs=1e-9)


def test_brier_parts_add_up() -> None:
    confidence, correct = made(2000)
    parts = errors.brier_parts(confidence, correct)
    assert parts.total == pytest.approx(errors.brier(confidence, correct))
    whole = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert whole == pytest.approx(parts.total)
    tied = errors.brier_parts(np.repeat([0.2, 0.8], 500), correct[:1000])
    assert tied.within == pytest.approx(0, abs=1e-12)


def test_over_error_counts_only_over_confidence() -> None:
    confidence, correct = np.array([0.9, 0.9, 0.2, 0.2]), np.array([1, 0, 1, 1])
    assert errors.over_error(confidence, correct) == pytest.approx(0.5 * 0.9 * 0.4)
    assert errors.over_error(1 - confidence, np.ones(4)) == 0


def test_coverage_at_a_risk() -> None:
    curve = risk_coverage([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])
    assert coverage_at(curve, 0.0) == 0.5
    assert coverage_at(curve, 0.25) == 1.0
    assert coverage_at(risk_coverage([0.9, 0.8], [0, 1]), 0.1) == 0.0


def test_weights_are_copies_of_rows() -> None:
    """A draw by weights is the estimate of the table with clusters copied that often."""
    confidence, correct = made(600)
    cluster = np.arange(600) // 20
    cells = gather(confidence, correct)
    group, num = groups_of(cluster, 600)
    weights = resampling.resampling_weights(num, 3, np.random.default_rng(1))
    right = correct.astype(float)
    means = resampling.mean_draws(np.column_stack([confidence - right]), group, weights, num)
    squared = resampling.l2_draws(cells, group, weights, right, confidence)
    areas = resampling.risk_draws(confidence, right, group, weights)
    for draw in range(3):
        times = weights[draw][group].astype(int)
        copied_c, copied_y = np.repeat(confidence, times), np.repeat(right, times)
        assert means[draw, 0] == pytest.approx(errors.overconfidence(copied_c, copied_y))
        bins = np.repeat(cells.mass_bin[cells.cell], times)
        total = 0.0
        for b in np.unique(bins):
            y, c = copied_y[bins == b], copied_c[bins == b]
            noise = y.mean() * (1 - y.mean()) / (y.size - 1)
            total += y.size / copied_y.size * ((y.mean() - c.mean()) ** 2 - noise)
        assert squared[draw] == pytest.approx(total)
        curve = risk_coverage(copied_c, copied_y)
        assert areas[draw] == pytest.approx([curve.aurc, curve.excess_aurc, curve.augrc], abs=4e-3)


def test_clusters_add_nothing_to_rows_and_their_own_to_clusters() -> None:
    confidence, correct = made(3000)
    group, num = groups_of(None, 3000)
    cells = gather(confidence, correct)
    assert num == MAX_GROUPS
    alone = clustering_of(cells, group, num, correct.astype(float), confidence)
    assert alone.effect < 1.15
    twice = np.repeat(np.arange(1500), 2)
    pairs_c, pairs_y = np.repeat(confidence[:1500], 2), np.repeat(correct[:1500], 2).astype(float)
    group, num = groups_of(twice, 3000)
    pairs = clustering_of(gather(pairs_c, pairs_y), group, num, pairs_y, pairs_c)
    assert pairs.effect == pytest.approx(2, rel=0.1)
    # A pair stands in one bin: its bins scatter as much as their sum.
    assert pairs.common < 0.2 * np.std(pairs_y - pairs_c) / np.sqrt(1500)


def test_with_both_parts_the_mean_gap_has_its_cluster_robust_variance() -> None:
    """Held to statsmodels: OLS of the gap on its bins' means, then on a constant."""
    sm = pytest.importorskip("statsmodels.api", reason="the test extra is not installed")
    rng = np.random.default_rng(8)
    cluster = np.repeat(np.arange(80), 15)
    confidence = rng.random(cluster.size)
    rate = np.clip(confidence - 0.2 + rng.normal(0, 0.2, 80)[cluster], 0, 1)
    correct = (rng.random(cluster.size) < rate).astype(float)
    cells = gather(confidence, correct)
    group, num = groups_of(cluster, cluster.size)
    found = clustering_of(cells, group, num, correct, confidence)
    bins = pd.get_dummies(cells.mass_bin[cells.cell]).to_numpy(float)
    off = sm.OLS(correct - confidence, bins).fit().resid
    robust = sm.OLS(off, np.ones(off.size)).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}
    )
    alone = found.effect * float((off**2).sum()) / off.size**2
    assert found.common > 0
    assert alone + found.common**2 == pytest.approx(float(robust.bse[0] ** 2) * 80 / 79, rel=1e-9)


def test_signed_intervals_cover() -> None:
    """80 tables of 60 clusters that share their luck; nominal .95."""
    rng = np.random.default_rng(6)
    held = {"overconfidence": 0, "l2_squared_debiased": 0, "brier": 0}
    for trial in range(80):
        luck = np.repeat(rng.normal(0, 0.08, 60), 20)
        confidence = rng.beta(4, 2, 1200)
        rate = np.clip(confidence - 0.1, 0, 1)
        correct = rng.random(1200) < np.clip(rate + luck, 0, 1)
        found = measure(confidence, correct, np.arange(1200) // 20, bootstraps=300, seed=trial)
        bins = errors.equal_mass_bins(confidence)
        gaps = np.bincount(bins, rate - confidence) / np.bincount(bins)
        truth = {
            "overconfidence": float((confidence - rate).mean()),
            "l2_squared_debiased": float((np.bincount(bins) / 1200 * gaps**2).sum()),
            "brier": float(((confidence - rate) ** 2 + rate * (1 - rate)).mean()),
        }
        for name, value in truth.items():
            held[name] += found.intervals[name].low <= value <= found.intervals[name].high
    assert min(held.values()) >= 70, held


def test_an_entry_is_json_with_the_promised_keys() -> None:
    confidence, correct = made(400)
    entry = json.loads(json.dumps(measure(confidence, correct, bootstraps=100).entry()))
    assert {
        "n", "ece", "ece_equal_mass", "l2_squared_debiased", "smooth_ece", "brier",
        "overconfidence", "aurc", "floor", "intervals",
    } <= set(entry)  # fmt: skip
    assert {"total", "reliability", "resolution", "uncertainty"} <= set(entry["brier"])
    assert {"ece", "smooth_ece"} <= set(entry["floor"])
    one = measure(confidence, correct, np.zeros(400), bootstraps=100)
    assert one.entry()["intervals"]["overconfidence"] is None


def test_a_million_predictions_take_seconds() -> None:
    """Ten seconds on one core are promised with 1,000 bootstraps."""
    confidence, correct = made(1_000_000)
    start = time.process_time()
    measure(confidence, correct, np.arange(1_000_000) // 20, bootstraps=1000)
    assert time.process_time() - start < 10


def test_areas_have_the_ends_that_their_estimates_can_have() -> None:
    confidence = np.linspace(0.05, 0.95, 40)
    found = measure(confidence, np.arange(40) == 3)
    for name in ("aurc", "excess_aurc", "augrc"):
        ends = found.intervals[name]
        assert 0 <= ends.low <= getattr(found, name) <= ends.high <= 1
