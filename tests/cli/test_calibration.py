"""`saltus calibration` on tables of anybody's: JSON, figure, and one line for bad tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltus.calibrate.measure import measure
from saltus.cli.main import main

COLUMNS = ("--confidence", "confidence", "--correct", "correct")
KEYS = {
    "group", "n", "ece", "ece_equal_mass", "l2_squared_debiased", "smooth_ece", "brier",
    "overconfidence", "aurc", "floor", "intervals",
}  # fmt: skip


def table(rows: int = 400) -> pd.DataFrame:
    """Two models, the second right .2 less often than it says; ten rows a document."""
    rng = np.random.default_rng(3)
    parts = []
    for model, gap in (("kept", 0.0), ("sure", 0.2)):
        confidence = rng.beta(5, 2, rows).round(4)
        right = rng.random(rows) < np.clip(confidence - gap, 0, 1)
        parts.append(pd.DataFrame({
            "model": model, "document": np.arange(rows) // 10, "confidence": confidence,
            "correct": right.astype(int),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def written(frame: pd.DataFrame, folder: Path) -> str:
    path = folder / "t.csv"
    frame.to_csv(path, index=False)
    return str(path)


def test_the_json_holds_what_measure_finds_for_every_group(tmp_path: Path) -> None:
    frame, out = table(), tmp_path / "out.json"
    options = ("--group", "model", "--cluster", "document", "--json", str(out), "--seed", "2")
    assert main(["calibration", written(frame, tmp_path), *COLUMNS, *options]) == 0
    found = json.loads(out.read_text())
    assert [each["group"] for each in found] == [{"model": "kept"}, {"model": "sure"}]
    for each in found:
        rows = frame[frame["model"] == each["group"]["model"]]
        expected = measure(rows["confidence"], rows["correct"], rows["document"], seed=2)
        assert set(each) >= KEYS
        assert each["smooth_ece"] == expected.smooth_ece
        ends = expected.intervals["smooth_ece"]
        assert each["intervals"]["smooth_ece"] == [ends.low, ends.high]
        assert set(each["brier"]) >= {"total", "reliability", "resolution", "uncertainty"}
        assert set(each["floor"]) >= {"ece", "smooth_ece"}
        assert set(each["intervals"]) >= {"over_error", "brier", "nll", "overconfidence", "aurc"}
    assert found[1]["intervals"]["smooth_ece"][0] > 0.1 > found[0]["smooth_ece"]


def test_what_is_printed_counts_every_row(tmp_path: Path, capsys: Any) -> None:
    frame = table(200).assign(correct=lambda rows: rows["correct"].astype(bool))
    given = ("--where", "model == 'kept'", "--figure", str(tmp_path / "f.svg"))
    assert main(["calibration", written(frame, tmp_path), *COLUMNS, *given]) == 0
    said = capsys.readouterr().out
    assert "200 rows, 1 group; dropped: 200 (where)" in said
    assert "warning: 200 predictions, below 300" in said
    assert "clusters: none, rows are taken as independent" in said
    assert (tmp_path / "f.svg").read_text().startswith("<?xml")


def test_one_class_has_no_intervals_and_says_what_it_allows(tmp_path: Path, capsys: Any) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"confidence": rng.random(500), "correct": 1})
    out = tmp_path / "o.json"
    assert main(["calibration", written(frame, tmp_path), *COLUMNS, "--json", str(out)]) == 0
    (found,) = json.loads(out.read_text())
    assert set(found["intervals"].values()) == {None}
    limit = 100 * (1 - stats.beta.ppf(0.025, 500, 1))
    assert f"0 of 500 allow up to {limit:.2g} %" in found["warnings"][0]
    assert "every answer is right" in capsys.readouterr().out


def test_few_rows_and_cut_confidences_are_told(tmp_path: Path, capsys: Any) -> None:
    frame = pd.DataFrame({"confidence": [0.2, 1.0, 0.9, 0.0], "correct": [0, 0, 1, 1]})
    assert main(["calibration", written(frame, tmp_path), *COLUMNS]) == 0
    said = capsys.readouterr().out
    assert "fewer than 30 predictions: no intervals" in said
    assert "cut to [1e-06, 1 - 1e-06]: 2 beyond came out the other way" in said


def test_a_file_keeps_who_may_read_it_and_a_folder_is_no_table(tmp_path: Path, capsys: Any) -> None:
    out, picture = tmp_path / "o.json", tmp_path / "F.PNG"
    out.write_text("")
    out.chmod(0o600)
    given = (*COLUMNS, "--json", str(out), "--figure", str(picture))
    assert main(["calibration", written(table(), tmp_path), *given]) == 0
    assert out.stat().st_mode & 0o777 == 0o600 and len(json.loads(out.read_text())) == 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["calibration", str(tmp_path), *COLUMNS]) == 2
    assert "found a folder, expected a table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "value", "part"),
    [
        ("confidence", 1.2, "column confidence, row 8: found 1.2, expected a probability from 0"),
        ("confidence", None, "column confidence, row 8: found nothing"),
        ("confidence", "high", "column confidence, row 8: found 'high'"),
        ("correct", 2, "column correct, row 8: found 2, expected 0 or 1"),
        ("model", None, "column model, row 8: found nothing, expected a label"),
        ("document", None, "column document, row 8: found nothing, expected a label"),
        ("model", "alone", "model alone: found 1 row, expected at least 2"),
    ],
)
def test_a_bad_table_gets_one_line_and_no_output(
    tmp_path: Path, capsys: Any, column: str, value: object, part: str
) -> None:
    frame = table().astype({column: object})
    frame.loc[7, column] = value
    out = tmp_path / "o.json"
    given = ("--group", "model", "--cluster", "document", "--json", str(out))
    assert main(["calibration", written(frame, tmp_path), *COLUMNS, *given]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and part in said and not out.exists()


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (("--confidence", "confidenc", "--correct", "correct"), "'confidence'"),
        (
            ("--correct", "correct"),
            "--confidence: not given, expected a column of the table; found",
        ),
        (("--confidence", "p", "--correct", "correct"), "not in the table; found model, document,"),
        ((*COLUMNS, "--cluster", "confidence"), "found as --confidence and as --cluster"),
        ((*COLUMNS, "--group", " ,"), "--group: found ' ,', expected names of columns"),
        ((*COLUMNS, "--where", "foo > 3"), "name 'foo' is not defined; found model, document,"),
        ((*COLUMNS, "--json", "t.txt"), "--json: found 't.txt', expected a name ending in .json"),
        ((*COLUMNS, "--group", "modell"), "'model'"),
        ((*COLUMNS, "--where", "model == 'none'"), "0 rows after 800 dropped (where)"),
        ((*COLUMNS, "--bootstrap", "10"), "--bootstrap: found 10, expected 100 or more"),
        ((*COLUMNS, "--figure", "f.pdf"), "f.pdf"),
    ],
)
def test_a_wrong_option_gets_one_line(
    tmp_path: Path, capsys: Any, given: tuple[str, ...], part: str
) -> None:
    assert main(["calibration", written(table(), tmp_path), *given]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and part in said


def test_a_name_too_long_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibration", "n" * 300, *COLUMNS]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "File name too long" in said
