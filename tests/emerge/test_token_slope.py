"""Tokens to learn against size: least squares without censoring, SciPy with it, and coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltus.emerge.token_slope import (
    log_likelihood,
    slope_of_scores,
    token_slope,
)

SIZES = 10 ** np.linspace(2.7, 5.2, 8)
HORIZONS = 10 ** np.linspace(4.4, 6.4, 11)


def crossings(
    seed: int, slope: float = -0.4, size_sd: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and tokens (40,) of 5 trunks at each of 8 sizes."""
    rng = np.random.default_rng(seed)
    params = np.repeat(SIZES, 5)
    off = np.repeat(size_sd * rng.normal(size=8), 5)
    log_tokens = 5.6 + slope * (np.log10(params) - 4) + off + 0.15 * rng.normal(size=40)
    return params, 10**log_tokens


def censored(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = np.concatenate([[0.0], HORIZONS, [np.inf]])
    i = np.searchsorted(HORIZONS, tokens)
    return edges[i], edges[i + 1]


def test_without_censoring_it_is_least_squares() -> None:
    params, tokens = crossings(0)
    found = token_slope(params, tokens, tokens)
    line = stats.linregress(np.log10(params), np.log10(tokens))
    assert found.status == "converged" and found.num_exact == 40
    assert found.slope == pytest.approx(line.slope, abs=1e-6)
    level = line.intercept + line.slope * np.log10(found.reference)
    assert found.log_level == pytest.approx(level, abs=1e-6)
    residual = np.log10(tokens) - line.intercept - line.slope * np.log10(params)
    assert found.spread == pytest.approx(residual.std(), rel=1e-5)


def test_gradient_equals_central_differences() -> None:
    params, tokens = crossings(1)
    below, reached = censored(tokens)
    below[:3] = reached[:3] = tokens[:3]
    x = np.log10(params) - 4
    with np.errstate(divide="ignore"):
        ends = np.log10(below), np.log10(reached)
    step = float(np.finfo(float).eps ** (1 / 3))
    for point in ([5.5, -0.3, -1.5], [6.0, 0.1, -0.5]):
        theta = np.array(point)
        _, gradient = log_likelihood(theta, x, *ends)
        for j in range(3):
            shift = step * np.eye(3)[j]
            ahead, behind = (log_likelihood(theta + s * shift, x, *ends)[0] for s in (1, -1))
            assert gradient[j] == pytest.approx((ahead - behind) / (2 * step), rel=1e-5, abs=1e-6)


def test_likelihood_is_greatest_where_scipy_finds_it_on_censored_data() -> None:
    _, tokens = crossings(2)
    below, reached = censored(tokens)
    with np.errstate(divide="ignore"):
        low, high = np.log10(below), np.log10(reached)
    mean, spread = stats.norm.fit(stats.CensoredData.interval_censored(low, high))
    value, gradient = log_likelihood(np.array([mean, 0.0, np.log(spread)]), np.zeros(40), low, high)
    np.testing.assert_allclose(gradient[[0, 2]], 0, atol=1e-2)
    shares = stats.norm.cdf(high, mean, spread) - stats.norm.cdf(low, mean, spread)
    assert value == pytest.approx(np.log(shares).sum(), rel=1e-9)


def test_slope_of_censored_records_covers_the_truth() -> None:
    num, covered, errors = 60, 0, []
    for seed in range(num):
        params, tokens = crossings(seed, size_sd=0.1)
        found = token_slope(params, *censored(tokens))
        assert found.slope_low is not None and found.slope_high is not None
        covered += found.slope_low <= -0.4 <= found.slope_high
        errors.append(float(found.slope or 0.0) + 0.4)
    assert covered >= 54
    assert abs(np.mean(errors)) < 0.025


def test_what_the_horizons_do_not_resolve_is_refused() -> None:
    params, tokens = crossings(3)
    late = token_slope(params, np.full(40, HORIZONS[-1]), np.full(40, np.inf))
    assert late.status == "refused" and late.num_right == 40 and late.slope is None
    one_gap = token_slope(
        params, np.where(params > 1e4, 1e5, 4e5), np.where(params > 1e4, 4e5, np.inf)
    )
    assert one_gap.status == "refused" and "one gap" in one_gap.reason
    with pytest.raises(ValueError, match="ends before"):
        token_slope(params, tokens, tokens / 2)


def test_scores_and_records_give_one_answer() -> None:
    params, tokens = crossings(4)
    seed = np.tile(np.arange(5), 8)
    rows = [
        {"params_nonembedding": p, "seed": s, "horizon": h, "successes": 30 * (h >= t), "items": 30}
        for p, s, t in zip(params, seed, tokens, strict=True)
        for h in HORIZONS
    ]
    found = slope_of_scores(pd.DataFrame(rows).sample(frac=1, random_state=0))
    assert found.slope == pytest.approx(token_slope(params, *censored(tokens)).slope, abs=1e-5)


def test_sizes_that_never_cross_lend_no_freedom() -> None:
    """Three of eight sizes cross: a slope without interval; with four, t has two degrees."""
    params, tokens = crossings(6)
    below, reached = censored(tokens)
    found = {}
    for num in (3, 4):
        never = params < SIZES[8 - num] * 0.99
        one, other = np.where(never, HORIZONS[-1], below), np.where(never, np.inf, reached)
        found[num] = token_slope(params, one, other)
        assert found[num].num_crossing == num and found[num].num_sizes == 8
    assert found[3].status == "converged" and found[3].slope_low is None
    assert "3 sizes cross, 4 are needed" in found[3].reason
    four = found[4]
    assert four.slope is not None and four.slope_low is not None and four.slope_high is not None
    never = params < SIZES[4] * 0.99
    one, other = np.where(never, HORIZONS[-1], below), np.where(never, np.inf, reached)
    parts = [token_slope(params[kept], one[kept], other[kept]).slope
             for kept in (params != size for size in SIZES)]  # fmt: skip
    half = stats.t.ppf(0.975, 2) * np.sqrt(7 * np.var(np.array(parts, float)))
    assert four.slope_high - four.slope == pytest.approx(half, rel=0.02)
