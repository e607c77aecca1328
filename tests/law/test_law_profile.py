"""Profiles: the textbook's where there is one, refused where there is no likelihood."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from saltus.law.criterion import Criterion
from saltus.law.forms import Chinchilla, Kaplan, PowerLaw
from saltus.law.jackknife import jackknife
from saltus.law.likelihood import ALLOCATION, NoLikelihoodError, likelihood
from saltus.law.profile import profile
from saltus.law.runs import replicas_of, variables_of
from saltus.law.solve import fit

MakeRuns = Callable[..., pd.DataFrame]
SQUARED = Criterion("squared")


def test_the_likelihood_of_rows_has_the_deviance_of_its_sum_of_squares(
    make_runs: MakeRuns,
) -> None:
    """W(c) = (RSS(c) - RSS) / s^2 with RSS(c) by an independent search with alpha held."""
    from scipy import optimize

    runs = make_runs(sizes=6, seeds=2)
    table, loss = variables_of(runs), runs["loss_text"].to_numpy()
    fitted = fit(Chinchilla(), table, loss, criterion=SQUARED)
    made = likelihood(fitted, table, loss)
    held = fitted.parameters["alpha"] + 0.02
    logs = {name: np.log(values) for name, values in table.items()}

    def residuals(free: np.ndarray) -> np.ndarray:
        theta = np.r_[free[:3], held, free[3]]
        return Chinchilla().evaluate(theta, logs)[0] - np.log(loss)

    found = optimize.least_squares(residuals, fitted.theta[[0, 1, 2, 4]], xtol=1e-14, ftol=1e-14)
    rss = float(np.sum(fitted.residuals**2))
    expected = (2 * found.cost - rss) / (rss / (len(loss) - 5))
    statistic, theta = made.statistic("alpha", held, made.theta)[:2]
    assert statistic == pytest.approx(expected, rel=1e-6)
    assert made.table.to_raw(Chinchilla(), theta)[3] == pytest.approx(held, abs=1e-12)


def test_a_profile_of_a_nearly_linear_law_is_student_s() -> None:
    """With E far below the data log L is a line in log x: ordinary least squares' own interval."""
    generator = np.random.default_rng(5)
    x = np.geomspace(1e3, 1e9, 40)
    loss = (1.0 + 5000 * x**-0.3) * np.exp(generator.normal(0, 0.002, 40))
    fitted = fit(PowerLaw(), {"x": x}, loss, criterion=SQUARED)
    made = profile(fitted, {"x": x}, loss)
    slope = PowerLaw().evaluate(fitted.theta, {"x": np.log(x)})[1]
    theirs = sm.OLS(np.log(loss), slope).fit()
    error = np.sqrt(np.sum(fitted.residuals**2) / 37 * np.diag(theirs.normalized_cov_params))
    low, high = made.reported["alpha"]
    assert low is not None
    assert high is not None
    half = stats.t.ppf(0.975, 37) * error[2]
    assert high - low == pytest.approx(2 * half, rel=0.02)


def test_the_ends_are_where_the_statistic_meets_its_limit(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=8, seeds=3)
    table, loss = variables_of(runs), runs["loss_text"]
    fitted = fit(Chinchilla(), table, loss, criterion=SQUARED)
    sizes, replicas = list(runs["size"]), replicas_of(runs)
    made = profile(fitted, table, loss, sizes=sizes, replicas=replicas)
    whole = likelihood(fitted, table, loss, sizes=sizes, replicas=replicas)
    limit = stats.t.ppf(0.975, 5) ** 2
    assert set(made.reported) == {"E", "A", "B", "alpha", "beta", ALLOCATION}
    for name, ends in made.reported.items():
        for end in ends:
            assert end is not None
            assert whole.statistic(name, end, whole.theta)[0] == pytest.approx(limit, rel=5e-3)


def test_godambe_s_ratio_is_one_of_a_wide_huber_with_equal_scatter() -> None:
    """Independent normal rows, delta wide: the sandwich and the likelihood agree."""
    generator = np.random.default_rng(0)
    n, d = np.meshgrid(np.geomspace(1e4, 3e6, 20), np.geomspace(1e6, 64e6, 20))
    table = {"N": n.ravel(), "D": d.ravel()}
    truth = {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42}
    loss = Chinchilla().predict(truth, table) * np.exp(generator.normal(0, 0.01, 400))
    wide = profile(
        fit(Chinchilla(), table, loss, criterion=Criterion(delta=1.0)), table, loss
    ).reported
    plain = profile(fit(Chinchilla(), table, loss, criterion=SQUARED), table, loss).reported
    for name, (low, high) in plain.items():
        assert low is not None
        assert high is not None
        assert wide[name][1] - wide[name][0] == pytest.approx(high - low, rel=0.15), name  # type: ignore[operator]


@pytest.mark.parametrize(
    ("criterion", "reason"),
    [
        (Criterion(), "residuals are within delta = 0.001"),
        (Criterion("absolute"), "sum of absolute log residuals is no likelihood"),
        (Criterion("squared", residual="raw"), "raw residuals is no likelihood"),
    ],
)
def test_no_likelihood_no_profile(make_runs: MakeRuns, criterion: Criterion, reason: str) -> None:
    runs = make_runs(sizes=8, seeds=5, noise=0.03)
    table, loss = variables_of(runs), runs["loss_text"]
    with pytest.raises(NoLikelihoodError, match=reason):
        profile(fit(Chinchilla(), table, loss, criterion=criterion), table, loss)


def test_every_form_has_a_profile_of_what_it_reports(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=6, seeds=2)
    table, loss = variables_of(runs), runs["loss_text"]
    fitted = fit(Kaplan(), table, loss, criterion=SQUARED)
    made = profile(fitted, table, loss)
    reported = Kaplan().report(fitted.theta)
    for value, name in zip(reported, Kaplan().parameters, strict=True):
        low, high = made.reported[name]
        assert low is not None
        assert high is not None
        assert low < value < high


def test_size_labels_may_be_numbers(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=2)
    table, loss = variables_of(runs), runs["loss_text"]
    fitted = fit(Chinchilla(), table, loss)
    named = jackknife(fitted, table, loss, list(runs["size"]))
    numeric = jackknife(fitted, table, loss, list(runs["params_total"]))
    assert named is not None
    assert numeric is not None
    np.testing.assert_array_equal(named.theta, numeric.theta)
