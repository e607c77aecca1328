"""Widths of transitions: closed forms, an independent search, coverage, and open ends."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, special

from saltus.emerge.means import Means, accuracy_means, draw_means, nll_means, size_means
from saltus.emerge.transition import (
    curve,
    cutoff,
    fit_transition,
    width_interval,
)
from saltus.emerge.widths import PER_WIDTH, make_grid, profile_of, project_heights

X = np.linspace(3.0, 5.5, 12)


def falling(width: float, middle: float = 4.2, noise: float = 0.0, seed: int = 0) -> Means:
    generator = np.random.default_rng(seed)
    x = np.repeat(X, 5)
    y = 5.0 - 4.6 * special.expit((x - middle) * PER_WIDTH / width)
    return size_means(x, y + generator.normal(0, noise, x.size), rising=False)


def test_width_is_that_of_ten_to_ninety_percent() -> None:
    fit = fit_transition(falling(1.0))
    tenth, last = (5.0 - 4.6 * share for share in (0.1, 0.9))
    found = [
        optimize.brentq(lambda x, y=y: float(curve(fit, np.array([x]))[0]) - y, 2, 7)
        for y in (tenth, last)
    ]
    assert fit.width == pytest.approx(1.0, rel=0.03)
    assert found[1] - found[0] == pytest.approx(1.0, rel=0.05)
    assert (fit.start, fit.end) == (pytest.approx(5.0, rel=0.01), pytest.approx(0.4, rel=0.05))


def test_a_power_law_is_as_wide_as_its_exponent_says() -> None:
    """The tail of a curve: y = c N^-.5 has 2 ln 9 / (.5 ln 10)."""
    means = size_means(np.repeat(X, 2), np.repeat(30 * 10 ** (-0.5 * X), 2), rising=False)
    fit = fit_transition(means)
    assert fit.width == pytest.approx(2 * np.log(9) / (0.5 * np.log(10)), rel=0.05)


@pytest.mark.parametrize("width", [0.3, 0.8, 2.0])
def test_the_minimum_is_that_of_an_independent_search(width: float) -> None:
    means = falling(width, noise=0.2, seed=3)
    fit = fit_transition(means)

    def residuals(theta: np.ndarray) -> np.ndarray:
        a, b, middle, log_width = theta
        y = a + b * (1 - special.expit((means.x - middle) * PER_WIDTH / np.exp(log_width)))
        return np.asarray((y - means.y) / np.sqrt(means.variance))

    theirs = min(
        float(np.sum(optimize.least_squares(residuals, [0.4, 4.6, m, np.log(w)]).fun ** 2))
        for m in np.linspace(3.5, 5, 7)
        for w in (0.2, 0.5, 1, 2, 4)
    )
    assert fit.rss <= theirs * 1.01 + 1e-9


@pytest.mark.parametrize("sizes", [6, 12])
def test_a_profile_is_that_of_a_dense_search(sizes: int) -> None:
    """Of a precise wide curve: narrow widths are far off, and must be seen to be."""
    x = np.linspace(3, 5.5, sizes)
    means = falling(1.0)
    y = 5.0 - 4.6 * special.expit((x - 4.2) * PER_WIDTH / 1.0)
    means = replace(means, x=x, y=y, variance=np.full(sizes, 1e-4))
    grid = make_grid(x)
    weights = 1 / means.variance
    found = profile_of(grid, y[None], weights[None], means)
    for row in range(0, grid.widths.size, 4):
        scale = grid.widths[row] / PER_WIDTH

        def rss(location: np.ndarray, scale: float = scale) -> np.ndarray:
            shapes = special.expit((location[:, None] - x) / scale)
            return np.asarray(project_heights(shapes, y[None], weights[None])[0][0])

        dense = np.concatenate([each + scale * np.linspace(-10, 10, 2001) for each in x])
        least = float(rss(dense).min())
        assert found.rss[0, row] == pytest.approx(least, rel=2e-2, abs=1e-3)
        curve_ = special.expit((found.location[0, row] - x) / scale)
        own = weights @ (y - found.base[0, row] - found.height[0, row] * curve_) ** 2
        assert found.rss[0, row] == pytest.approx(own, rel=1e-6, abs=1e-5)


def test_heights_are_those_of_bounded_least_squares() -> None:
    generator = np.random.default_rng(0)
    shapes = generator.uniform(0, 1, (40, 8))
    y, weights = generator.normal(0.5, 0.6, (3, 8)), generator.uniform(0.5, 2, (3, 8))
    for ceiling in (None, 1.0):
        rss, a, b = project_heights(shapes, y, weights, ceiling)
        for q in range(3):
            root = np.sqrt(weights[q])
            for k in range(40):

                def loss(theta: np.ndarray, q: int = q, k: int = k) -> float:
                    part = theta[0] + theta[1] * shapes[k] - y[q]
                    return float(np.sum(weights[q] * part**2))

                assert a[q, k] >= 0
                assert b[q, k] >= 0
                assert rss[q, k] == pytest.approx(loss(np.array([a[q, k], b[q, k]])), abs=1e-9)
                if ceiling is None:
                    design = np.c_[np.ones(8), shapes[k]] * root[:, None]
                    assert rss[q, k] == pytest.approx(
                        optimize.nnls(design, root * y[q])[1] ** 2, abs=1e-9
                    )
                    continue
                assert a[q, k] + b[q, k] <= 1 + 1e-12
                best = min(
                    loss(np.array([p, s]))
                    for p in np.linspace(0, 1, 101)
                    for s in np.linspace(0, 1 - p, 51)
                )
                assert rss[q, k] <= best + 1e-9


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    """200 tables of seeds that stand elsewhere on the curve, sizes too; nominal .95."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        middle = generator.uniform(3.7, 4.8)
        place = X[:, None] + generator.normal(0, 0.05, (12, 1)) + generator.normal(0, 0.05, (12, 5))
        y = 5.0 - 4.6 * special.expit((place - middle) * PER_WIDTH / 1.0)
        y = np.maximum(y + generator.normal(0, 0.05, y.shape), 0)
        fit = fit_transition(size_means(np.repeat(X, 5), y.ravel(), rising=False))
        held += fit.low <= 1.0 <= (np.inf if fit.high is None else fit.high)
    assert held >= 0.93 * 200


