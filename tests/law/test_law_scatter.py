"""Components of scatter: statsmodels' where both exist, simulated truth, and refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from saltus.law.bootstrap import bootstrap
from saltus.law.components import Components, NoScatterError, estimate_components, numbered
from saltus.law.criterion import Criterion
from saltus.law.forms import Chinchilla, Kaplan
from saltus.law.runs import replicas_of, variables_of
from saltus.law.scatter import scatter_of
from saltus.law.solve import fit

MakeRuns = Callable[..., pd.DataFrame]
LAPTOP = Path(__file__).parents[2] / "results" / "reference" / "laptop" / "tables" / "runs.parquet"
SIZES, REPLICAS = np.repeat(np.arange(8), 20), np.repeat(np.arange(40), 4)
TRUTH = Components(size=0.01, replica=0.008, row=0.005)


def test_components_are_recovered() -> None:
    """Mean of 40 tables against the truth, three standard errors."""
    generator = np.random.default_rng(1)
    squares = []
    for _ in range(40):
        residual = TRUTH.draw(SIZES, REPLICAS, 1, generator)[0]
        found = estimate_components(residual, np.ones((160, 1)), SIZES, REPLICAS)
        squares.append([found.size**2, found.replica**2, found.row**2])
    mean, error = np.mean(squares, axis=0), np.std(squares, axis=0) / np.sqrt(40)
    expected = np.array([TRUTH.size**2, TRUTH.replica**2, TRUTH.row**2])
    assert np.all(np.abs(mean - expected) < 3 * error)


@pytest.mark.parametrize("seed", range(4))
def test_components_are_those_of_a_mixed_model(seed: int) -> None:
    """statsmodels' MixedLM, restricted likelihood, sizes with replicas nested in them."""
    generator = np.random.default_rng(seed)
    log_size = np.log(np.geomspace(1e4, 3e6, 8))[SIZES]
    slope = np.c_[np.ones(160), log_size, generator.normal(size=160)]
    residual = TRUTH.draw(SIZES, REPLICAS, 1, generator)[0] + slope @ [0.1, -0.05, 0.02]
    found = estimate_components(residual, slope, SIZES, REPLICAS)
    # in units of the scatter: the optimizer of MixedLM stops at absolute tolerances
    theirs = sm.MixedLM(
        residual / 0.01, slope, groups=SIZES, exog_re=np.ones((160, 1)),
        exog_vc=sm.regression.mixed_linear_model.VCSpec(
            ["replica"], [[[f"{s}/{r}" for r in range(5)] for s in range(8)]],
            [[np.kron(np.eye(5), np.ones((4, 1))) for _ in range(8)]],
        ),
    ).fit(reml=True, method="bfgs", gtol=1e-6, maxiter=4000)  # fmt: skip
    variances = [theirs.cov_re[0, 0], theirs.vcomp[0], theirs.scale]
    ours = np.array([found.size, found.replica, found.row]) ** 2 / 1e-4
    np.testing.assert_allclose(ours, variances, rtol=2e-3, atol=1e-4)


def test_components_that_a_table_cannot_tell_are_none() -> None:
    residual = np.random.default_rng(0).normal(0, 0.01, 30)
    each = np.arange(30)
    found = estimate_components(residual, np.ones((30, 1)), each, each)
    assert (found.size, found.replica) == (0.0, 0.0)
    assert found.row == pytest.approx(np.std(residual, ddof=1), rel=1e-12)
    assert list(numbered("abac")) == [0, 1, 0, 2]


def test_law_and_components_settle_at_one_answer(make_runs: MakeRuns) -> None:
    """From Huber's law and from that of least squares, to the tolerance of the rounds."""
    runs = make_runs(sizes=8, seeds=3)
    table, loss = variables_of(runs), runs["loss_text"]
    labels = numbered(list(runs["size"])), numbered(replicas_of(runs))
    one, other = (
        scatter_of(fit(Chinchilla(), table, loss, criterion=criterion), table, loss, *labels)
        for criterion in (Criterion(), Criterion("squared"))
    )
    np.testing.assert_allclose(one.theta, other.theta, atol=2e-3)
    assert one.components.total == pytest.approx(other.components.total, rel=1e-2)
    covariance = np.linalg.inv(one.root.T @ one.root)
    block = one.components.covariance(labels[1][labels[0] == 2])
    rows = np.flatnonzero(labels[0] == 2)
    np.testing.assert_allclose(covariance[np.ix_(rows, rows)], block, rtol=1e-6)


def test_collinear_slopes_have_no_components() -> None:
    slope = np.c_[np.ones(160), 2 * np.ones(160)]
    with pytest.raises(NoScatterError, match="do not fix the law's slopes"):
        estimate_components(np.zeros(160), slope, SIZES, REPLICAS)


def test_a_form_that_does_not_fit_has_no_scatter_and_one_that_does_has() -> None:
    """On the published study: Chinchilla's sizes would be off by many times the residuals."""
    runs = pd.read_parquet(LAPTOP)
    table, loss = variables_of(runs), runs["loss_text"]
    sizes, replicas = list(runs["size"]), replicas_of(runs)
    labels = numbered(sizes), numbered(replicas)
    chinchilla, kaplan = fit(Chinchilla(), table, loss), fit(Kaplan(), table, loss)
    with pytest.raises(NoScatterError, match=r"times the residuals .* off by more than scatter"):
        scatter_of(chinchilla, table, loss, *labels)
    with pytest.raises(NoScatterError):
        bootstrap(chinchilla, table, loss, what="the law", sizes=sizes, replicas=replicas, num=10)
    found = scatter_of(kaplan, table, loss, *labels).components
    assert 0.5 < found.total / np.sqrt(np.mean(kaplan.residuals**2)) < 2.0
