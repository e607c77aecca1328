"""Interval-censored crossings against SciPy and closed forms."""

import numpy as np
import pytest
from scipy import stats

from saltus.emerge.censored import Records, crossing_records, fit_median, median_bracket

HORIZONS = 2.0 ** np.arange(17, 24)


def simulated(seed: int, num_trunks: int, spread: float) -> Records:
    crossings = 10 ** np.random.default_rng(seed).normal(6.0, spread, num_trunks)
    above = HORIZONS[None, :] >= crossings[:, None]
    replica = np.repeat(np.arange(num_trunks), HORIZONS.size)
    return crossing_records(np.tile(HORIZONS, num_trunks), replica, above.ravel())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_median_equals_scipy_lognormal_on_censored_data(seed: int) -> None:
    records = simulated(seed, 12, 0.5)
    fit = fit_median(records, HORIZONS, cutoff=3.84)
    data = stats.CensoredData.interval_censored(records.below, records.reached)
    sigma, _, scale = stats.lognorm.fit(data, 1.0, floc=0, scale=1e6)
    assert fit.log_median == pytest.approx(np.log10(scale), abs=2e-3)
    assert fit.spread == pytest.approx(sigma / np.log(10), rel=1e-2)


def test_records_take_the_first_crossing_of_each_trunk() -> None:
    above = np.array([[0, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    records = crossing_records(
        np.tile([10.0, 20.0, 40.0], 3), np.repeat([0, 1, 2], 3), above.ravel()
    )
    np.testing.assert_array_equal(records.below, [10, 40, 0])
    np.testing.assert_array_equal(records.reached, [20, np.inf, 10])


def test_median_bracket_is_the_middle_record() -> None:
    records = Records(np.array([1.0, 2, 4]), np.array([2.0, 4, np.inf]))
    assert median_bracket(records) == (2, 4)
    assert median_bracket(Records(np.array([1.0, 4]), np.array([2.0, 8]))) == (1, 8)


def test_interval_narrows_with_trunks_and_opens_with_the_cutoff() -> None:
    few = fit_median(simulated(0, 6, 0.3), HORIZONS, 3.84)
    many = fit_median(simulated(0, 60, 0.3), HORIZONS, 3.84)
    assert few.log_low is not None and few.log_high is not None
    assert many.log_low is not None and many.log_high is not None
    assert many.log_low < many.log_median < many.log_high
    assert many.log_high - many.log_low < 0.6 * (few.log_high - few.log_low)
    assert fit_median(simulated(0, 6, 0.3), HORIZONS, 1e3).log_high is None


def test_a_spread_that_is_not_seen_is_a_bound() -> None:
    """Half of the trunks cross in either of two neighbouring gaps: no spread fits best."""
    below = np.repeat(HORIZONS[2:4], 3)
    split = fit_median(Records(below, 2 * below), HORIZONS, 3.84)
    assert split.status == "bound hit"
    assert split.log_median == pytest.approx(np.log10(HORIZONS[3]), abs=0.02)
    assert fit_median(simulated(0, 20, 0.5), HORIZONS, 3.84).status == "converged"
