"""The envelope and the isoFLOPs find a known law's optimum, or say why they cannot."""

import numpy as np
import pandas as pd
import pytest

from saltus.law.agreement import three_approaches, verdict
from saltus.law.approaches import compute_optimal
from saltus.law.curves import curves_of, mean_points, merge_alike
from saltus.law.forms import Chinchilla
from saltus.law.frontier import frontier, frontier_errors
from saltus.law.intervals import jackknife
from saltus.law.solve import fit

LAWS = [
    {"E": 1.7, "A": 406.0, "B": 406.0, "alpha": 0.34, "beta": 0.34},
    {"E": 1.7, "A": 406.0, "B": 1300.0, "alpha": 0.34, "beta": 0.28},
]
FINE = {"sizes": 12, "horizons": 24}


def points(
    law: dict[str, float], sizes: int = 12, horizons: int = 16, noise: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    axes = np.meshgrid(np.geomspace(1e7, 1e10, sizes), np.geomspace(1e8, 1e12, horizons))
    n, d = (axis.ravel() for axis in axes)
    loss = Chinchilla().predict(law, {"N": n, "D": d})
    loss *= np.exp(np.random.default_rng(seed).normal(0, noise, len(n)))
    return mean_points([f"{value:.4g}" for value in n], n, d, 6 * n * d, loss)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("approach", "within"), [("envelope", 0.05), ("isoflop", 0.04)])
def test_a_known_law_s_allocation_is_found(
    law: dict[str, float], approach: str, within: float
) -> None:
    """Up to what a ladder of sizes half a decade apart can resolve."""
    found = frontier(points(law, **FINE), approach)
    assert found.lines is not None
    truth = law["beta"] / (law["alpha"] + law["beta"])
    assert found.lines[0, 1] == pytest.approx(truth, abs=within)
    assert found.lines[1, 1] == pytest.approx(1 - truth, abs=within)
    middle = float(np.median(found.points["flops"]))
    params, tokens = compute_optimal(law, middle)
    np.testing.assert_allclose(np.exp(found.optimum(middle)), [params, tokens], rtol=0.35)


@pytest.mark.parametrize("approach", ["envelope", "isoflop"])
def test_points_do_not_depend_on_order_or_units(approach: str) -> None:
    table = points(LAWS[0])
    plain = frontier(table, approach)
    mixed = frontier(table.sample(frac=1, random_state=1), approach)
    scaled = frontier(
        table.assign(params=table["params"] / 1e6, tokens=table["tokens"] / 1e9), approach
    )
    assert plain.lines is not None
    assert mixed.lines is not None
    assert scaled.lines is not None
    np.testing.assert_allclose(mixed.lines, plain.lines, rtol=1e-9)
    np.testing.assert_allclose(scaled.lines[:, 1], plain.lines[:, 1], rtol=1e-9)


@pytest.mark.parametrize("approach", ["envelope", "isoflop"])
def test_an_optimum_at_the_edge_is_refused(approach: str) -> None:
    """Every size far above the optimum: the smallest is best everywhere."""
    table = points(LAWS[0])
    table = table[(table["params"] > 1e9) & (table["tokens"] < 1e9)]
    found = frontier(table, approach)
    assert found.lines is None
    assert "fewer than 5 points" in found.reason
    assert "0 " in found.reason


def test_few_sizes_are_refused() -> None:
    table = points(LAWS[0])
    few = table[table["size"].isin(table["size"].unique()[:2])]
    assert frontier(few, "isoflop").reason == "2 sizes have two horizons; a frontier needs 3"
    four = table[table["size"].isin(table["size"].unique()[4:8])]
    assert "at 16 fewer than 5 sizes meet" in frontier(four, "isoflop").reason


def test_seeds_are_averaged_and_single_horizons_have_no_curve() -> None:
    table = mean_points(
        ["a", "a", "a", "b"], np.array([1.0, 1, 1, 2]), np.array([5.0, 5, 10, 5]),
        np.array([30.0, 30, 60, 60]), np.array([2.0, 4.0, 1.0, 1.0]),
    )  # fmt: skip
    assert table.loc[table["size"] == "a", "loss"].tolist() == [3.0, 1.0]
    assert [curve.size for curve in curves_of(table)] == ["a"]


def test_sizes_within_one_percent_are_one() -> None:
    assert merge_alike(np.array([1.0e6, 2.0e6, 1.005e6, 1.02e6])) == [
        "1e+06", "2e+06", "1e+06", "1.02e+06",
    ]  # fmt: skip


def test_intervals_hold_the_truth_more_often_than_not() -> None:
    """Twenty noisy ladders; the jackknife of a fine ladder is wide, so most must hold."""
    truth = LAWS[0]["beta"] / (LAWS[0]["alpha"] + LAWS[0]["beta"])
    held = tried = 0
    for seed in range(20):
        table = points(LAWS[0], noise=0.002, seed=seed)
        whole = frontier(table, "isoflop")
        errors, _ = frontier_errors(table, "isoflop", whole)
        if errors is None:
            continue
        low, high = errors.slopes()[0]
        held, tried = held + (low <= truth <= high), tried + 1
    assert tried >= 15
    assert held / tried > 0.85


def test_all_three_agree_on_a_true_law_and_carry_their_intervals() -> None:
    table = points(LAWS[0], noise=0.002)
    variables = {"N": table["params"].to_numpy(), "D": table["tokens"].to_numpy()}
    fitted = fit(Chinchilla(), variables, table["loss"])
    errors = jackknife(fitted, variables, table["loss"], list(table["size"]))
    assert errors is not None
    found = three_approaches(table, fitted, errors.allocation_interval(), errors)
    assert found["verdict"]["status"] == "agree"
    law = found["approaches"]["parametric"]
    params, tokens = compute_optimal(fitted.parameters, float(table["flops"].max()))
    assert law["optimum"][0]["params"] == pytest.approx(float(params))
    assert law["optimum"][0]["tokens"] == pytest.approx(float(tokens))
    assert not law["optimum"][0]["extrapolated"]
    assert law["optimum"][1]["extrapolated"]
    for entry in found["approaches"].values():
        low, high = entry["optimum"][0]["params_interval"]
        assert low < entry["optimum"][0]["params"] < high


def entry(interval: list[float] | None) -> dict[str, object]:
    return {"interval": interval}


@pytest.mark.parametrize(
    ("intervals", "status", "part"),
    [
        (([0.4, 0.5], [0.45, 0.6], [0.3, 0.46]), "agree", "envelope and isoFLOP"),
        (([0.4, 0.5], [0.55, 0.6], [0.3, 0.46]), "disagree", "envelope and isoFLOP parabolas"),
        ((None, [0.55, 0.6], None), "cannot say", "1 of 3 have an interval"),
        ((None, [0.4, 0.6], [0.3, 0.46]), "agree", "no interval from envelope"),
    ],
)
def test_the_verdict_is_that_of_the_intervals(
    intervals: tuple[list[float] | None, ...], status: str, part: str
) -> None:
    names = ("envelope", "isoflop", "parametric")
    said = verdict({name: entry(ends) for name, ends in zip(names, intervals, strict=True)})
    assert said["status"] == status
    assert part in said["text"]
