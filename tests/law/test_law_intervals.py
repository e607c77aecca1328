"""Intervals: the jackknife by hand, its coverage in simulation, and refusals."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from saltus.law.ends import jackknife_error
from saltus.law.forms import Chinchilla
from saltus.law.intervals import allocation_exponent, jackknife, replica_error
from saltus.law.runs import replicas_of, variables_of
from saltus.law.solve import fit, predict_log

MakeRuns = Callable[..., pd.DataFrame]


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=9)
    parts = np.array([np.delete(values, i).mean() for i in range(9)])
    assert jackknife_error(parts) == pytest.approx(values.std(ddof=1) / 3, rel=1e-12)


def test_replica_error_recovers_the_spread_of_replicas() -> None:
    generator = np.random.default_rng(0)
    replicas = np.repeat(np.arange(400), 4)
    residuals = generator.normal(0, 0.01, 400)[replicas]
    assert replica_error(residuals, list(replicas), 5) == pytest.approx(0.01, rel=0.1)
    assert replica_error(np.full(4, 0.01), [0, 0, 1, 1], 5) > 0.01


def test_too_few_sizes_leave_no_interval(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=3)
    table, loss = variables_of(runs), runs["loss_text"].to_numpy()
    fitted = fit(Chinchilla(), table, loss, starts=4)
    assert jackknife(fitted, table, loss, list(runs["size"])) is None


def test_intervals_hold_the_estimate_and_the_method_names_its_freedom(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=6)
    table, loss = variables_of(runs), runs["loss_text"].to_numpy()
    fitted = fit(Chinchilla(), table, loss)
    errors = jackknife(fitted, table, loss, list(runs["size"]), replicas_of(runs))
    assert errors is not None
    assert errors.unconverged == 0
    assert errors.method == "delete-one-size jackknife, t with 3 degrees of freedom"
    for name, bounds in errors.parameter_intervals().items():
        assert bounds is not None
        low, high = bounds
        assert 0 <= low < fitted.parameters[name] < high
    allocation = errors.allocation_interval()
    assert allocation is not None
    low, high = allocation
    assert 0 <= low < high <= 1
    inner, outer = errors.band(table), errors.prediction_interval(table)
    assert np.all(outer[0] < inner[0])
    assert np.all(inner[1] < outer[1])
    expected = errors.rule.quantile * jackknife_error(predict_log(fitted.form, errors.theta, table))
    np.testing.assert_allclose(np.log(inner[1] / inner[0]), 2 * expected, rtol=1e-9)


def test_intervals_cover_the_truth(make_runs: MakeRuns, truth: dict[str, float]) -> None:
    """64 ladders of 8 sizes x 5 seeds x 4 horizons: nominal 95 %; .89 is 2.2 errors below."""
    form, num = Chinchilla(), 64
    hits: dict[str, int] = dict.fromkeys(("E", "A", "B", "alpha", "beta", "a", "new"), 0)
    target = {"N": np.array([12e6]), "D": np.array([128e6])}
    exponent = float(allocation_exponent(truth["alpha"], truth["beta"]))
    generator = np.random.default_rng(11)
    for ladder in range(num):
        runs = make_runs(seed=1000 + ladder)
        table, loss = variables_of(runs), runs["loss_text"].to_numpy()
        fitted = fit(form, table, loss, starts=3)
        errors = jackknife(fitted, table, loss, list(runs["size"]), replicas_of(runs))
        assert errors is not None
        for name, bounds in errors.parameter_intervals().items():
            hits[name] += bounds is not None and bounds[0] <= truth[name] <= bounds[1]
        allocation = errors.allocation_interval()
        assert allocation is not None
        low, high = allocation
        hits["a"] += low <= exponent <= high
        actual = form.predict(truth, target)[0] * np.exp(generator.normal(0, 0.01))
        lows, highs = errors.prediction_interval(target)
        hits["new"] += int(lows[0] <= actual <= highs[0])
    for name, count in hits.items():
        assert count / num >= 0.89, (name, count)


@pytest.mark.parametrize(("seed", "told"), [(0, False), (1, True)])
def test_an_irreducible_loss_lies_between_nothing_and_the_smallest_loss(
    seed: int, told: bool
) -> None:
    """The refits' own ends pass the smallest loss; of one table they pass 0 too."""
    generator = np.random.default_rng(seed)
    sizes = np.repeat(np.geomspace(1e3, 1e5, 5), 4)
    tokens = np.tile(np.geomspace(1e5, 1e6, 4), 5)
    law = 1 + 3 * (sizes**-0.3 + tokens**-0.15)
    loss = law * np.exp(0.01 * generator.standard_normal(20))
    variables = {"N": sizes, "D": tokens}
    fitted = fit(Chinchilla(), variables, loss)
    errors = jackknife(fitted, variables, loss, [f"{size:.0f}" for size in sizes])
    assert errors is not None
    assert fitted.certificate.bounds_hit == ()
    low, high = np.exp(errors.reported_interval("E"))
    assert high > loss.min() and (low > 1e-3) == told
    assert errors.parameter_intervals()["E"] == (pytest.approx(low) if told else 0.0, loss.min())


def test_a_parameter_on_its_bound_has_no_interval(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=6)
    table = variables_of(runs)
    loss = 9 * table["N"] ** -0.1 + 30 * table["D"] ** -0.3
    loss *= np.exp(0.002 * np.random.default_rng(0).standard_normal(len(loss))) * table["N"] ** 0.02
    loss -= 0.2  # bends the law below any positive E
    fitted = fit(Chinchilla(), table, loss)
    assert fitted.certificate.bounds_hit == ("E",)
    errors = jackknife(fitted, table, loss, list(runs["size"]), replicas_of(runs))
    assert errors is not None
    intervals = errors.parameter_intervals()
    assert intervals["E"] is None
    assert intervals["alpha"] is not None
    assert errors.allocation_interval() is not None
