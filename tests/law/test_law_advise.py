"""Advice rests on the refits: intervals by the law's own rule, gains those of a linear update."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltus.errors import TableError
from saltus.law.advise import optimal_allocation, optimum, rank_candidates, shrink
from saltus.law.allocation import Cost, log_optimum
from saltus.law.belief import MOST_REFITS, Belief, belief_of, uncertainty_entry
from saltus.law.bootstrap import bootstrap
from saltus.law.describe import describe
from saltus.law.ends import DeleteOne, Percentiles
from saltus.law.forms import Chinchilla
from saltus.law.intervals import Intervals
from saltus.law.solve import fit
from saltus.law.summary import study_rows
from saltus.law.table import Rows

MakeRuns = Callable[..., pd.DataFrame]
BUDGET = 3e15


def described(rows: Rows) -> tuple[dict[str, Any], Intervals]:
    """Return the entry as its file has it, and the refits it was made from."""
    found, _, doubt = describe(rows, Chinchilla(), interval="jackknife", heldout=False)
    assert doubt.spread is not None
    return json.loads(json.dumps(found)), doubt.spread


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Eight sizes x 3 seeds x 4 horizons under C = 9 N^.9 D."""
    truth = {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42}
    generator = np.random.default_rng(3)
    sizes, seeds, tokens = (
        values.ravel()
        for values in np.meshgrid(
            np.geomspace(1e4, 3e6, 8), [0, 1, 2], np.geomspace(1e6, 64e6, 4), indexing="ij"
        )
    )
    clean = Chinchilla().predict(truth, {"N": sizes, "D": tokens})
    runs = pd.DataFrame(
        {
            "size": [f"s{n:.0f}" for n in sizes],
            "seed": seeds,
            "params_total": sizes,
            "tokens": tokens,
            "flops_exact": 9 * sizes**0.9 * tokens,
            "loss_text": clean * np.exp(generator.normal(0, 0.01, len(clean))),
        }
    )
    return study_rows(runs, {})


@pytest.fixture(scope="module")
def law(rows: Rows) -> tuple[dict[str, Any], Intervals]:
    return described(rows)


def test_intervals_are_the_law_s_own(law: tuple[dict[str, Any], Intervals]) -> None:
    found, spread = law
    belief = belief_of(found)
    best = optimal_allocation(belief, BUDGET)
    form, cost = spread.fitted.form, belief.cost
    assert (cost.coefficient, cost.exponent) == pytest.approx((9.0, 0.9))
    logs = np.log([BUDGET])
    whole = log_optimum(form.powers(spread.fitted.theta), logs, cost)
    parts = log_optimum(form.powers(spread.theta), logs, cost)
    for k, name in enumerate(("params", "tokens")):
        ends = spread.ends(whole[k][0], parts[k])
        np.testing.assert_allclose(best[f"{name}_interval"], np.exp(ends).ravel(), rtol=1e-12)
    here = {"N": [best["params"]], "D": [best["tokens"]]}
    np.testing.assert_allclose(best["loss_interval"], np.ravel(spread.band(here)), rtol=1e-12)
    assert float(cost.flops(best["params"], best["tokens"])) == pytest.approx(BUDGET)
    assert not best["at_edge"] and best["refits_at_edge"] == 0


def test_advice_allocation_and_approach_are_one_answer(
    law: tuple[dict[str, Any], Intervals],
) -> None:
    found, _ = law
    approach, allocation = found["approaches"]["parametric"], found["allocation"]
    assert allocation["a"] == approach["a"]
    assert allocation["b"] == approach["b"]
    assert allocation["interval"] == approach["interval"]
    assert allocation["cost"] == found["compute"] == found["uncertainty"]["cost"]
    for known in approach["optimum"]:
        best = optimal_allocation(belief_of(found), known["flops"])
        for name in ("params", "tokens"):
            assert best[name] == pytest.approx(known[name])
            assert best[f"{name}_interval"] == pytest.approx(known[f"{name}_interval"])


def test_the_gain_of_two_normal_variables_is_exact() -> None:
    generator = np.random.default_rng(0)
    values = generator.multivariate_normal([0, 0], [[2.0, 0.8], [0.8, 1.0]], 40)
    for rule, scale in ((Percentiles(), 1 / 39), (DeleteOne(37), 39 / 40)):
        apart = values - values.mean(axis=0)
        joint = scale * apart.T @ apart
        after = joint[0, 0] - joint[0, 1] ** 2 / (joint[1, 1] + 0.3**2)
        found = shrink(rule, values[:, 0], values[:, 1:], 0.3)
        assert found == pytest.approx(1 - np.sqrt(after / joint[0, 0]), rel=1e-12)


