"""How a law moves without a size or its worst rows, and with what N and C count."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saltus.errors import TableError
from saltus.law.conventions import conventions
from saltus.law.coverage import coverage_of, not_simulated
from saltus.law.criterion import Criterion
from saltus.law.forms import Chinchilla, Kaplan
from saltus.law.influence import leave_one_size_out, leave_worst_out
from saltus.law.runs import replicas_of, variables_of
from saltus.law.solve import fit
from saltus.law.table import read_rows

MakeRuns = Callable[..., pd.DataFrame]
REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "laptop" / "tables"


def test_leaving_a_size_out_is_the_fit_without_it(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=2)
    table, loss = variables_of(runs), runs["loss_text"]
    fitted = fit(Chinchilla(), table, loss)
    moved = leave_one_size_out(fitted, table, loss, list(runs["size"]))
    assert moved is not None
    assert moved.refits == 5
    assert moved.unconverged == 0
    factors = {}
    for size in runs["size"].unique():
        kept = runs[runs["size"] != size]
        alone = fit(Chinchilla(), variables_of(kept), kept["loss_text"])
        factors[size] = alone.parameters["B"] / fitted.parameters["B"]
    furthest = max(factors, key=lambda size: abs(np.log(factors[size])))
    assert moved.left_out["B"] == furthest
    assert moved.factors["B"] == pytest.approx(factors[furthest], rel=1e-4)


def test_an_outlier_is_the_worst_row_and_its_loss_is_seen(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=1, noise=0.001)
    loss = runs["loss_text"].to_numpy().copy()
    loss[7] *= 1.2
    table = variables_of(runs)
    fitted = fit(Chinchilla(), table, loss)
    moved = leave_worst_out(fitted, table, loss, [f"number {i}" for i in range(len(loss))])
    assert moved is not None
    assert moved.left_out["E"] == "row number 7"
    assert moved.refits == 1


def test_too_few_rows_or_sizes_move_nothing(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=2, seeds=1)
    table, loss = variables_of(runs), runs["loss_text"]
    fitted = fit(Chinchilla(), table, loss)
    assert leave_one_size_out(fitted, table, loss, list(runs["size"])) is None


def test_conventions_move_the_exponents_of_the_reference() -> None:
    if not REFERENCE.exists():
        pytest.skip("no reference run is published in this checkout")
    rows = read_rows(pd.read_parquet(REFERENCE / "runs.parquet"), Chinchilla())
    found = conventions(rows)
    pairs = [(row["params"], row["flops"]) for row in found]
    assert pairs == [
        ("params_total", "flops_exact"), ("params_total", "flops_6nd"),
        ("params_total", "6 params_total D"), ("params_nonembedding", "flops_exact"),
        ("params_nonembedding", "flops_6nd"), ("params_nonembedding", "6 params_nonembedding D"),
    ]  # fmt: skip
    by = dict(zip(pairs, found, strict=True))
    total, alone = by[pairs[0]], by[pairs[3]]
    assert total["alpha"] != pytest.approx(alone["alpha"], rel=0.05)
    exact = by[pairs[0]]["a"]["envelope"]["a"]
    product = by[pairs[2]]["a"]["envelope"]["a"]
    assert exact != pytest.approx(product, rel=0.01)


def test_one_convention_is_refused_in_a_line(make_runs: MakeRuns) -> None:
    runs = make_runs(sizes=5, seeds=2).drop(columns=["flops_exact", "params_nonembedding"])
    with pytest.raises(TableError, match="--conventions: found one column of parameters"):
        conventions(read_rows(runs, Chinchilla()))


def test_coverage_is_that_of_the_nearest_design() -> None:
    many, few = coverage_of("jackknife", 12), coverage_of("jackknife", 5)
    assert many["design"].startswith("8 sizes")
    assert few["design"].startswith("5 sizes")
    for found in (many, few):
        assert found["ladders"] >= 1000
        for name in ("alpha", "beta", "a", "new replica beyond the ladder"):
            for kind in ("plain", "misfit"):
                share = found["quantities"][name][kind]
                assert share is not None
                assert share >= 0.92, (name, kind)


def test_coverage_is_shown_only_of_intervals_made_as_the_simulated_ones(
    make_runs: MakeRuns,
) -> None:
    runs = make_runs(sizes=8, seeds=2)
    table, loss = variables_of(runs), runs["loss_text"]
    sizes, replicas = list(runs["size"]), replicas_of(runs)
    fitted = fit(Chinchilla(), table, loss)
    assert not_simulated(fitted, "jackknife", sizes, replicas) == ""
    squares = fit(Chinchilla(), table, loss, criterion=Criterion("squared"))
    assert not_simulated(squares, "profile", sizes, replicas) == ""
    for reason, given in {
        "simulated with 5 sizes, not with as few as 4": (
            fitted,
            "jackknife",
            list("abcd"),
            list("efghi"),
        ),
        "not simulated for tea leaves": (fitted, "tea leaves", sizes, replicas),
        "simulated for several seeds": (fitted, "rows", sizes, None),
        "halved squares": (fitted, "profile", sizes, replicas),
        "Huber losses, delta 0.001": (squares, "jackknife", sizes, replicas),
        "chinchilla's law only": (fit(Kaplan(), table, loss), "jackknife", sizes, replicas),
    }.items():
        assert reason in not_simulated(*given)
