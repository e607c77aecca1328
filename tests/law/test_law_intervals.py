"""Intervals: the jackknife by hand, its coverage in simulation, and refusals."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from saltus.law.bootstrap import bootstrap
from saltus.law.criterion import Criterion, Loss
from saltus.law.ends import DeleteOne, jackknife_error
from saltus.law.forms import Array, Chinchilla
from saltus.law.intervals import allocation_exponent
from saltus.law.jackknife import jackknife, replica_error
from saltus.law.runs import replicas_of, variables_of
from saltus.law.solve import fit, predict_log

MakeRuns = Callable[..., pd.DataFrame]


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=9)
    parts = np.array([np.delete(values, i).mean() for i in range(9)])
    assert jackknife_error(parts) == pytest.approx(values.std(ddof=1) / 3, rel=1e-12)


def test_the_jackknife_of_a_mean_predicts_a_new_value_as_textbooks_do() -> None:
    """mean +- t(n - 1) s sqrt(1 + 1/n), which is a regression on a constant: statsmodels."""
    values = np.random.default_rng(1).normal(size=9)
    parts = np.array([np.delete(values, i).mean() for i in range(9)])
    rule = DeleteOne(8, 0.9)
    low, high = rule.ends(values.mean(), parts, values.std(ddof=1))
    line = sm.OLS(values, np.ones(9)).fit().get_prediction([1.0]).summary_frame(alpha=0.1)
    assert [low, high] == pytest.approx([line["obs_ci_lower"][0], line["obs_ci_upper"][0]])


def test_a_new_value_has_the_freedom_of_its_own_scatter() -> None:
    """Two groups leave t with one degree of freedom; a scatter that is known has a normal's."""
    known, alike = DeleteOne(1, noise_dof=np.inf), np.full(2, 3.0)
    low, high = known.ends(np.array(3.0), alike, 0.5)
    assert [low, high] == pytest.approx(stats.norm(3, 0.5).interval(0.95))
    few = DeleteOne(1, noise_dof=4).ends(np.array(3.0), alike, 0.5)
    assert few == pytest.approx(stats.t(4, 3, 0.5).interval(0.95))


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


def test_a_new_replica_has_the_freedom_of_replicas_and_never_less_than_the_law(
    make_runs: MakeRuns,
) -> None:
    for seeds, expected in ((3, 6 * 3 - 5), (1, 6 - 3)):
        runs = make_runs(sizes=6, seeds=seeds)
        table, loss = variables_of(runs), runs["loss_text"].to_numpy()
        fitted = fit(Chinchilla(), table, loss)
        errors = jackknife(fitted, table, loss, list(runs["size"]), replicas_of(runs))
        assert errors is not None and errors.replica_dof == expected
        error = jackknife_error(predict_log(fitted.form, errors.theta, table))
        half = np.hypot(
            stats.t.ppf(0.975, 3) * error, stats.t.ppf(0.975, expected) * errors.replica_error
        )
        low, high = errors.prediction_interval(table)
        np.testing.assert_allclose(np.log(high / low), 2 * half, rtol=1e-9)


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
def test_an_irreducible_loss_lies_between_nothing_and_the_law_itself(seed: int, told: bool) -> None:
    """The refits' own ends pass the law's band; of one table they pass 0 too."""
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
    below, above = errors.parameter_intervals()["E"]
    assert (low > 1e-3) == told and below == (pytest.approx(low) if told else 0.0)
    # E lies below the law everywhere, so its end is none that the law's own band refuses anywhere.
    predicted, (_, highest) = (
        Chinchilla().predict(fitted.parameters, variables),
        errors.band(variables),
    )
    assert high > above >= fitted.parameters["E"]
    assert above <= highest.min() and (highest >= predicted).all()


def flat_table(seed: int = 0) -> tuple[dict[str, Array], Array]:
    """Return losses close to their floor, one of them far below it by chance."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 4)))
    loss = 2 + 20 * n**-0.4 + 20 * d**-0.4
    loss *= np.exp(np.random.default_rng(seed).normal(0, 0.002, len(n)))
    loss[-1] *= 0.97
    return {"N": n, "D": d}, loss


def test_no_interval_of_e_is_cut_below_its_estimate() -> None:
    variables, loss = flat_table()
    fitted = fit(Chinchilla(), variables, loss)
    assert fitted.parameters["E"] > loss.min()
    sizes = [f"{size:.0f}" for size in variables["N"]]
    errors = jackknife(fitted, variables, loss, sizes)
    drawn = bootstrap(fitted, variables, loss, num=200)
    assert errors is not None
    for each in (errors, drawn):
        ends = each.parameter_intervals()["E"]
        assert ends is not None and ends[0] <= fitted.parameters["E"] <= ends[1]
        assert "E" not in each.notes()


def test_an_interval_beside_its_estimate_says_why() -> None:
    variables, loss = flat_table()
    fitted = fit(Chinchilla(), variables, loss)
    drawn = bootstrap(fitted, variables, loss, num=200)
    moved = replace(drawn, theta=drawn.theta + np.array([0, 0, 0, 2.0, 0]))
    low, _ = moved.parameter_intervals()["alpha"] or (0.0, 0.0)
    assert low > fitted.parameters["alpha"]
    assert moved.notes()["alpha"].startswith("the estimate is not inside: 100 % of the refits")
    assert "% of the refits lie below it" in moved.allocation_note()
    assert drawn.allocation_note() == ""


def test_an_exact_table_has_no_scatter_to_speak_of() -> None:
    variables, _ = flat_table()
    loss = 2 + 20 * variables["N"] ** -0.4 + 30 * variables["D"] ** -0.3
    kinds: tuple[Loss, ...] = ("huber", "absolute")
    for kind in kinds:
        fitted = fit(Chinchilla(), variables, loss, criterion=Criterion(kind))
        drawn = bootstrap(fitted, variables, loss, num=100)
        assert drawn.unconverged == 0
        assert set(drawn.notes().values()) == {"none: the table is exact"}
        assert drawn.allocation_note() == "none: the table is exact"
        assert drawn.allocation_interval() is None


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
