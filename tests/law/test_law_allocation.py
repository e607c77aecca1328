"""Allocation by a law: the closed form against numeric minima, for every form and any cost."""

import numpy as np
import pytest
from scipy import optimize

from saltus.errors import TableError
from saltus.law.allocation import Cost, compute_optimal, cost_exponents, fit_cost, log_optimum
from saltus.law.forms import Chinchilla, Form, Kaplan, OuterExponent, OverTraining
from saltus.law.solve import predict_log

SIX, DEAR_HEADS = Cost(), Cost(12.0, 0.94)
LAWS = [
    (Chinchilla(), {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42}),
    (Kaplan(), {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095}),
    (OuterExponent(), {"E": 1.5, "A": 900.0, "B": 4e3, "alpha": 0.6, "beta": 0.7, "gamma": 0.5}),
    (OverTraining(), {"E": 1.8, "a": 450.0, "b": 1500.0, "eta": 0.17}),
]


@pytest.mark.parametrize("cost", [SIX, DEAR_HEADS], ids=str)
@pytest.mark.parametrize(("form", "parameters"), LAWS, ids=[form.name for form, _ in LAWS])
def test_the_closed_form_is_the_numeric_minimum(
    form: Form, parameters: dict[str, float], cost: Cost
) -> None:
    theta, flops = form.internal(parameters), np.array([1e13, 1e17])
    powers = form.powers(theta)
    assert powers is not None
    params, tokens = (values[0] for values in log_optimum(powers, np.log(flops), cost))
    for i, spent in enumerate(flops):

        def loss(log_params: float, spent: float = spent) -> float:
            size = np.exp([log_params])
            left = spent / (cost.coefficient * size**cost.exponent)
            return float(predict_log(form, theta, {"N": size, "D": left})[0])

        around = (params[i] - 8, params[i] + 9)
        found = optimize.minimize_scalar(loss, bounds=around, options={"xatol": 1e-10})
        assert params[i] == pytest.approx(found.x, abs=1e-4)
    np.testing.assert_allclose(cost.flops(np.exp(params), np.exp(tokens)), flops, rtol=1e-12)


@pytest.mark.parametrize("cost", [SIX, DEAR_HEADS], ids=str)
def test_optimal_size_grows_with_the_exponent_a(truth: dict[str, float], cost: Cost) -> None:
    params, tokens = compute_optimal(truth, np.array([1e15, 1e17]), cost)
    a, b = cost_exponents(truth["alpha"], truth["beta"], cost)
    assert np.log10(params[1] / params[0]) / 2 == pytest.approx(float(a))
    assert np.log10(tokens[1] / tokens[0]) / 2 == pytest.approx(float(b))
    assert float(cost_exponents(0.31, 0.42, SIX)[0]) == pytest.approx(0.42 / 0.73)


def test_many_laws_at_once_are_each_of_them(truth: dict[str, float]) -> None:
    form = Chinchilla()
    theta = form.internal(truth) + np.random.default_rng(0).normal(0, 0.05, (5, 5))
    logs = np.log([1e14, 1e18])
    params, tokens = log_optimum(form.powers(theta), logs, DEAR_HEADS)
    for i in range(len(theta)):
        alone = log_optimum(form.powers(theta[i]), logs, DEAR_HEADS)
        np.testing.assert_array_equal([params[i], tokens[i]], np.stack(alone)[:, 0])


def test_cost_is_found_from_the_table() -> None:
    params, tokens = np.array([1e4, 1e5, 1e6, 1e6]), np.array([1e6, 1e7, 1e6, 1e8])
    cost = fit_cost(params, tokens, 11.0 * params**0.95 * tokens)
    assert (cost.coefficient, cost.exponent) == pytest.approx((11.0, 0.95))
    assert str(cost) == "11 N^0.95 D"
    same = fit_cost(params[2:], tokens[2:], 6.0 * params[2:] * tokens[2:])
    assert (same.coefficient, same.exponent) == pytest.approx((6.0, 1.0))
    assert fit_cost(params, tokens, None) == Cost()
    assert str(Cost()) == "6 N D"


def test_compute_that_falls_with_size_is_refused() -> None:
    params, tokens = np.array([1e4, 1e5, 1e6]), np.array([1e6, 1e7, 1e6])
    with pytest.raises(TableError, match=r"C growing as N\^-1 at fixed D"):
        fit_cost(params, tokens, 1e9 * tokens / params)