@pytest.mark.parametrize("parameter", [None, "alpha", "B"])
def test_the_gain_is_that_of_a_bayesian_update(rows: Rows, parameter: str | None) -> None:
    """Refits of exactly a known normal spread, against an information matrix inverted anew."""
    form = Chinchilla()
    fitted = fit(form, rows.variables, rows.loss)
    logs = {name: np.log(values) for name, values in rows.variables.items()}
    slopes = form.evaluate(fitted.theta, logs)[1]
    information = slopes.T @ slopes / 0.001**2
    covariance = np.linalg.inv(information)
    drawn = np.random.default_rng(1).normal(size=(400, 5))
    drawn -= drawn.mean(axis=0)
    drawn = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False))).T
    belief = Belief(
        form=form,
        theta=fitted.theta,
        refits=fitted.theta + drawn @ np.linalg.cholesky(covariance).T,
        rule=Percentiles(),
        replica_error=0.001,
        cost=Cost(),
        reach={"N": (1e4, 3e6), "D": (1e6, 64e6), "C": (6e10, 1.2e15)},
        parameters=fitted.parameters,
        intervals=dict.fromkeys(form.parameters, (0.0, 1.0)),
        warnings=(),
    )
    ranked = rank_candidates(belief, 1e15, parameter=parameter, target=None)
    if parameter is None:
        goal = {"N": [ranked["target"]["params"]], "D": [ranked["target"]["tokens"]]}
        wanted = form.evaluate(fitted.theta, {k: np.log(v) for k, v in goal.items()})[1][0]
    else:
        wanted = np.eye(5)[form.parameters.index(parameter)]
    for run in ranked["candidates"][:20]:
        place = {"N": np.log([run["params"]]), "D": np.log([run["tokens"]])}
        slope = form.evaluate(fitted.theta, place)[1][0]
        after = np.linalg.inv(information + np.outer(slope, slope) / 0.001**2)
        expected = 1 - np.sqrt(wanted @ after @ wanted / (wanted @ covariance @ wanted))
        assert run["shrink"] == pytest.approx(expected, rel=0.05, abs=0.002)


def test_candidates_are_affordable_and_ranked(law: tuple[dict[str, Any], Intervals]) -> None:
    ranked = rank_candidates(belief_of(law[0]), BUDGET, target=(1e6, 1e8))
    assert ranked["target"] == {"params": 1e6, "tokens": 1e8, "at_edge": False}
    assert ranked["interval"][0] < ranked["value"] < ranked["interval"][1]
    shrinks = np.array([each["shrink"] for each in ranked["candidates"]])
    assert np.all(np.diff(shrinks) < 1e-6)
    assert np.all((shrinks >= 0) & (shrinks <= 1))
    assert all(each["flops"] <= BUDGET * (1 + 1e-9) for each in ranked["candidates"])


def test_a_weak_irreducible_loss_leaves_intervals_sane(make_runs: MakeRuns) -> None:
    """Refits rest on E's lower bound, where log E is -13: no prediction moves for that."""
    runs = make_runs(sizes=6, seeds=2)
    loss = 0.05 + 9 * runs["params_total"] ** -0.1 + 30 * runs["tokens"] ** -0.3
    noise = 0.01 * np.random.default_rng(5).standard_normal(len(loss))
    found, spread = described(study_rows(runs.assign(loss_text=loss * np.exp(noise)), {}))
    assert np.ptp(spread.theta[:, 0]) > 10
    best = optimal_allocation(belief_of(found), 1e16)
    low, high = best["loss_interval"]
    assert 0.5 < low / best["loss"] < 1 < high / best["loss"] < 2
    ranked = rank_candidates(belief_of(found), 1e16)
    assert 0 < ranked["candidates"][0]["shrink"] < 1


def test_an_optimum_at_the_edge_is_flagged(law: tuple[dict[str, Any], Intervals]) -> None:
    """Without a term in N, the smallest model is always best."""
    found = json.loads(json.dumps(law[0]))
    told = found["uncertainty"]
    told["theta"][1] = -60.0
    told["refits"][2][1] = -60.0
    belief = belief_of(found)
    best = optimal_allocation(belief, BUDGET)
    assert best["at_edge"] and best["refits_at_edge"] == 1
    assert best["tokens"] == pytest.approx(1e6 * belief.reach["D"][1])
    assert np.isfinite(best["params_interval"]).all()
    assert rank_candidates(belief, BUDGET)["target"]["at_edge"]
    logs, edges = optimum(belief, BUDGET)
    assert logs.shape == (9, 2) and edges.sum() == 2


def test_a_bootstrap_is_thinned_evenly(rows: Rows) -> None:
    fitted = fit(Chinchilla(), rows.variables, rows.loss)
    drawn = bootstrap(fitted, rows.variables, rows.loss, num=MOST_REFITS + 200, audit=0.0)
    told = uncertainty_entry(drawn, rows)
    assert told is not None
    assert told["kind"] == "percentiles" and told["dof"] is None
    assert len(told["refits"]) == MOST_REFITS
    assert told["refits"][0] == drawn.theta[0].tolist()
    assert told["refits"][-1] == drawn.theta[-1].tolist()
    assert uncertainty_entry(drawn, rows) == told
    assert uncertainty_entry(None, rows) is None


def test_budgets_out_of_range_are_refused_and_beyond_the_table_said(
    law: tuple[dict[str, Any], Intervals],
) -> None:
    belief = belief_of(law[0])
    for budget in (-1.0, 0.0, 1.0, 1e300, np.nan, np.inf):
        for ask in (optimal_allocation, rank_candidates):
            with pytest.raises(TableError, match=r"--budget: found .* FLOPs: from the table's"):
                ask(belief, budget)
    top = belief.reach["C"][1]
    assert optimal_allocation(belief, 2 * top)["beyond_table"]
    assert not optimal_allocation(belief, top / 50)["beyond_table"]
