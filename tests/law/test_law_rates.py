"""The rate rule: a simulated power of size recovered, edges named, its cost where it was not fit.

The simulated losses are parabolas in log rate, so that every interpolated number has a closed form.
"""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltus.errors import TableError
from saltus.law.rates import fit_rate_rule, line_through
from saltus.law.sweep import blended, sweep_of

CURVATURE = 0.05


def sweep(
    sizes: int = 5,
    shift: float = 1.0,
    noise: float = 0.0,
    exponent: float = -1 / 3,
    bend: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Losses parabolic in log rate about .004 (N / 1e5)^exponent; the grid is off by `shift`.

    `bend` moves the log of the largest size's best rate off the rule.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for i, params in enumerate(np.geomspace(1e4, 1e6, sizes).round().astype(int)):
        best = 0.004 * (params / 1e5) ** exponent
        best *= np.exp(bend) if i == sizes - 1 else 1.0
        for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
            rate = 1.3 * shift * best * factor
            for horizon in (10**6, 4 * 10**6):
                for seed in (0, 1):
                    loss = 3.0 - 0.1 * i + CURVATURE * np.log(rate / best) ** 2
                    loss += generator.normal(0, noise) + (0.5 if horizon < 2e6 else 0.0)
                    rows.append(
                        {
                            "size": f"s{i}",
                            "seed": seed,
                            "horizon": horizon,
                            "params_nonembedding": int(params),
                            "learning_rate": rate,
                            "rate_factor": factor,
                            "loss_validation": loss,
                            "status": "ok",
                        }
                    )
    return pd.DataFrame(rows)


def test_a_power_of_size_is_recovered() -> None:
    rule, table = fit_rate_rule(sweep())
    assert rule["status"] == "fitted"
    assert rule["exponent"] == pytest.approx(-1 / 3, abs=1e-4)
    expected = 0.004 * (rule["reference"] / 1e5) ** (-1 / 3)
    assert rule["coefficient"] == pytest.approx(expected, rel=1e-3)
    low, high = rule["intervals"]["exponent"]
    assert low <= rule["exponent"] <= high
    assert rule["interval_method"].endswith("t with 3 degrees of freedom")
    assert table["in_rule"].all()
    assert table["rule_cost"].max() == pytest.approx(0.0, abs=1e-6)
    assert set(table["horizon"]) == {4 * 10**6}
    json.dumps(rule, allow_nan=False)


def test_noise_widens_the_interval_which_still_holds_the_truth() -> None:
    rule, table = fit_rate_rule(sweep(noise=0.003))
    low, high = rule["intervals"]["exponent"]
    assert low < -1 / 3 < high
    assert (table["rule_cost"] >= 0).all()
    assert rule["max_cost_percent"] < 1.0


def test_a_minimum_at_the_edge_is_excluded_with_its_reason() -> None:
    runs = sweep()
    runs = runs[(runs["size"] != "s4") | (runs["rate_factor"] >= 1.0)]
    rule, table = fit_rate_rule(runs)
    assert rule["sizes"] == ["s0", "s1", "s2", "s3"]
    assert "at the edge" in rule["excluded"]["s4"]
    assert "lower" in rule["excluded"]["s4"]
    assert rule["exponent"] == pytest.approx(-1 / 3, abs=1e-4)
    assert len(table) == 5


def test_a_rate_at_which_a_seed_diverged_is_left_out_and_counted() -> None:
    runs = sweep()
    bad = (runs["size"] == "s0") & (runs["rate_factor"] >= 2.0) & (runs["seed"] == 1)
    runs.loc[bad, "status"] = "diverged"
    runs.loc[bad, ["loss_validation", "learning_rate"]] = np.nan
    rule, table = fit_rate_rule(runs)
    assert table.set_index("size").loc["s0", "diverged_rates"] == 2
    assert "at the edge" in rule["excluded"]["s0"]


def test_two_sizes_have_a_rule_without_interval_and_one_has_none() -> None:
    assert fit_rate_rule(sweep(sizes=3))[0]["interval_method"].endswith(
        "t with 1 degree of freedom"
    )
    rule, _ = fit_rate_rule(sweep(sizes=2))
    assert rule["status"] == "fitted" and rule["exponent"] == pytest.approx(-1 / 3, abs=1e-4)
    assert rule["intervals"] is None and rule["band"] is None
    assert rule["held_out"]["size"] is None and "needs 3" in rule["held_out"]["reason"]
    rule, table = fit_rate_rule(sweep(sizes=1))
    assert rule["status"] == "too few sizes"
    assert rule["coefficient"] is None
    assert table["best_rate"].notna().all()
    json.dumps(rule, allow_nan=False)


def test_two_sizes_of_one_n_are_one_place_for_the_line() -> None:
    """Without the third size there is no slope: an interval of such refits would be made up."""
    runs = sweep(sizes=3)
    counts = sorted(set(runs["params_nonembedding"]))
    runs.loc[runs["size"] == "s1", "params_nonembedding"] = counts[0]
    rule, _ = fit_rate_rule(runs)
    assert rule["status"] == "fitted" and rule["sizes"] == ["s0", "s1", "s2"]
    assert rule["intervals"] is None and rule["band"] is None and rule["interval_method"] is None
    assert "needs 3 of different N" in rule["held_out"]["reason"]


def test_a_size_that_always_diverged_is_a_row_not_an_error() -> None:
    runs = sweep()
    runs.loc[runs["size"] == "s2", ["status", "loss_validation"]] = ["diverged", np.nan]
    rule, table = fit_rate_rule(runs)
    assert "0 rates" in rule["excluded"]["s2"]
    assert pd.isna(table.set_index("size").loc["s2", "best_loss"])
    json.dumps(rule, allow_nan=False)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(TableError, match="loss_validation is missing"):
        fit_rate_rule(sweep().drop(columns="loss_validation"))


def test_a_true_rule_costs_nothing_at_the_size_held_out() -> None:
    held = fit_rate_rule(sweep())[0]["held_out"]
    assert held["size"] == "s4" and held["fitted_on"] == ["s0", "s1", "s2", "s3"]
    assert held["rule_rate"] == pytest.approx(held["best_rate"], rel=1e-3)
    assert held["cost"] == pytest.approx(0.0, abs=1e-6)
    assert held["cost_percent"] == pytest.approx(0.0, abs=1e-4)
    low, high = held["rule_rate_interval"]
    assert low <= held["rule_rate"] <= high
    assert held["num_seeds"] == 2 and held["reason"] == ""


@pytest.mark.parametrize("bend", [-1.2, -0.3, 0.3, 1.05])
def test_a_bent_rule_costs_what_the_parabola_says(bend: float) -> None:
    """A rule off by `bend` in log rate costs CURVATURE bend^2, near the best and far from it."""
    runs = sweep(bend=bend)
    held = fit_rate_rule(runs)[0]["held_out"]
    assert np.log(held["best_rate"] / held["rule_rate"]) == pytest.approx(bend, abs=1e-3)
    assert held["cost"] == pytest.approx(CURVATURE * bend**2, rel=1e-2)
    best_loss = 3.0 - 0.1 * 4
    assert held["best_loss"] == pytest.approx(best_loss, abs=1e-6)
    assert held["cost_percent"] == pytest.approx(100 * CURVATURE * bend**2 / best_loss, rel=1e-2)
    assert held["interval"] == pytest.approx([held["cost"]] * 2, abs=1e-9)


def test_a_rule_that_leaves_the_rates_run_has_no_cost_and_says_why() -> None:
    held = fit_rate_rule(sweep(bend=2.0))[0]["held_out"]
    assert held["rule_rate"] is not None and held["cost"] is None and held["interval"] is None
    assert "outside the rates that finished" in held["reason"]


def test_the_cost_is_students_of_the_seeds_own_differences() -> None:
    """By hand: each seed's parabola through the three rates near the best, at the two rates."""
    runs = sweep(bend=0.3, noise=0.005)
    held = fit_rate_rule(runs)[0]["held_out"]
    there = runs[(runs["size"] == "s4") & (runs["horizon"] == 4 * 10**6)]
    table = there.pivot(index="learning_rate", columns="seed", values="loss_validation")
    lowest = int(table.mean(axis=1).to_numpy().argmin())
    near = table.iloc[lowest - 1 : lowest + 2]
    ends = np.log([held["rule_rate"], held["best_rate"]])
    at_rule, at_best = (
        np.polyval(np.polyfit(np.log(near.index), near[seed], 2), ends) for seed in (0, 1)
    )
    costs = np.array([at_rule[0] - at_rule[1], at_best[0] - at_best[1]])
    low, high = stats.t.interval(0.95, 1, costs.mean(), stats.sem(costs))
    assert held["cost"] == pytest.approx(costs.mean(), abs=1e-9)
    assert held["interval"] == pytest.approx([max(low, 0.0), high], abs=1e-9)


def test_one_seed_has_a_cost_without_an_interval() -> None:
    runs = sweep(bend=0.3)
    held = fit_rate_rule(runs[runs["seed"] == 0])[0]["held_out"]
    assert held["cost"] == pytest.approx(CURVATURE * 0.09, rel=1e-2)
    assert held["interval"] is None and "one seed" in held["reason"]


def test_intervals_of_the_held_out_rate_and_cost_cover() -> None:
    """In 120 noisy sweeps of three sizes both intervals hold the truth in .95, less Monte Carlo."""
    held_rate = held_cost = num = 0
    for seed in range(120):
        held = fit_rate_rule(sweep(sizes=4, bend=0.3, noise=0.01, seed=seed))[0]["held_out"]
        if held["size"] != "s3" or held["cost"] is None:
            continue
        truth = 0.004 * (1e6 / 1e5) ** (-1 / 3)
        held_rate += held["rule_rate_interval"][0] <= truth <= held["rule_rate_interval"][1]
        off = np.log(held["rule_rate"] / truth) - 0.3
        held_cost += held["interval"][0] <= CURVATURE * off**2 <= held["interval"][1]
        num += 1
    assert num > 100
    assert held_rate / num > 0.9
    assert held_cost / num > 0.87


def test_the_band_is_the_rules_interval_along_size() -> None:
    runs = sweep(noise=0.003)
    rule, _ = fit_rate_rule(runs)
    line = line_through([sweep_of(runs, f"s{i}") for i in range(5)])
    for point in rule["band"][:: len(rule["band"]) - 1]:
        ends = line.rate_interval(point["params_nonembedding"])
        assert ends == pytest.approx([point["low"], point["high"]])
        assert point["low"] < line.rate(point["params_nonembedding"]) < point["high"]
    at_reference = line.rate_interval(rule["reference"])
    assert at_reference == pytest.approx(rule["intervals"]["coefficient"])


def test_blending_is_exact_on_parabolas_and_passes_through_its_points() -> None:
    places = np.array([0.0, 0.6, 1.5, 2.0, 3.1])
    curve = np.stack([0.3 * places**2 - places + 2.0, -0.1 * places**2 + 5.0], axis=1)
    for x in np.linspace(0.0, 3.1, 23):
        truth = [0.3 * x**2 - x + 2.0, -0.1 * x**2 + 5.0]
        assert blended(places, curve, float(x)) == pytest.approx(truth)
    values = np.random.default_rng(0).normal(size=(5, 1))
    assert [float(blended(places, values, x)[0]) for x in places] == pytest.approx(values[:, 0])
    assert blended(places[:2], values[:2], 0.3) == pytest.approx(values[:2].mean(axis=0))


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("learning_rate", -0.1, "row 3, learning_rate: found -0.1, expected a positive number"),
        ("params_nonembedding", 0, "row 3, params_nonembedding: found 0"),
        ("params_nonembedding", 77, "size s0: found params_nonembedding 10000 and 77"),
        ("seed", np.nan, "row 3, seed: found nothing"),
        ("loss_validation", "low", "row 3, loss_validation: found low"),
    ],
)
def test_a_row_that_no_sweep_can_have_is_named(column: str, value: object, told: str) -> None:
    runs = sweep().astype({column: object})
    runs.loc[2, column] = value
    with pytest.raises(TableError, match=told):
        fit_rate_rule(runs)


def test_means_over_different_seeds_are_refused() -> None:
    runs = sweep()
    last = (runs["size"] == "s1") & (runs["horizon"] > 2e6) & (runs["rate_factor"] == 2.0)
    with pytest.raises(TableError, match=r"size s1, rate .*: lacks seed 1, expected the same 2"):
        fit_rate_rule(runs[~(last & (runs["seed"] == 1))])
    with pytest.raises(TableError, match="size s1 has seed 0 twice"):
        fit_rate_rule(pd.concat([runs, runs[last & (runs["seed"] == 0)]], ignore_index=True))
    runs.loc[last & (runs["seed"] == 1), "learning_rate"] *= 1.1
    with pytest.raises(TableError, match="size s1: found several values of learning_rate"):
        fit_rate_rule(runs)
