"""The lower envelope: its properties and its law."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from saltus.law.envelope import average_seeds, fit_envelope, lower_envelope
from saltus.law.forms import Chinchilla

MakeRuns = Callable[..., pd.DataFrame]


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
