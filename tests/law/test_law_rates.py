"""The rate rule: a simulated power of size recovered, edges and divergences named."""

import json

import numpy as np
import pandas as pd
import pytest

from saltus.errors import TableError
from saltus.law.rates import fit_rate_rule


def sweep(
    sizes: int = 5, shift: float = 1.0, noise: float = 0.0, exponent: float = -1 / 3
) -> pd.DataFrame:
    """Losses parabolic in log rate about .004 (N / 1e5)^exponent; the grid is off by `shift`."""
    generator = np.random.default_rng(0)
    rows = []
    for i, params in enumerate(np.geomspace(1e4, 1e6, sizes).round().astype(int)):
        best = 0.004 * (params / 1e5) ** exponent
        for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
            rate = 1.3 * shift * best * factor
            for horizon in (10**6, 4 * 10**6):
                for seed in (0, 1):
                    loss = 3.0 - 0.1 * i + 0.05 * np.log(rate / best) ** 2
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


def test_three_sizes_have_a_rule_without_interval_and_one_has_none() -> None:
    assert fit_rate_rule(sweep(sizes=3))[0]["intervals"] is None
    rule, table = fit_rate_rule(sweep(sizes=1))
    assert rule["status"] == "too few sizes"
    assert rule["coefficient"] is None
    assert table["best_rate"].notna().all()
    json.dumps(rule, allow_nan=False)


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
