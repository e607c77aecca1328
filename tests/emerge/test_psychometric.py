"""The beta-binomial curve: gradient, likelihood and recovery."""

import numpy as np
from scipy import optimize, stats

from saltus.emerge.cells import Cells, plateau_sizes, size_means
from saltus.emerge.fitness import heterogeneity
from saltus.emerge.psychometric import (
    fit_curve,
    log_likelihood,
)


def cells(seed: int = 0, lapse: float = 0.0, replicas: int = 6, rho: float = 0.05) -> Cells:
    rng = np.random.default_rng(seed)
    x = np.repeat(np.linspace(3, 5.5, 9), replicas)
    psi = 0.02 + (0.98 - lapse) / (1 + np.exp(-(x - 4.1) / 0.2))
    concentration = (1 - rho) / rho
    chance = rng.beta(psi * concentration, (1 - psi) * concentration)
    trials = np.full(x.size, 500.0)
    successes = rng.binomial(500, chance).astype(float)
    return Cells(x, successes, trials, guess=0.02, lapse_free=lapse > 0)


def test_gradient_equals_central_differences() -> None:
    data = cells()
    step = float(np.finfo(float).eps ** (1 / 3))
    for point in ([4.0, -1.5, 2.0, 0.1], [4.6, -0.3, 0.5, 0.02]):
        parameters = np.array(point)
        _, gradient = log_likelihood(data, parameters[None, :])
        shifts = step * np.eye(4)
        ahead, _ = log_likelihood(data, parameters + shifts)
        behind, _ = log_likelihood(data, parameters - shifts)
        np.testing.assert_allclose(gradient[0], (ahead - behind) / (2 * step), rtol=1e-5)


def test_likelihood_equals_scipy_beta_binomial() -> None:
    data = cells()
    location, width, concentration, lapse = 4.0, 0.25, 8.0, 0.05
    value, _ = log_likelihood(
        data, np.array([[location, np.log(width), np.log(concentration), lapse]])
    )
    reach = 1 - 0.02 - lapse
    middle = location - width * np.log((0.48 / reach) / (1 - 0.48 / reach))
    psi = 0.02 + reach / (1 + np.exp(-(data.log_scale - middle) / width))
    per_cell = stats.betabinom.logpmf(
        data.successes, data.trials, psi * concentration, (1 - psi) * concentration
    )
    coefficient = np.log(stats.binom.pmf(data.successes, data.trials, 0.5)) - (
        data.trials * np.log(0.5)
    )
    np.testing.assert_allclose(value[0], (per_cell - coefficient).sum(), rtol=1e-9)


def test_truth_is_recovered_and_no_direct_search_does_better() -> None:
    data = cells(replicas=20)
    fit = fit_curve(data)
    assert fit.status == "converged"
    truth = 4.1 + 0.2 * np.log((0.48 / 0.98) / (1 - 0.48 / 0.98))
    assert abs(fit.location - truth) < 0.03
    assert abs(fit.width / 0.2 - 1) < 0.2
    assert 0.025 < fit.overdispersion < 0.1

    def negative(p: np.ndarray) -> float:
        return -float(log_likelihood(data, np.array([[p[0], p[1], p[2], 0.0]]))[0][0])

    direct = optimize.minimize(negative, [4.0, -1.5, 2.0], method="Nelder-Mead")
    assert fit.log_likelihood >= -direct.fun - 1e-4


def test_lapse_is_fitted_only_on_a_plateau() -> None:
    data = cells(lapse=0.12, replicas=20)
    assert plateau_sizes(data) >= 2
    assert abs(fit_curve(data).lapse - 0.12) < 0.04
    rising = Cells(data.log_scale, data.trials * 0.5, data.trials, guess=0.0)
    assert plateau_sizes(rising) == 0
    assert fit_curve(rising).lapse == 0


def test_sizes_off_the_curve_raise_heterogeneity() -> None:
    data = cells(replicas=8, rho=0.01)
    assert heterogeneity(data, fit_curve(data)) < 3
    index = np.unique(data.log_scale, return_inverse=True)[1]
    bent = np.clip(size_means(data)[index] + 0.15 * (-1.0) ** index, 0.02, 0.98)
    off = Cells(data.log_scale, np.round(bent * 500), data.trials, guess=0.02)
    assert heterogeneity(off, fit_curve(off)) > 4
