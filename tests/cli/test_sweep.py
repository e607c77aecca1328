"""`saltus sweep`: the published sweep in full, a table of the user's own, refusals in a line."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from saltus.cli.main import main
from saltus.study import Rate, load_study

PUBLISHED = Path(__file__).parents[2] / "results" / "reference" / "rates"
DEFAULT_STUDY = Path(__file__).parents[2] / "config.yaml"


def own_table(sizes: int = 4, exponent: float = -0.4) -> pd.DataFrame:
    """The six columns that a table needs, and no more; losses are parabolas in log rate."""
    rows = []
    for i in range(sizes):
        params = 1000 * 4**i
        best = 0.02 * 4.0 ** (exponent * i)
        for step in range(-2, 3):
            rate = 1.1 * best * 2.0**step
            loss = 4.0 - 0.2 * i + 0.06 * np.log(rate / best) ** 2
            rows += [
                {"size": f"n{i}", "seed": seed, "horizon": 10**6, "params_nonembedding": params,
                 "learning_rate": rate, "loss_validation": loss + 0.01 * seed}
                for seed in (7, 8)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return what was printed and the one line of the error."""
    assert main(["sweep", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("saltus sweep: ") and said.err.count("\n") == 1
    return said.out, said.err


def test_the_default_study_s_rates_are_those_of_the_published_sweep(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sweep", str(PUBLISHED)]) == 0
    said = capsys.readouterr().out
    for line in (r"s2 +1,544 +5 +2 +0 +– .* 0\.0205 +≥ 0\.015 %", r"s8 +148,768 +5 +2 +0 "):
        assert re.search(line, said)
    assert "s2: no best rate, at the edge" in said
    assert "held out  s8 (N = 148,768): the rule of s4, s6 alone" in said
    assert "paired differences of 2 seeds" in said
    block = yaml.safe_load(said[said.index("training:") :])["training"]["rate"]
    default = load_study(DEFAULT_STUDY).training.rate
    for size in (24_512, 55_584, 148_768):
        assert Rate(**block).at(size) == pytest.approx(default.at(size), rel=0.08)
    for row in json.loads((PUBLISHED / "rates.json").read_text())["band"]:
        assert row["low"] < default.at(row["params_nonembedding"]) < row["high"]
    smallest = pd.read_parquet(PUBLISHED / "tables" / "runs.parquet")["params_nonembedding"].min()
    assert Rate(**block).at(int(smallest)) == pytest.approx(block["ceiling"], rel=5e-3)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_table_of_ones_own(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, path = own_table(), tmp_path / f"mine.{suffix}"
    if suffix == "csv":
        table.to_csv(path, index=False)
    elif suffix == "parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=True)
    out, figure = tmp_path / "rule.json", tmp_path / "sweep.png"
    assert main(["sweep", str(path), "--json", str(out), "--figure", str(figure)]) == 0
    found = json.loads(out.read_text())
    assert found["exponent"] == pytest.approx(-0.4, abs=1e-6)
    assert found["held_out"]["cost"] == pytest.approx(0.0, abs=1e-9)
    assert found["rate"]["ceiling"] == pytest.approx(0.02, rel=5e-3)
    assert [row["size"] for row in found["rows"]] == ["n0", "n1", "n2", "n3"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert {each.name for each in tmp_path.iterdir()} == {path.name, out.name, figure.name}
    assert f"exponent: {found['rate']['exponent']}" in capsys.readouterr().out


def test_outputs_are_checked_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saltus.cli.sweep.read_runs", None)
    table = tmp_path / "mine.csv"
    table.write_text("mine")
    assert "which is read" in refused([str(table), "--json", str(table)], capsys)[1]
    absent = tmp_path / "none" / "sweep.svg"
    assert "a folder that exists" in refused([str(table), "--figure", str(absent)], capsys)[1]
    assert table.read_text() == "mine"


def test_an_empty_loss_is_a_divergence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = own_table()
    highest = table.groupby("size")["learning_rate"].transform("max") == table["learning_rate"]
    table.loc[highest & (table["seed"] == 8), "loss_validation"] = np.nan
    table.to_csv(tmp_path / "mine.csv", index=False)
    picture = tmp_path / "sweep.svg"
    assert main(["sweep", str(tmp_path / "mine.csv"), "--figure", str(picture)]) == 0
    assert re.search(r"n0 +1,000 +5 +2 +1 ", capsys.readouterr().out)
    assert picture.read_text().startswith("<?xml")


def test_the_ceiling_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(PUBLISHED), "--ceiling", "0.02"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("ceiling: 0.02}")
    assert "expected a positive rate" in refused([str(PUBLISHED), "--ceiling", "0"], capsys)[1]


def test_too_few_sizes_are_told_with_their_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = own_table(sizes=2)
    high = (table["size"] == "n1") & (table["learning_rate"] > 0.0127)
    table[~high].to_csv(tmp_path / "few.csv", index=False)
    out, drawn = tmp_path / "few.json", tmp_path / "few.png"
    said, error = refused(
        [str(tmp_path / "few.csv"), "--json", str(out), "--figure", str(drawn)], capsys
    )
    assert re.search(r"n0 +1,000 +5 +2", said) and "training:" not in said
    assert "n1: no best rate, at the edge" in said and "higher" in said
    assert "1 of 2 sizes have their best rate inside the sweep" in error
    assert json.loads(out.read_text())["status"] == "too few sizes" and drawn.exists()


def test_a_rule_that_no_study_can_hold_is_told_not_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_table(exponent=0.3).to_csv(tmp_path / "up.csv", index=False)
    said, error = refused([str(tmp_path / "up.csv")], capsys)
    assert "training:" not in said and "rule      rate = " in said
    assert "training.rate.exponent: found 0.3" in error


def test_bad_tables_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.csv"
    own_table().rename(columns={"learning_rate": "learning_rates"}).to_csv(path, index=False)
    error = refused([str(path)], capsys)[1]
    assert "learning_rate is missing (did you mean 'learning_rates'?)" in error
    broken = own_table()
    broken.loc[4, "learning_rate"] = -0.5
    broken.to_csv(path, index=False)
    assert "mine.csv: row 5, learning_rate: found -0.5" in refused([str(path)], capsys)[1]
    broken.loc[4, "learning_rate"] = np.nan
    broken.to_csv(path, index=False)
    assert "row 5, learning_rate: found nothing" in refused([str(path)], capsys)[1]
    path.write_text("")
    assert "not a csv table" in refused([str(path)], capsys)[1]
    own_table().head(0).to_csv(path, index=False)
    assert "found no row" in refused([str(path)], capsys)[1]
    (tmp_path / "mine.parquet").write_text("no parquet")
    assert "not a parquet table" in refused([str(tmp_path / "mine.parquet")], capsys)[1]
    assert "expected .parquet, .csv, .jsonl" in refused([str(DEFAULT_STUDY)], capsys)[1]
    assert "no such file" in refused([str(tmp_path / "absent")], capsys)[1]
    (tmp_path / "empty").mkdir()
    assert "runs.parquet: no such file" in refused([str(tmp_path / "empty")], capsys)[1]
    assert "ending in .svg or .png" in refused([str(PUBLISHED), "--figure", "a.pdf"], capsys)[1]


def test_a_folder_needs_its_runs_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tables").mkdir()
    shutil.copy(PUBLISHED / "tables" / "runs.parquet", tmp_path / "tables")
    assert main(["sweep", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["runs.parquet", "tables"]
    assert "exponent: -0.335," in capsys.readouterr().out
