"""`saltus law` on tables of anybody's: known answers, by JSON and in print."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from law_tables import TRUTH, answer, table

from saltus.cli.main import main
from saltus.law.forms import Chinchilla

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "laptop"
RATES = Path(__file__).parents[2] / "results" / "reference" / "rates"
PUBLIC = Path(__file__).parents[2].parent / "shared" / "public-runs"


def test_the_answer_has_everything_by_its_name(tmp_path: Path) -> None:
    found = answer(tmp_path, table(noise=0.003))
    assert found["form"] == "chinchilla"
    assert set(found["parameters"]) == set(TRUTH)
    for name, (low, high) in found["intervals"].items():
        assert low < found["parameters"][name] < high
    assert found["certificate"]["status"] == "converged"
    assert found["certificate"]["leave_one_size_out"]["refits"] == 8
    assert found["rows"] == 64
    assert found["dropped"] == {}
    assert found["interval_method"] == "bootstrap of rows, 100 resamples, percentiles"
    assert found["audit"]["improvable"] == 0


def test_an_exact_table_gives_its_law(tmp_path: Path) -> None:
    found = answer(tmp_path, table())
    assert found["parameters"] == pytest.approx(TRUTH, rel=1e-6)


def test_units_are_those_given(tmp_path: Path) -> None:
    frame = table(noise=0.003)
    plain = answer(tmp_path, frame)["parameters"]
    scaled = frame.assign(N=frame["N"] / 1e6, D=frame["D"] / 1e9)
    moved = answer(tmp_path, scaled)["parameters"]
    assert moved["alpha"] == pytest.approx(plain["alpha"], rel=1e-6)
    assert moved["A"] * 1e6 ** plain["alpha"] == pytest.approx(plain["A"], rel=1e-5)
    assert moved["B"] * 1e9 ** plain["beta"] == pytest.approx(plain["B"], rel=1e-5)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_other_formats_give_the_same(tmp_path: Path, kind: str) -> None:
    frame = table(noise=0.003)
    expected = answer(tmp_path, frame)["parameters"]
    path, out = tmp_path / f"table.{kind}", tmp_path / "other.json"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True, double_precision=15)
    assert main(["law", str(path), "--json", str(out), "--bootstrap", "100"]) == 0
    assert json.loads(out.read_text())["parameters"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["TABLE.CSV", "table.csv.gz", "table.jsonl.gz"])
def test_endings_in_capitals_packed_files_and_padded_headers_are_read(
    tmp_path: Path, name: str
) -> None:
    frame = table(6, noise=0.003)
    expected = answer(tmp_path, frame)["parameters"]
    path, out = tmp_path / name, tmp_path / "other.json"
    padded = frame.rename(columns={"N": " N ", "loss": "\tloss"})
    if "csv" in name.lower():
        padded.to_csv(path, index=False)
    else:
        padded.to_json(path, orient="records", lines=True, double_precision=15)
    assert main(["law", str(path), "--json", str(out), "--bootstrap", "100"]) == 0
    assert json.loads(out.read_text())["parameters"] == pytest.approx(expected, rel=1e-6)


def test_conventions_of_own_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = table(6, noise=0.003).rename(columns={"N": "whole"})
    frame = frame.assign(core=0.8 * frame["whole"] ** 1.02, spent=7 * frame["whole"] * frame["D"])
    found = answer(
        tmp_path, frame, "--columns", "params=whole", "--conventions", "--counts",
        "params=core,flops=spent",
    )["conventions"]  # fmt: skip
    assert [(row["params"], row["flops"]) for row in found] == [
        ("whole", "spent"), ("whole", "6 whole D"), ("core", "spent"), ("core", "6 core D"),
    ]  # fmt: skip
    assert found[2]["alpha"] == pytest.approx(found[0]["alpha"] / 1.02, rel=1e-4)
    told = capsys.readouterr().out
    assert "6 core D" in told and "certificate" in told and "converged" in told
    assert all("interval_reason" in row["a"]["isoflop"] for row in found)


def test_compute_is_6nd_where_no_column_holds_it(tmp_path: Path, capsys: Any) -> None:
    frame = table(6, noise=0.003)
    found = answer(tmp_path, frame, "--form", "power")
    told = capsys.readouterr().out
    assert found["columns"]["flops"] == "6 N D" and ", x = C  (" in told
    path = tmp_path / "text.csv"
    frame.astype({"D": object}).assign(D=["many", *frame["D"][1:]]).to_csv(path, index=False)
    assert main(["law", str(path), "--form", "power"]) == 2
    assert "column D, row 1: found 'many'" in capsys.readouterr().err
    own = answer(tmp_path, frame.assign(C=6 * frame["N"] * frame["D"]), "--form", "power")
    assert found["parameters"] == own["parameters"]


def test_what_is_gone_or_fixed_is_not_told_as_a_number(tmp_path: Path, capsys: Any) -> None:
    frame = table(6)
    frame["loss"] = 20 * frame["N"] ** -0.1 + 30 * frame["D"] ** -0.12
    answer(tmp_path, frame)
    told = capsys.readouterr().out
    (line,) = (line for line in told.splitlines() if line.startswith("E "))
    assert line.split()[:2] == ["E", "~0"] and "on its bound" in line and "×" not in line
    assert "E moves most" not in told
    answer(tmp_path, table(6, noise=0.003), "--form", "over-training")
    told = capsys.readouterr().out
    assert re.search(r"^allocation a +0\.5000 +none: the form has no other", told, re.M)


@pytest.mark.parametrize("variable", ["N", "D", "C"])
def test_forms_in_one_variable_are_held_to_its_largest_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    x = np.geomspace(1e6, 1e10, 12)
    loss = 1.5 + 300 * x**-0.3
    loss *= np.exp(np.random.default_rng(0).normal(0, 0.002, len(x)))
    found = answer(
        tmp_path, pd.DataFrame({variable: x, "loss": loss}), "--form", "power", "--variable",
        variable,
    )  # fmt: skip
    held, largest = found["heldout"], found["heldout"]["largest"]
    assert (held["cut_along"], held["chosen"]) == (variable, "power")
    assert held["cut"] == pytest.approx(np.sqrt(x[0] * x[-2]))
    assert largest["of"] == ("size" if variable == "N" else variable)
    assert largest["rows"] == 1
    assert largest["mean_absolute_error_percent"] < largest["baseline_error_percent"]
    assert found["allocation"] is None
    assert found["allocation_reason"].startswith(f"power is a law of {variable} alone")
    told = capsys.readouterr().out
    assert f"largest {variable} " in told or "largest size " in told
    assert "power (chosen) " in told


def test_kaplan_s_law_has_an_allocation(tmp_path: Path) -> None:
    found = answer(tmp_path, table(6, noise=0.003), "--form", "kaplan")
    size, data = (found["parameters"][name] for name in ("alpha_N", "alpha_D"))
    assert found["allocation"]["a"] == pytest.approx(1 / (1 + size / data))
    low, high = found["allocation"]["interval"]
    assert low <= found["allocation"]["a"] <= high
    assert found["allocation_reason"] == ""
    assert found["heldout"]["largest"]["baseline_reason"] == ""


def test_equal_errors_are_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(tmp_path, table(6))
    assert found["heldout"]["chosen"] == "chinchilla"
    assert found["heldout"]["tied"] == ["outer"]
    told = capsys.readouterr().out
    assert "chinchilla (chosen of equals)" in told and "outer (as good)" in told


def test_units_are_told_and_ends_have_the_digits_of_their_estimate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = table(6, noise=0.003)
    answer(tmp_path, frame.assign(N=frame["N"] / 1e9, D=frame["D"] / 1e9))
    told = capsys.readouterr().out
    assert "so not FLOPs if N or D is in millions or billions" in told
    (line,) = (line for line in told.splitlines() if line.startswith("fitted law"))
    numbers = re.findall(r"[0-9.]+", line.split("]", 1)[1])
    assert {len(each.replace(".", "").lstrip("0")) for each in numbers} == {3}
    assert "simulated coverage: none to go by, simulated for several seeds" in told
    answer(tmp_path, frame)
    assert "not FLOPs" not in capsys.readouterr().out


def test_columns_where_and_clusters(tmp_path: Path) -> None:
    frame = table(noise=0.003).rename(columns={"N": "size_n", "loss": "nll"})
    frame["mode"] = ["train" if i % 4 else "test" for i in range(64)]
    frame["group"] = np.arange(64) // 8
    found = answer(
        tmp_path, frame, "--columns", "params=size_n,loss=nll", "--where", "mode == 'train'",
        "--cluster", "group",
    )  # fmt: skip
    assert found["columns"] == {"params": "size_n", "tokens": "D", "loss": "nll"}
    assert found["dropped"] == {"where": 16}
    assert found["rows"] == 48
    assert found["interval_method"].startswith("bootstrap of clusters")


def test_an_absent_interval_has_its_own_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = answer(tmp_path, table())
    assert set(exact["interval_notes"].values()) == {"none: the table is exact"}
    assert capsys.readouterr().out.count("none: the table is exact") == 6
    frame = table(noise=0.003)
    frame["loss"] -= 1.71
    bounded = answer(tmp_path, frame)
    assert bounded["certificate"]["bounds_hit"] == ["E"]
    assert bounded["interval_notes"] == {"E": "none: on its bound"}


def test_what_repeated_rows_say_of_the_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = pd.concat([table(5, 0.003, seed).assign(seed=seed) for seed in range(3)])
    found = answer(tmp_path, frames)
    assert found["lack_of_fit"]["seed_percent"] == pytest.approx(0.3, rel=0.25)
    assert found["lack_of_fit"]["status"] == "none seen"
    assert found["lack_of_fit"]["freedom"] == [20, 50]
    assert "lack of fit  none seen (residuals" in capsys.readouterr().out
    frames["loss"] *= np.where(np.isclose(frames["N"], frames["N"].median()), 1.02, 1.0)
    found = answer(tmp_path, frames)
    assert found["lack_of_fit"]["status"] == "does not fit"
    told = capsys.readouterr().out
    assert "lack of fit  the law does not fit" in told
    assert found["coverage"] is None
    assert f"leaves {found['lack_of_fit']['ratio']:.2g} times the scatter" in told
    assert main(["advise", str(tmp_path / "law.json"), "--budget", "1e21"]) == 0
    assert capsys.readouterr().out.startswith("warning: the law does not fit: it leaves")
    found = answer(tmp_path, table(5, 0.003))
    assert found["lack_of_fit"]["status"] == "cannot say"
    assert found["lack_of_fit"]["seed_percent"] is None


def test_diverged_runs_are_dropped_and_counted(tmp_path: Path) -> None:
    frame = table(noise=0.003)
    frame["status"] = "ok"
    frame.loc[5, ["status", "loss"]] = ["diverged", np.nan]
    found = answer(tmp_path, frame)
    assert found["dropped"] == {"diverged": 1}


def test_sizes_with_seeds_get_the_jackknife(tmp_path: Path) -> None:
    frames = [table(5, 0.003, seed).assign(seed=seed) for seed in range(3)]
    found = answer(tmp_path, pd.concat(frames))
    assert found["interval_method"] == "delete-one-size jackknife, t with 2 degrees of freedom"
    assert found["coverage"]["quantities"]["alpha"]["plain"] > 0.9


def test_a_profile_of_squares(tmp_path: Path) -> None:
    found = answer(tmp_path, table(noise=0.003), "--loss", "squared", "--interval", "profile")
    assert "profile of a normal likelihood" in found["interval_method"]
    low, high = found["intervals"]["alpha"]
    assert low < found["parameters"]["alpha"] < high


@pytest.mark.parametrize("form", ["kaplan", "outer", "over-training", "power", "broken"])
def test_every_form_answers(tmp_path: Path, form: str) -> None:
    frame = table(noise=0.003).assign(C=lambda rows: 6 * rows["N"] * rows["D"])
    found = answer(tmp_path, frame, "--form", form)
    assert found["form"] == form
    assert all(value is not None for value in found["parameters"].values())


def test_a_studys_folder_gives_its_own_law(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`minimum_tokens` and delta are those recorded; what that leaves out is counted and said."""
    if not REFERENCE.exists():
        pytest.skip("no reference run is published in this checkout")
    out = tmp_path / "law.json"
    assert main(["law", str(REFERENCE), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    laws = json.loads((REFERENCE / "laws.json").read_text())["chinchilla"]
    dropped = {why: count for why, count in laws["dropped"].items() if count}
    assert found["parameters"] == pytest.approx(laws["parameters"], rel=1e-5)
    assert (found["rows"], found["dropped"]) == (laws["rows"], dropped)
    assert found["criterion"]["delta"] == laws["delta"]
    told = capsys.readouterr().out
    assert all(f"{count} ({why})" in told for why, count in dropped.items())


def test_a_reason_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(tmp_path, table(5, noise=0.003))
    told = capsys.readouterr().out
    assert told.count("distinct parabolas with a vertex inside") == 1
    assert told.count("the best size changes") == 1


def test_exponents_hardly_move_when_every_rate_is_halved_or_doubled(tmp_path: Path) -> None:
    """From the sweep's own rows, at three rates: each exponent within the others' intervals."""
    if not RATES.exists():
        pytest.skip("no sweep is published in this checkout")
    found = {}
    for factor in (0.5, 1.0, 2.0):
        out = tmp_path / f"law{factor}.json"
        options = ["--form", "kaplan", "--where", f"rate_factor == {factor}", "--json", str(out)]
        assert main(["law", str(RATES), "--interval", "jackknife", *options]) == 0
        found[factor] = json.loads(out.read_text())
        assert found[factor]["rows"] == 16
        assert found[factor]["certificate"]["status"] == "converged"
    for factor in (0.5, 2.0):
        for name in ("alpha_N", "alpha_D"):
            low, high = found[1.0]["intervals"][name]
            assert low <= found[factor]["parameters"][name] <= high


def test_the_published_asymmetric_fit(tmp_path: Path) -> None:
    path = PUBLIC / "kyo-takano_chinchilla" / "df.csv"
    if not path.exists():
        pytest.skip("the public tables are not beside the repository (../shared/public-runs)")
    out = tmp_path / "law.json"
    options = ["--loss", "asymmetric", "--residual", "raw", "--bootstrap", "100"]
    assert main(["law", str(path), "--json", str(out), *options]) == 0
    found = json.loads(out.read_text())
    published = {"E": 1.7004, "A": 185.4, "B": 1627.0, "alpha": 0.2892, "beta": 0.3556}
    assert found["parameters"] == pytest.approx(published, rel=5e-3)
    assert found["certificate"]["status"] == "converged"
    rows = pd.read_csv(path)
    over = Chinchilla().predict(published, rows[["N", "D"]].to_dict("series")) - rows["loss"]
    at_published = float(np.sum(np.where(over > 0, 10 * over, -over)))
    assert found["objective"] <= at_published
