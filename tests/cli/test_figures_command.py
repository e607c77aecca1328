"""`saltus figures DIR`: from tables alone to figures, one line when something is missing."""

from pathlib import Path

import pandas as pd
import pytest

from saltus.cli.main import main


def test_draws_the_figures_that_are_named(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "report.html").read_text()
    out = finished.parent / "drawn"
    arguments = ["figures", str(finished), "--only", "law-fit", "reliability", "--out", str(out)]
    assert main(arguments) == 0
    names = {"law-fit.svg", "law-fit.png", "reliability.svg", "reliability.png"}
    assert {path.name for path in out.iterdir()} == names
    assert {Path(line).name for line in capsys.readouterr().out.split()} == names
    assert (out / "law-fit.svg").read_text().startswith("<?xml")
    assert (finished / "figures" / "law-fit.svg").read_text() == "drawn"
    assert (finished / "report.html").read_text() == before


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["figures", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("saltus figures: ") and error.count("\n") == 1
    return error


def test_misspelt_figure(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused([str(finished), "--only", "law-fits"], capsys)
    assert "'law-fits'" in error and "did you mean 'law-fit'?" in error


def test_no_such_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing" in refused(["results/none"], capsys)
    assert not (folder / "results").exists()


def test_missing_table_is_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (finished / "tables" / "scores.parquet").unlink()
    assert "scores.parquet: missing" in refused([str(finished)], capsys)


def test_missing_column_is_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = finished / "tables" / "runs.parquet"
    pd.read_parquet(path).drop(columns="loss_text").to_parquet(path)
    error = refused([str(finished)], capsys)
    assert "runs.parquet: lacks the column loss_text" in error


def test_document_that_is_no_json(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (finished / "laws.json").write_text("{")
    assert "laws.json: not JSON" in refused([str(finished)], capsys)
