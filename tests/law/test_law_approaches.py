"""Envelope and allocation: closed forms against numeric minima, properties of the envelope."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from saltus.law.approaches import (
    average_seeds,
    compute_optimal,
    compute_optimal_numeric,
    fit_envelope,
    lower_envelope,
    parametric_allocation,
)
from saltus.law.forms import Chinchilla
from saltus.law.solve import fit

MakeRuns = Callable[..., pd.DataFrame]


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


def test_envelope_falls_and_no_point_lies_below_it(make_runs: MakeRuns) -> None:
    points = average_seeds(make_runs())
    envelope = lower_envelope(points)
    assert len(points) == 32
    assert np.all(np.diff(envelope["flops_exact"]) > 0)
    assert np.all(np.diff(envelope["loss"]) < 0)
    for flops, loss in zip(points["flops_exact"], points["loss"], strict=True):
        cheaper = envelope[envelope["flops_exact"] <= flops]
        assert cheaper["loss"].min() <= loss


def test_envelope_of_a_dense_exact_table_has_the_exponent_of_theory(
    truth: dict[str, float],
) -> None:
    """On the optimal path L - E is proportional to C^-(alpha beta / (alpha + beta))."""
    rows = [
        {"flops_exact": 6 * n * d, "size": f"{n:.0f}", "tokens": d, "N": n}
        for n in np.geomspace(1e4, 1e7, 25)
        for d in np.geomspace(1e5, 1e9, 40)
    ]
    points = pd.DataFrame(rows)
    table = {"N": points["N"].to_numpy(), "D": points["tokens"].to_numpy()}
    points["loss"] = Chinchilla().predict(truth, table)
    cheap = (points["flops_exact"] > 1e12) & (points["flops_exact"] < 1e15)
    fitted = fit_envelope(points[cheap]).fitted
    assert fitted is not None
    assert fitted.parameters["alpha"] == pytest.approx(0.31 * 0.42 / 0.73, rel=0.05)
    assert fitted.parameters["E"] == pytest.approx(truth["E"], rel=0.03)


def test_envelope_carries_an_interval_or_a_reason(make_runs: MakeRuns) -> None:
    envelope = fit_envelope(average_seeds(make_runs(sizes=6)))
    assert envelope.fitted is not None
    assert envelope.errors is not None
    low, high = envelope.errors.parameter_intervals()["alpha"]
    assert low < envelope.fitted.parameters["alpha"] < high
    short = fit_envelope(average_seeds(make_runs(sizes=1)))
    assert short.fitted is None
    assert "4 points" in short.reason
