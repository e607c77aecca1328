"""Intervals of width and middle: simulated truth, known limits, and what a reciprocal must keep."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import special

from saltus.emerge.axis import LOSS, Axis
from saltus.emerge.cells import Cells
from saltus.emerge.profile import profiled
from saltus.emerge.psychometric import DECADES, fit_curve, log_likelihood
from saltus.emerge.threshold import Clusters, threshold_along_scale

LADDER = 10 ** np.linspace(3, 5.2, 8)


def overdispersed(seed: int, guess: float = 0.0, lapse: float = 0.0, width: float = 0.25) -> Cells:
    """Eight sizes × 5 replicas, beta-binomial about a logistic with its middle at 4.1."""
    rng = np.random.default_rng(seed)
    x = np.repeat(np.log10(LADDER), 5)
    psi = guess + (1 - guess - lapse) * special.expit((x - 4.1) / width)
    chance = rng.beta(20 * psi + 1e-9, 20 * (1 - psi) + 1e-9)
    successes = rng.binomial(1000, chance).astype(float)
    return Cells(x, successes, np.full(40, 1000.0), guess=guess, lapse_free=lapse > 0)


def test_gradient_at_the_middle_equals_central_differences() -> None:
    data = replace(overdispersed(0, 0.05, 0.1), level=None)
    step = float(np.finfo(float).eps ** (1 / 3))
    point = np.array([4.0, -1.5, 2.0, 0.1])
    _, gradient = log_likelihood(data, point[None, :])
    ahead, _ = log_likelihood(data, point + step * np.eye(4))
    behind, _ = log_likelihood(data, point - step * np.eye(4))
    np.testing.assert_allclose(gradient[0], (ahead - behind) / (2 * step), rtol=1e-5)


def test_the_middle_is_the_same_maximum_under_another_name() -> None:
    data = overdispersed(1, 0.1, 0.1)
    at_level, halfway = fit_curve(data), fit_curve(replace(data, level=None))
    assert halfway.location == pytest.approx(at_level.middle, abs=1e-3)
    assert halfway.log_likelihood == pytest.approx(at_level.log_likelihood, abs=1e-4)


def test_width_and_middle_cover_the_truth() -> None:
    width = middle = 0
    for seed in range(12):
        data = overdispersed(seed, 0.1)
        found = profiled(data, fit_curve(data), 5.99)
        low, high = found.width
        width += (low or 0) <= DECADES * 0.25 <= (high or np.inf)
        low, high = found.middle
        middle += (low or 0) <= 4.1 <= (high or np.inf)
    assert width >= 10 and middle >= 10


def test_a_step_has_no_narrowest_width() -> None:
    share = np.repeat([0.0, 1.0], [20, 20])
    found = threshold_along_scale(np.repeat(LADDER, 5), share * 100, np.full(40, 100), 0.0)
    assert found.width_decades is None and found.width_low is None
    assert found.width_high is not None and found.width_high >= np.log10(LADDER[4] / LADDER[3])


def test_n50_is_halfway_between_guessing_and_the_plateau() -> None:
    data = overdispersed(2, 0.2, 0.1, 0.15)
    scale = 10**data.log_scale
    found = threshold_along_scale(scale, data.successes, data.trials, 0.2)
    assert found.n50 is not None and found.n50_low is not None and found.n50_high is not None
    assert found.n50_low < 10**4.1 < found.n50_high
    assert found.n50 > (found.estimate or np.inf)  # .55 lies above .5
    high = threshold_along_scale(scale, data.successes, data.trials, 0.2, level=0.95)
    assert high.status == "above largest" and high.n50 is not None


def test_a_falling_scale_is_the_reciprocal_of_a_rising_one() -> None:
    data = overdispersed(3)
    scale = 10**data.log_scale
    rising = threshold_along_scale(scale, data.successes, data.trials, 0.0)
    falling = threshold_along_scale(
        1 / scale, data.successes, data.trials, 0.0, axis=Axis("loss", falling=True)
    )
    for low, high in (("low", "high"), ("n50_low", "n50_high"), ("estimate", "estimate"),
                      ("first_crossing_low", "first_crossing_high")):  # fmt: skip
        assert getattr(falling, low) == pytest.approx(1 / getattr(rising, high), rel=1e-6)
    for name in ("width_decades", "width_low", "width_high", "overdispersion"):
        assert getattr(falling, name) == pytest.approx(getattr(rising, name), rel=1e-6)
    assert rising.status == falling.status == "crossed"
    none = threshold_along_scale(1 / scale, data.successes / 4, data.trials, 0.0, axis=LOSS)
    assert (none.status, none.censored) == ("below smallest", "left")
    ends = f"< {1 / LADDER[-1]:.3g}, {none.high:.3g}"
    assert none.label == f"< {1 / LADDER[-1]:.3g} [{ends}]" and "lowest loss" in none.reason
    assert {field.name for field in fields(none)} == {field.name for field in fields(rising)}


def along_loss(seed: int) -> tuple[bool, float]:
    """Whether the jackknife covers a simulated threshold along loss, and its width as a ratio."""
    rng = np.random.default_rng(seed)
    params, tokens = np.geomspace(3e3, 5e5, 8), 2.0 ** np.arange(19, 23)
    loss = 1.72 + 28 * params[:, None, None] ** -0.31 + 265 * tokens[None, :, None] ** -0.42
    loss = loss * np.exp(0.004 * rng.normal(size=(8, 1, 5)))
    truth = float(np.quantile(loss, rng.uniform(0.3, 0.7)))
    seeds = 0.8 * rng.normal(size=(8, 1, 5)) + 0.6 * rng.normal(size=loss.shape)
    chance = special.expit(-np.log10(loss / truth) / 0.03 + 0.5 * seeds)
    place = np.broadcast_to(np.arange(32).reshape(8, 4, 1), loss.shape).ravel()
    found = threshold_along_scale(
        loss.ravel(), rng.binomial(500, chance).ravel(), np.full(160, 500), 0.0,
        axis=LOSS, clusters=Clusters(place, place // 4),
    )  # fmt: skip
    assert found.status == "crossed" and found.low is not None and found.high is not None
    return found.low <= truth <= found.high, found.high / found.low


def test_the_jackknife_along_loss_covers_the_truth() -> None:
    results = [along_loss(seed) for seed in range(8)]
    assert sum(covered for covered, _ in results) >= 6
    assert max(ratio for _, ratio in results) < 1.3
