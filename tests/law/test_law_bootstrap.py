"""Bootstraps draw what they say, refit what they drew, and audit themselves."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from saltus.law.bootstrap import Bootstrap, bootstrap, cluster_draws, row_draws
from saltus.law.criterion import Criterion
from saltus.law.doubt import doubt_of
from saltus.law.forms import Chinchilla
from saltus.law.jackknife import replica_error
from saltus.law.runs import replicas_of, variables_of
from saltus.law.solve import Fit, fit
from saltus.law.summary import study_rows

MakeRuns = Callable[..., pd.DataFrame]
WHAT = ("rows", "clusters", "replicas within size", "the law")


def resampled(runs: pd.DataFrame, what: str, num: int = 60, seed: int = 0) -> tuple[Fit, Bootstrap]:
    table, loss = variables_of(runs), runs["loss_text"]
    fitted = fit(Chinchilla(), table, loss)
    sizes, replicas = list(runs["size"]), replicas_of(runs)
    made = bootstrap(
        fitted, table, loss, what=what, sizes=sizes, replicas=replicas, clusters=replicas, num=num,
        seed=seed,
    )  # fmt: skip
    return fitted, made


def test_rows_are_drawn_with_replacement() -> None:
    drawn = row_draws(40, 4000, np.random.default_rng(0))
    assert np.all(drawn.sum(axis=1) == 40)
    assert drawn.var(axis=0).mean() == pytest.approx(39 / 40, rel=0.02)


def test_clusters_are_drawn_whole_and_within_their_stratum() -> None:
    clusters = np.repeat(np.arange(6), 4)
    strata = np.repeat([0, 1], 12)
    drawn = cluster_draws(clusters, strata, 200, np.random.default_rng(0))
    for cluster in range(6):
        assert np.all(np.ptp(drawn[:, clusters == cluster], axis=1) == 0)
    assert np.all(drawn[:, strata == 0].sum(axis=1) == 12)
    assert len(np.unique(drawn[:, 0])) > 1


@pytest.mark.parametrize("what", WHAT)
def test_a_bootstrap_is_seeded_named_and_audited(make_runs: MakeRuns, what: str) -> None:
    runs = make_runs(sizes=5, seeds=2)
    _, first = resampled(runs, what)
    _, again = resampled(runs, what)
    _, other = resampled(runs, what, seed=1)
    np.testing.assert_array_equal(first.theta, again.theta)
    assert not np.array_equal(first.theta, other.theta)
    assert what in first.method
    assert first.audited >= 1
    assert first.improvable == 0
    assert first.unconverged == 0


def test_a_resample_is_the_fit_of_its_rows(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=2)
    _, made = resampled(runs, "rows", num=5)
    weights = row_draws(len(runs), 5, np.random.default_rng(0))
    for i in range(5):
        index = np.repeat(np.arange(len(runs)), weights[i].astype(int))
        drawn = runs.iloc[index]
        alone = fit(Chinchilla(), variables_of(drawn), drawn["loss_text"])
        np.testing.assert_allclose(made.theta[i], alone.theta, rtol=1e-5)


def test_row_percentiles_are_those_of_a_linear_theory(make_runs: MakeRuns) -> None:
    """Independent rows, squares: the bootstrap's spread is the sandwich's."""
    runs = make_runs(sizes=8, seeds=5, noise=0.0)
    loss = runs["loss_text"] * np.exp(np.random.default_rng(2).normal(0, 0.01, len(runs)))
    table = variables_of(runs)
    fitted = fit(Chinchilla(), table, loss, criterion=Criterion("squared"))
    made = bootstrap(fitted, table, loss, num=400)
    logs = {name: np.log(values) for name, values in table.items()}
    slope = Chinchilla().evaluate(fitted.theta, logs)[1]
    bread = np.linalg.inv(slope.T @ slope)
    sandwich = bread @ (slope.T * fitted.residuals**2) @ slope @ bread
    np.testing.assert_allclose(made.theta.std(axis=0), np.sqrt(np.diag(sandwich)), rtol=0.15)


def test_intervals_widen_from_law_to_new_replica(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=2)
    _, made = resampled(runs, "rows", num=200)
    new = {"N": np.array([1e7]), "D": np.array([1e8])}
    (low,), (high,) = made.band(new)
    (lower,), (higher,) = made.prediction_interval(new)
    assert lower < low < high < higher


def test_a_new_replica_is_counted_by_replicas_whatever_is_drawn(make_runs: MakeRuns) -> None:
    """Seeds stay what they are where rows, or clusters of another kind, are drawn."""
    runs = make_runs(sizes=6, seeds=2)
    rows = study_rows(runs, {})
    fitted = fit(Chinchilla(), rows.variables, rows.loss)
    expected = replica_error(fitted.residuals, replicas_of(runs), 5)
    assert expected > replica_error(fitted.residuals, range(rows.num), 5)
    horizons = [str(value) for value in runs["horizon"]]
    for clusters in (None, horizons):
        asked = replace(rows, clusters=clusters)
        spread = doubt_of(fitted, asked, "bootstrap", num=20, seed=0).spread
        assert spread is not None
        assert spread.replica_error == pytest.approx(expected, rel=1e-12)
    unseeded = replace(rows, replicas=None, clusters=horizons)
    spread = doubt_of(fitted, unseeded, "bootstrap", num=20, seed=0).spread
    assert spread is not None
    assert spread.replica_error == pytest.approx(
        replica_error(fitted.residuals, horizons, 5), rel=1e-12
    )