def test_ends_are_open_where_the_ladder_cannot_close_them() -> None:
    """A jump within one gap may be as narrow as one likes; a drift may be as wide."""
    jump = fit_transition(falling(0.01, middle=float(X[5] + X[6]) / 2, noise=0.05))
    assert jump.low == 0.0
    assert jump.high is not None
    drift = fit_transition(falling(30.0, noise=0.05))
    assert drift.high is None


def test_interval_is_interpolated_between_widths() -> None:
    grid = make_grid(X)
    excess = 10 * (np.log(grid.widths) - np.log(0.7)) ** 2
    low, high = width_interval(grid.widths, excess, 0.5)
    assert low == pytest.approx(0.7 * np.exp(-np.sqrt(0.05)), rel=0.02)
    assert high == pytest.approx(0.7 * np.exp(np.sqrt(0.05)), rel=0.02)


def test_scale_and_order_do_not_matter() -> None:
    means = falling(0.8, noise=0.2)
    one = fit_transition(means)
    moved = fit_transition(replace(means, x=means.x + 3))
    scaled = fit_transition(replace(means, y=7 * means.y, variance=49 * means.variance))
    for other in (moved, scaled):
        assert other.width == pytest.approx(one.width, rel=1e-6)
        assert other.low == pytest.approx(one.low, rel=1e-6)
    generator = np.random.default_rng(0)
    order = generator.permutation(60)
    x, y = np.repeat(X, 5), generator.normal(size=60) + 5
    np.testing.assert_allclose(
        size_means(x, y, rising=False).variance,
        size_means(x[order], y[order], rising=False).variance,
    )


def test_variances_count_the_size_as_another_seed() -> None:
    x, y = np.repeat(X, 5), np.tile([1.0, 2.0, 3.0, 4.0, 5.0], 12)
    made = nll_means(10**x, y)
    np.testing.assert_allclose(made.variance, 2.5 * (1 + 1 / 5))
    alone = nll_means(10**X, np.arange(12.0))
    assert not alone.known
    np.testing.assert_array_equal(alone.variance, 1.0)


def test_items_set_a_least_variance_of_an_accuracy() -> None:
    made = accuracy_means(10**X, np.zeros(12), np.full(12, 300))
    near = 1 / 302
    assert made.known
    np.testing.assert_allclose(made.variance, near * (1 - near) / 300 * 2)


def test_drawn_tables_have_the_variance_that_is_claimed() -> None:
    means = falling(1.0, noise=0.3)
    drawn, variance = draw_means(means, means.y, np.full(12, 0.3), 4000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.var(axis=0), 0.09 * 1.2, rtol=0.1)
    assert np.all(variance.mean(axis=0) > 0.09 * 1.2 * 0.95)


def test_four_sizes_have_no_width() -> None:
    with pytest.raises(ValueError, match="4 sizes; the width of a transition needs 5"):
        fit_transition(size_means(X[:4], X[:4], rising=True))
    assert cutoff(5) > cutoff(8) > 3.84
