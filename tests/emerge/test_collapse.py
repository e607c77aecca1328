"""Collapse on the loss axis: a shift of known size is found, and its absence is not invented."""

import numpy as np
import pytest

from saltus.emerge.collapse import collapse
from saltus.emerge.logistic import Runs, evaluate

THETA = np.array([[3.6, np.log(5.0), 0.02, 1.0]])


def simulated(seed: int, shift: float, size_sd: float = 0.0) -> tuple[Runs, np.ndarray]:
    """Eight sizes x 5 seeds x 5 horizons; a tenfold size is worth `shift` nats; trunks scatter."""
    rng = np.random.default_rng(seed)
    log_size = np.linspace(2.7, 5.2, 8)
    size, trunk, horizon = (
        axis.ravel() for axis in np.meshgrid(range(8), range(5), range(5), indexing="ij")
    )
    loss = 5.4 - 0.35 * horizon - 0.16 * size * horizon / 4 + 0.03 * rng.normal(size=200)
    off = 0.08 * rng.normal(size=(8, 5))[size, trunk] + size_sd * rng.normal(size=8)[size]
    effective = loss - shift * (log_size[size] - 4) + off
    successes = rng.binomial(300, evaluate(THETA, effective)[0][0])
    runs = Runs(loss, successes.astype(float), np.full(200, 300.0), 10 ** log_size[size], 0.02)
    return runs, trunk.astype(float)


def test_a_shift_is_recovered_and_named() -> None:
    found = collapse(*simulated(0, shift=-0.25))
    assert found.status == "fitted"
    assert found.shift == pytest.approx(-0.25, abs=0.08)
    assert found.shift_high is not None and found.shift_high < 0
    assert found.p_value is not None and found.p_value < 0.05
    assert "no full collapse" in found.sentence
    assert found.size_share is not None and found.size_share > 0.2


def test_one_curve_for_all_sizes_is_recognised() -> None:
    found = [collapse(*simulated(seed, shift=0.0), draws=199) for seed in range(5)]
    assert all(one.share_pooled is not None and one.share_pooled > 0.9 for one in found)
    assert sum((one.p_value or 0) < 0.05 for one in found) <= 1
    covered = [(one.shift_low or 0) <= 0 <= (one.shift_high or 0) for one in found]
    assert sum(covered) >= 4
    assert sum("no difference of sizes is seen" in one.sentence for one in found) >= 3


def test_shares_and_residuals_agree_with_their_definitions() -> None:
    runs, trunks = simulated(3, shift=-0.1)
    found = collapse(runs, trunks, draws=99)
    share = runs.successes / runs.trials
    assert found.rms_pooled is not None and found.share_pooled is not None
    assert found.rms_per_size is not None and found.size_share is not None
    assert found.share_pooled == pytest.approx(1 - found.rms_pooled**2 / share.var())
    assert found.size_share == pytest.approx(1 - (found.rms_per_size / found.rms_pooled) ** 2)
    assert found.rms_per_size < found.rms_pooled
    assert (found.num_runs, found.num_trunks, found.num_sizes) == (200, 40, 8)


def test_too_little_is_refused_with_a_reason() -> None:
    runs, trunks = simulated(0, shift=0.0)
    few = runs.size <= runs.sizes[2]
    refused = collapse(runs.keep(few), trunks[few])
    assert refused.status == "refused" and "3 sizes" in refused.reason
    assert refused.shift is None and refused.sentence.startswith("Collapse not tested")
