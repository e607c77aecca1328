"""`saltus emergence` on tables of anybody's: known answers, JSON, and one line for bad tables."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from saltus.cli.main import main
from saltus.figure import emergence_table

PYTHIA = Path(__file__).parents[2].parent / "shared" / "public-runs" / "EleutherAI_pythia"
PYTHIA_SIZES = {
    "125m": 162322944,
    "350m": 405334016,
    "800m": 1011781632,
    "1.3b": 1414647808,
    "2.7b": 2775208960,
    "6.7b": 6857302016,
    "13b": 11846072320,
}
KEYS = {"group", "threshold", "width", "fit", "scores", "verdict", "reason", "power"}
COUNTS = ("--scale", "params", "--successes", "k", "--trials", "n", "--replica", "seed")


def table(num_sizes: int = 6, num_seeds: int = 2, task: str = "add") -> pd.DataFrame:
    """A rise from 0 to 1 whose middle lies at 1e5 parameters, two replicas a size."""
    rows = []
    for index, params in enumerate(10 ** np.linspace(3.5, 6.5, num_sizes)):
        for seed in range(num_seeds):
            share = 1 / (1 + np.exp(-(np.log10(params) - 5) / 0.3 + 0.3 * (seed - 0.5)))
            rows.append((task, round(params), seed, round(400 * share), 400, 3.0 - 0.3 * index))
    return pd.DataFrame(rows, columns=["task", "params", "seed", "k", "n", "loss"])


def answer(tmp_path: Path, frame: pd.DataFrame, *options: str) -> list[dict[str, Any]]:
    path, out = tmp_path / "table.csv", tmp_path / "emergence.json"
    frame.to_csv(path, index=False)
    assert main(["emergence", str(path), "--json", str(out), *options]) == 0
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frame: pd.DataFrame, *options: str
) -> str:
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    assert main(["emergence", str(path), *options]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("saltus emergence: ").removeprefix(f"{path}: ")


def test_the_answer_has_everything_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = answer(tmp_path, table(), *COUNTS)
    assert found.keys() >= KEYS
    threshold = found["threshold"]
    assert threshold["low"] < 1e5 < threshold["high"] and threshold["censored"] == "none"
    assert threshold["low"] <= threshold["estimate"] <= threshold["high"]
    low, high = threshold["first_crossing"]
    assert threshold["sustained_crossing"] == [low, high] and low < 1e5 < high
    assert found["width"] == pytest.approx(2 * np.log(9) * 0.3, rel=0.15)
    assert found["fit"]["status"] == "converged"
    assert found["scores"].keys() == {"linearity", "breakthroughness"}
    assert found["verdict"] in ("undecided", "smooth") and found["reason"]
    assert 0 <= found["power"]["smooth"] <= 1 and found["power"]["sharp"] is None
    printed = capsys.readouterr().out
    assert threshold["label"] in printed and "dropped: none" in printed


def test_pythia_addition_known_answer(tmp_path: Path) -> None:
    if not PYTHIA.is_dir():
        pytest.skip("the public tables are not beside the repository (../shared/public-runs)")
    frame = pd.read_csv(PYTHIA / "pythia_v0_arithmetic_agg.csv")
    frame = frame.assign(params=frame["model_v0_name"].map(PYTHIA_SIZES))
    where = "checkpoint_step == 143000 and op == 'addition' and fewshot in [8, 16]"
    options = ("--scale", "params", "--accuracy", "mean_acc", "--trials", "5000")
    eight, sixteen = answer(tmp_path, frame, *options, "--group", "op,fewshot", "--where", where)
    assert sixteen["group"] == {"op": "addition", "fewshot": 16}
    threshold = sixteen["threshold"]
    assert threshold["estimate"] == pytest.approx(4.4e9, rel=0.03)
    high = threshold["high"] or PYTHIA_SIZES["13b"]
    assert threshold["low"] < 4.4e9 < high and high / threshold["low"] > 4
    assert threshold["first_crossing"] == [PYTHIA_SIZES["1.3b"], PYTHIA_SIZES["2.7b"]]
    for found, expected in ((sixteen, (2.70, 5.80)), (eight, (2.64, 6.49))):
        assert tuple(round(score, 2) for score in found["scores"].values()) == expected


def test_groups_are_what_each_alone_would_be(tmp_path: Path) -> None:
    other = table(task="sub").assign(params=lambda rows: rows["params"] * 3)
    both = answer(tmp_path, pd.concat([other, table()]), *COUNTS, "--group", "task")
    assert [found["group"] for found in both] == [{"task": "add"}, {"task": "sub"}]
    for found, frame in zip(both, (table(), other), strict=True):
        assert [found] == answer(tmp_path, frame, *COUNTS, "--group", "task")


def test_accuracy_and_counts_give_the_same(tmp_path: Path) -> None:
    frame = table().assign(acc=lambda rows: (rows["k"] / rows["n"]).round(4))
    shares = ("--scale", "params", "--accuracy", "acc", "--trials", "400", "--replica", "seed")
    assert answer(tmp_path, frame, *shares) == answer(tmp_path, frame, *COUNTS)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_other_formats_give_the_same(tmp_path: Path, kind: str) -> None:
    expected = answer(tmp_path, table(), *COUNTS)
    path, out = tmp_path / f"table.{kind}", tmp_path / "other.json"
    if kind == "parquet":
        table().to_parquet(path)
    else:
        table().to_json(path, orient="records", lines=True)
    assert main(["emergence", str(path), "--json", str(out), *COUNTS]) == 0
    assert json.loads(out.read_text()) == expected


def test_a_loss_falls_as_ability_grows(tmp_path: Path) -> None:
    options = ("--successes", "k", "--trials", "n", "--replica", "seed", "--where", "seed == 0")
    (found,) = answer(tmp_path, table(), "--scale", "loss", "--falling", *options)
    assert 1.5 < found["threshold"]["low"] < found["threshold"]["high"] < 3
    assert found["scores"]["linearity"] > 0


def test_chance_is_a_number_or_a_column(tmp_path: Path) -> None:
    frame = table().assign(guess=0.1, k=lambda rows: 40 + (rows["k"] * 0.9).round().astype(int))
    by_column = answer(tmp_path, frame, *COUNTS, "--chance", "guess")
    assert by_column == answer(tmp_path, frame, *COUNTS, "--chance", "0.1")
    assert by_column[0]["threshold"]["n50"] > by_column[0]["threshold"]["estimate"]


def test_below_guessing_there_is_no_verdict(tmp_path: Path) -> None:
    frame = table().assign(k=lambda rows: rows["k"] // 3)
    (found,) = answer(tmp_path, frame, *COUNTS, "--chance", "0.9")
    assert found["verdict"] == "undecided"
    assert found["reason"] == "accuracy is below guessing (0.9) at every scale"


def test_few_sizes_are_undecided_with_the_reason(tmp_path: Path) -> None:
    (found,) = answer(tmp_path, table(3), *COUNTS)
    assert found["verdict"] == "undecided" and "3 sizes" in found["reason"]
    assert found["threshold"]["status"] == "undecided"


def test_the_figure_shows_every_replica(tmp_path: Path) -> None:
    picture = tmp_path / "emergence.svg"
    frame = pd.concat([table(), table(task="sub")])
    answer(tmp_path, frame, *COUNTS, "--group", "task", "--figure", str(picture))
    assert picture.read_text().count("<use ") >= 24


def test_an_arrow_beyond_the_ladder_points_along_the_level() -> None:
    axes = Figure().add_subplot()
    beyond: Any = SimpleNamespace(status="above largest")
    emergence_table._band(axes, beyond, 0.8, (1e3, 1e6))
    (arrow,) = axes.texts
    assert isinstance(arrow, Annotation)
    assert (arrow.xy, arrow.xyann) == ((1e6 * 1.25, 0.8), (1e6, 0.8))


def changed(column: str, row: int, value: object) -> pd.DataFrame:
    frame = table().astype(object)
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        (changed("n", 3, 0), "column n, row 4: found 0, expected a whole number from 1 to 1e+15"),
        (changed("k", 3, 401), "column k, row 4: found 401 successes, expected at most the 400"),
        (changed("k", 0, 1.5), "column k, row 1: found 1.5, expected a whole number from 0 on"),
        (changed("k", 2, np.nan), "column k, row 3: found nothing, expected a whole number"),
        (changed("k", 2, "many"), "column k, row 3: found 'many', expected a whole number"),
        (changed("k", 2, -1), "column k, row 3: found -1, expected a whole number from 0 on"),
        (
            changed("params", 1, 0),
            "column params, row 2: found 0, expected a number from 1e-60 to 1e+60",
        ),
        (changed("params", 1, "big"), "column params, row 2: found 'big', expected a number"),
        (changed("seed", 5, np.nan), "column seed, row 6: found nothing, expected a label"),
        (
            pd.concat([table(), table().iloc[[2]]]),
            "columns params, seed, row 13: the same as row 3; expected each once",
        ),
        (table(1), "column params: 3162 in every row, from row 1 on; expected at least two sizes"),
        (table().iloc[:0], "0 rows; expected at least two sizes"),
    ],
)
def test_a_bad_table_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frame: pd.DataFrame, line: str
) -> None:
    assert refusal(tmp_path, capsys, frame, *COUNTS).startswith(line)


def test_mixed_chance_levels_are_refused_within_a_group_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = table().assign(guess=0.0)
    frame.loc[4, "guess"] = 0.25
    told = refusal(tmp_path, capsys, frame, *COUNTS, "--chance", "guess")
    assert told.startswith("column guess, row 5: found a chance level of 0.25, expected 0 as in ")
    both = pd.concat([table().assign(guess=0.0), table(task="sub").assign(guess=0.25)])
    assert len(answer(tmp_path, both, *COUNTS, "--group", "task", "--chance", "guess")) == 2


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--scale", "parms"), "column 'parms' (--scale): not in the table"),
        (("--scale", "parms"), "(did you mean 'params'?)"),
        (("--replica", "sed"), "column 'sed' (--replica)"),
        (("--group", "tsk"), "column 'tsk' (--group)"),
        (("--chance", "guess"), "column 'guess' (--chance)"),
        (("--chance", "1.5"), "--chance: found 1.5, expected a share from 0 to below 1"),
        (("--trials", "0"), "--trials: found 0, expected a whole number from 1 to 1e+15"),
        (("--accuracy", "k"), "--successes, --accuracy: found both, expected one of the two"),
        (("--successes", "n"), "column 'n': found as --successes and as --trials"),
        (("--nll", "nl"), "column 'nl' (--nll)"),
        (("--level", "1"), "--level: found 1, expected a share between 0 and 1"),
        (("--seed", "-1"), "--seed: found -1"),
        (("--where", "params >"), '--where: found "params >", which cannot be used'),
        (("--where", "params > 1e99"), "0 rows after 12 dropped (where)"),
        (("--figure", "rise.pdf"), "--figure: found 'rise.pdf', expected a name ending in .svg"),
    ],
)
def test_a_bad_option_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], part: str
) -> None:
    assert part in refusal(tmp_path, capsys, table(), *COUNTS, *options)


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = "found task, params, seed, k, n, loss"
    assert refusal(tmp_path, capsys, table()) == (
        f"--scale: not given, expected a column of the table; {found}"
    )
    told = refusal(tmp_path, capsys, table(), "--scale", "params", "--trials", "n")
    assert told == f"--successes, --accuracy: found neither, expected one of the two; {found}"
    options = ("--scale", "params", "--successes", "k", "--trials", "n")
    assert "name what tells them apart with --replica" in refusal(
        tmp_path, capsys, table(), *options
    )


def test_accuracies_that_no_count_explains_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = table(num_seeds=1).assign(acc=[0.0, 0.1, 0.25, 0.5, 0.999, 1.0])
    options = ("--scale", "params", "--accuracy", "acc", "--trials", "20")
    told = refusal(tmp_path, capsys, frame, *options)
    assert told.startswith("column acc, row 5: found 0.999, which is no whole number of 20 trials")
    frame["acc"] *= 100
    assert "row 2: found 10, expected a number from 0 to 1 (4 more such rows)" in refusal(
        tmp_path, capsys, frame, *options
    )


@pytest.mark.parametrize("option", ["--json", "--figure"])
def test_outputs_are_checked_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (tmp_path / "file").write_text("")
    name = f"out{'.json' if option == '--json' else '.svg'}"
    out = tmp_path / "file" / name
    told = refusal(tmp_path, capsys, table(), *COUNTS, option, str(out))
    assert told.startswith(f"{option}: found '{out}', expected a name in a folder that exists")
    folder = tmp_path / name
    folder.mkdir()
    assert "a folder; expected the name of a file" in refusal(
        tmp_path, capsys, table(), *COUNTS, option, str(folder)
    )
