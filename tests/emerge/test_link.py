"""The link of accuracy and loss: gradients, least squares by another road, and recovery."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from saltus.emerge.link import fit_link, parameter_intervals, refits_without_a_size
from saltus.emerge.links import LOSSES, link_entry, link_rows
from saltus.emerge.logistic import Runs, evaluate, objective
from saltus.errors import TableError

TRUTH = np.array([2.0, np.log(1.7), 0.03, 0.86])


def simulated(seed: int, num_sizes: int = 8, items: int = 400, size_sd: float = 0.0) -> Runs:
    """Sizes of 5 seeds and 5 horizons on one link; sizes, runs and items scatter."""
    rng = np.random.default_rng(seed)
    size = np.repeat(np.arange(1.0, num_sizes + 1), 25)
    centre = np.repeat(np.linspace(6, 1.2, num_sizes), 25) + np.tile(
        np.linspace(2, -1, 25), num_sizes
    )
    loss = np.maximum(centre + 0.1 * rng.normal(size=centre.size), 0.05)
    off = size_sd * rng.normal(size=num_sizes)[size.astype(int) - 1]
    accuracy = evaluate(TRUTH[None, :], loss + off)[0][0]
    chance = rng.beta(40 * accuracy, 40 * (1 - accuracy))
    trials = np.full(loss.size, float(items))
    return Runs(loss, rng.binomial(items, chance).astype(float), trials, size, guess=0.03)


def shares(runs: Runs) -> np.ndarray:
    return runs.trials[None, :] / runs.trials.sum()


def test_gradients_equal_central_differences() -> None:
    runs = simulated(0)
    step = float(np.finfo(float).eps ** (1 / 3))
    for point in ([1.5, 0.2, 0.02, 0.9], [3.0, 1.0, 0.2, 0.7]):
        theta = np.array(point)
        _, slopes = evaluate(theta[None, :], runs.loss)
        _, gradient = objective(theta[None, :], runs, shares(runs))
        shifts = step * np.eye(4)
        ahead, behind = theta + shifts, theta - shifts
        differences = (evaluate(ahead, runs.loss)[0] - evaluate(behind, runs.loss)[0]) / (2 * step)
        np.testing.assert_allclose(slopes[0].T, differences, rtol=1e-5, atol=1e-10)
        differences = (
            objective(ahead, runs, shares(runs))[0] - objective(behind, runs, shares(runs))[0]
        ) / (2 * step)
        np.testing.assert_allclose(gradient[0], differences, rtol=1e-5, atol=1e-10)


def test_link_equals_scipy_least_squares_reweighted_by_its_own_variance() -> None:
    runs = simulated(1)
    link = fit_link(runs)
    assert link.status == "converged"
    share = runs.successes / runs.trials

    def curve(loss: np.ndarray, *theta: float) -> np.ndarray:
        return evaluate(np.array(theta)[None, :], loss)[0][0]

    theta = TRUTH
    for _ in range(60):
        at = curve(runs.loss, *theta)
        sigma = np.sqrt(at * (1 - at) / runs.trials)
        theta, _ = optimize.curve_fit(curve, runs.loss, share, theta, sigma, ftol=1e-14, xtol=1e-14)
    np.testing.assert_allclose(link.theta, theta, rtol=2e-5)
    at = curve(runs.loss, *theta)
    chi_squared = np.sum(((share - at) / np.sqrt(at * (1 - at) / runs.trials)) ** 2)
    assert link.dispersion == pytest.approx(chi_squared / (share.size - 4), rel=1e-4)


def test_truth_is_recovered_and_dispersion_is_that_of_the_seeds() -> None:
    links = [fit_link(simulated(seed)) for seed in range(30)]
    found = np.mean([link.theta for link in links], axis=0)
    np.testing.assert_allclose(found, TRUTH, atol=0.06)
    dispersion = np.mean([link.dispersion for link in links])
    assert dispersion == pytest.approx(1 + 399 / 41, rel=0.1)
    assert {name for link in links for name in link.parameters} == {"L0", "k", "b", "a"}


def test_order_of_runs_does_not_matter_and_no_start_does_better() -> None:
    runs = simulated(3)
    link = fit_link(runs)
    order = np.random.default_rng(0).permutation(runs.loss.size)
    shuffled = replace(
        runs,
        loss=runs.loss[order],
        successes=runs.successes[order],
        trials=runs.trials[order],
        size=runs.size[order],
    )
    np.testing.assert_allclose(fit_link(shuffled).theta, link.theta, rtol=1e-4)
    at = shares(runs)
    options = {"xatol": 1e-8, "fatol": 1e-12, "maxiter": 4000}
    direct = optimize.minimize(
        lambda theta: objective(theta[None, :], runs, at)[0][0],
        TRUTH,
        method="Nelder-Mead",
        options=options,
    )
    assert objective(link.theta[None, :], runs, shares(runs))[0][0] <= direct.fun + 1e-9


def test_ends_are_free_only_where_they_are_seen() -> None:
    runs = simulated(4)
    assert fit_link(runs).free == ("L0", "log(-k)", "b", "b+a")
    low = fit_link(runs.keep(runs.successes / runs.trials < 0.6))
    assert low.free == ("L0", "log(-k)", "b")
    assert low.theta[3] == 1
    high = fit_link(runs.keep(runs.successes / runs.trials > 0.3))
    assert "b" not in high.free
    assert high.theta[2] == 0.03
    for link in (low, high):
        found = link.parameters
        assert 0 <= found["b"] <= found["b"] + found["a"] <= 1
        assert found["k"] < 0


def test_runs_that_only_guess_say_so() -> None:
    runs = simulated(5)
    flat = replace(runs, successes=np.full(runs.loss.size, 12.0))
    assert flat.risen == 0
    assert runs.risen >= 5


def test_intervals_cover_sizes_that_are_off_the_link() -> None:
    num, covered = 40, 0
    for seed in range(num):
        runs = simulated(seed, size_sd=0.2)
        link = fit_link(runs)
        refits, lost = refits_without_a_size(runs, link)
        interval = parameter_intervals(link, refits)["L0"]
        assert lost == 0 and interval is not None
        covered += interval[0] <= 2.0 <= interval[1]
    assert covered >= 35


def test_unusable_runs_are_named() -> None:
    runs = simulated(0)
    with pytest.raises(ValueError, match="outside"):
        replace(runs, successes=runs.trials + 1)
    with pytest.raises(ValueError, match="not positive"):
        replace(runs, loss=runs.loss * 0)
    with pytest.raises(ValueError, match="expected at least"):
        fit_link(replace(runs, loss=np.ones(runs.loss.size)))


def table(runs: Runs, task: str = "add_2") -> pd.DataFrame:
    return pd.DataFrame(
        {"task": task, "arm": "plain", "params_nonembedding": runs.size,
         "successes": runs.successes, "items": runs.trials, "guess_rate": runs.guess,
         "loss_text": 2 + 0.3 * runs.loss, "target_nll": runs.loss}
    )  # fmt: skip


def test_intervals_and_band_are_the_jackknife_of_links_fitted_one_by_one() -> None:
    runs = simulated(2, size_sd=0.2)
    entry = link_entry(runs)
    whole = fit_link(runs)
    refits = [fit_link(runs.without(size), whole.free) for size in runs.sizes]
    quantile = stats.t.ppf(0.975, 6)
    half = quantile * np.sqrt(7 * np.var([refit.theta[0] for refit in refits]))
    assert entry["status"] == "converged" and entry["parameters"] == whole.parameters
    np.testing.assert_allclose(
        entry["intervals"]["L0"], [whole.theta[0] - half, whole.theta[0] + half], rtol=1e-3
    )
    curve = {name: np.array(values) for name, values in entry["curve"].items()}
    assert (np.diff(curve["loss"]) > 0).all()
    assert (curve["low"] <= curve["accuracy"]).all() and (curve["accuracy"] <= curve["high"]).all()
    at = curve["loss"][20]
    angles = [np.arcsin(np.sqrt(refit.accuracy(at))) for refit in refits]
    centre = np.arcsin(np.sqrt(whole.accuracy(at)))
    reach = quantile * np.sqrt(7 * np.var(angles))
    assert curve["high"][20] == pytest.approx(np.sin(centre + reach) ** 2, rel=1e-3)


def test_every_task_and_loss_has_a_row() -> None:
    runs = simulated(3)
    flat = simulated(4)
    flat = Runs(flat.loss, flat.trials * 0.03, flat.trials, flat.size, flat.guess)
    scores = pd.concat([table(runs), table(flat, "mul_2x1")])
    scores.iloc[:5, scores.columns.get_loc("loss_text")] = np.nan
    rows = link_rows(scores)
    assert [(row["task"], row["loss"]) for row in rows] == [
        (task, loss) for task in ("add_2", "mul_2x1") for loss in LOSSES
    ]
    assert [row["left_out"] for row in rows] == [5, 0, 0, 0]
    assert [row["status"] for row in rows[2:]] == ["refused", "refused"]
    assert "0 of 8 sizes leave guessing" in rows[2]["reason"] and rows[2]["curve"] is None
    with pytest.raises(TableError, match="target_nll"):
        link_rows(scores.drop(columns="target_nll"))


def test_two_runs_fix_no_link() -> None:
    two = Runs(np.array([3.0, 1.0]), np.array([50.0, 90.0]), np.full(2, 100.0), np.arange(2.0), 0.0)
    entry = link_entry(two)
    assert entry["status"] == "refused" and "2 runs at 2 losses" in entry["reason"]


def test_three_sizes_have_a_link_without_band() -> None:
    runs = simulated(5)
    entry = link_entry(runs.keep(np.isin(runs.size, [3.0, 5.0, 7.0])))
    assert entry["parameters"] is not None and entry["intervals"] is None
    assert entry["curve"]["low"] is None and "3 sizes, 4 are needed" in entry["reason"]
