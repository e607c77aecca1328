"""Allocation by a law: closed forms against numeric minima."""

import numpy as np
import pytest

from saltus.law.allocation import (
    Cost,
    compute_optimal,
    compute_optimal_numeric,
    cost_exponents,
    fit_cost,
    parametric_allocation,
)
from saltus.law.forms import Chinchilla
from saltus.law.solve import fit


def test_closed_form_is_the_numeric_minimum(truth: dict[str, float]) -> None:
    for flops in (1e13, 1e16, 1e19):
        params, tokens = compute_optimal(truth, flops)
        assert 6 * params * tokens == pytest.approx(flops, rel=1e-12)
        found, left, inside = compute_optimal_numeric(
            truth, lambda n, c=flops: c / (6 * n), (params / 1e3, params * 1e3)
        )
        assert inside
        assert found == pytest.approx(float(params), rel=1e-4)
        assert left == pytest.approx(float(tokens), rel=1e-4)


def test_optimum_outside_the_range_is_said_to_be_a_bound(truth: dict[str, float]) -> None:
    params = float(compute_optimal(truth, 1e16)[0])
    spend = (params * 10, params * 100)
    assert not compute_optimal_numeric(truth, lambda n: 1e16 / (6 * n), spend)[2]


def test_optimal_size_grows_with_the_exponent_a(truth: dict[str, float]) -> None:
    params, tokens = compute_optimal(truth, np.array([1e15, 1e17]))
    fitted = fit(Chinchilla(), *exact(truth))
    allocation = parametric_allocation(fitted)
    assert np.log10(params[1] / params[0]) / 2 == pytest.approx(allocation.a, rel=1e-6)
    assert np.log10(tokens[1] / tokens[0]) / 2 == pytest.approx(allocation.b, rel=1e-6)
    assert allocation.a == pytest.approx(0.42 / 0.73, rel=1e-6)


def exact(truth: dict[str, float]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    n, d = np.meshgrid(np.geomspace(1e4, 1e7, 5), np.geomspace(1e6, 1e8, 5))
    table = {"N": n.ravel(), "D": d.ravel()}
    return table, Chinchilla().predict(truth, table)


def test_closed_form_is_the_numeric_minimum_where_compute_is_a_power_of_size(
    truth: dict[str, float],
) -> None:
    cost = Cost(12.0, 0.94)
    for flops in (1e13, 1e16):
        params, tokens = compute_optimal(truth, flops, cost.coefficient, cost.exponent)
        found, left, inside = compute_optimal_numeric(
            truth,
            lambda n, c=flops: c / (cost.coefficient * n**cost.exponent),
            (params / 1e3, params * 1e3),
        )
        assert inside
        assert found == pytest.approx(float(params), rel=1e-4)
        assert left == pytest.approx(float(tokens), rel=1e-4)
    a, b = cost_exponents(truth["alpha"], truth["beta"], cost)
    ends = compute_optimal(truth, np.array([1e15, 1e17]), cost.coefficient, cost.exponent)
    assert np.log10(ends[0][1] / ends[0][0]) / 2 == pytest.approx(float(a))
    assert np.log10(ends[1][1] / ends[1][0]) / 2 == pytest.approx(float(b))


def test_cost_is_found_from_the_table() -> None:
    params, tokens = np.array([1e4, 1e5, 1e6, 1e6]), np.array([1e6, 1e7, 1e6, 1e8])
    cost = fit_cost(params, tokens, 11.0 * params**0.95 * tokens)
    assert (cost.coefficient, cost.exponent) == pytest.approx((11.0, 0.95))
    same = fit_cost(params[2:], tokens[2:], 6.0 * params[2:] * tokens[2:])
    assert (same.coefficient, same.exponent) == pytest.approx((6.0, 1.0))
