"""`saltus law` refuses in one line every bad table, file and option, before anything is fitted."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from law_tables import table

from saltus.cli.main import main

RANGE = ", expected a number from 1e-60 to 1e+60"


def refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frame: pd.DataFrame, *options: str
) -> str:
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    assert main(["law", str(path), *options]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix(f"saltus law: {path}: ")


def changed(column: str, row: int, value: object) -> pd.DataFrame:
    frame = table(noise=0.003).astype(object)
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        (
            changed("loss", 3, "high"),
            "column loss, row 4: found 'high'" + RANGE,
        ),
        (
            changed("loss", 3, np.nan),
            "column loss, row 4: found nothing" + RANGE,
        ),
        (changed("N", 0, 0), "column N, row 1: found 0" + RANGE),
        (changed("D", 9, -5.0), "column D, row 10: found -5" + RANGE),
        (changed("loss", 63, "inf"), "column loss, row 64: found inf" + RANGE),
        (changed("loss", 2, 1e-300), "column loss, row 3: found 1e-300" + RANGE),
        (changed("N", 2, 1e300), "column N, row 3: found 1e+300" + RANGE),
        (changed("D", 1, "1_000"), "column D, row 2: found '1_000'" + RANGE),
        (
            pd.concat([table(), table().iloc[[2]]]),
            "columns N, D, loss, row 65: the same as row 3; expected each run once",
        ),
        (table().head(6), "6 rows; chinchilla has 5 parameters and needs 7 rows"),
        (
            table().assign(N=1e9).assign(loss=lambda rows: rows["loss"] * np.linspace(1, 1.1, 64)),
            "column N: 1e+09 in every row; chinchilla needs at least two different N",
        ),
        (
            table().assign(N=lambda rows: 1e9 * (1 + 0.0009 * rows.index / 7)),
            "column N: found 1e+09 to 1.0081e+09, within 1 % of each other; chinchilla needs two "
            "sizes",
        ),
        (
            table().assign(size="s1"),
            "column size: found 's1' in every row; chinchilla needs two sizes",
        ),
        (
            table().assign(seed=[None, *range(63)]),
            "column seed, row 1: found nothing, expected a label",
        ),
        (
            table().drop(columns="loss"),
            "column for loss: none of loss_text, loss, val_loss, validation_loss in the table; "
            "found N, D; name it with --columns loss=COLUMN",
        ),
    ],
)
def test_a_bad_table_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frame: pd.DataFrame, line: str
) -> None:
    assert refusal(tmp_path, capsys, frame) == line


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--columns", "parms=N"), "--columns: found 'parms', expected one of params"),
        (("--columns", "loss=los"), "column 'los' (loss): not in the table; found N, D, loss"),
        (("--columns", "loss"), "--columns: found 'loss', expected ROLE=COLUMN"),
        (("--columns", "loss=loss,loss=D"), "--columns: found loss twice, expected each role once"),
        (("--columns", "loss=N"), "column 'N': found as params and as loss, expected one role"),
        (("--where", "N"), '--where: found "N", expected a condition on columns'),
        (("--where", "[1, 1]"), "expected a condition on columns"),
        (("--seed", "-1"), "--seed: found '-1', expected a whole number from 0 on"),
        (("--where", "@pd.io.common.os.system('true')"), "expected a condition on columns alone"),
        (("--where", "N = 1"), 'found "N = 1", which sets a value; to compare, write =='),
        (("--where", "N > 1 and D = 3"), "a single '=' sets a value; to compare, write == ("),
        (("--where", "loss == 'a=b' and M > 3"), "name 'M' is not defined"),
        (("--where", "N >= 1 and D <= 3"), "0 rows after 64 dropped (where)"),
        (("--counts", "params=D"), "--counts: found 'params=D', expected it with --conventions"),
        (
            ("--conventions", "--counts", "size=D"),
            "--counts: found 'size', expected params or flops",
        ),
        (("--conventions", "--counts", "D"), "--counts: found 'D', expected ROLE=COLUMN"),
        (
            ("--conventions", "--counts", "flops=los"),
            "column 'los' (--counts flops): not in the table; found N, D, loss (did you mean 'los",
        ),
        (("--where", "N >"), '--where: found "N >", which cannot be used'),
        (("--where", "M > 3"), "name 'M' is not defined"),
        (("--where", "N > 1e99"), "0 rows after 64 dropped (where)"),
        (
            ("--cluster", "los"),
            "column 'los' (--cluster): not in the table; found N, D, loss (did you mean 'loss'?)",
        ),
        (("--form", "chinchila"), "(did you mean 'chinchilla'?)"),
        (("--form", "power", "--variable", "X"), "--variable: found 'X'"),
        (("--variable", "N"), "--variable: found 'N', but chinchilla has its own"),
        (("--loss", "hubber"), "(did you mean 'huber'?)"),
        (("--delta", "-1"), "--delta: found '-1', expected a number from 1e-09 to 1e+09"),
        (("--delta", "x"), "saltus law: --delta: found 'x', expected a number"),
        (("--delta",), "saltus law: --delta: found nothing, expected one argument"),
        (("--dleta=1",), "saltus law: --dleta: unknown option (did you mean '--delta'?)"),
        (("--boot", "200"), "saltus law: --boot: unknown option (did you mean '--bootstrap'?)"),
        (("again.csv",), "saltus law: found 'again.csv', expected no further argument"),
        (("--loss", "squared", "--delta", "1"), "--delta: found 1, which --loss squared ignores"),
        (("--over", "3"), "--over: found 3, which --loss huber ignores"),
        (("--bootstrap", "200", "--interval", "jackknife"), "a jackknife, ignores"),
        (("--bootstrap", "99999999999"), "expected a whole number from 100 to 100,000"),
        (("--cluster", "loss", "--where", "loss == loss.min()"), "1 rows after 63 dropped"),
        (("--form", "power", "--variable", "N", "--conventions"), "found --form power, expected"),
        (("--interval", "profile"), "try --loss squared, or another --interval"),
        (("--bootstrap", "3"), "--bootstrap: found '3', expected a whole number"),
        (("--figure", "law.pdf"), "--figure: found 'law.pdf'"),
    ],
)
def test_a_bad_option_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], part: str
) -> None:
    assert part in refusal(tmp_path, capsys, table(noise=0.02), *options)


@pytest.mark.parametrize("option", ["--json", "--figure"])
def test_a_file_that_cannot_be_written_is_refused_before_the_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    kind = "json" if option == "--json" else "svg"
    (tmp_path / f"folder.{kind}").mkdir()
    (tmp_path / f"link.{kind}").symlink_to(tmp_path / "table.csv")
    for name, part in (
        (f"none/law.{kind}", f"'{tmp_path / 'none'}' is none"),
        (f"table.csv/law.{kind}", "expected a name in a folder that exists"),
        (f"folder.{kind}", "a folder; expected the name of a file"),
        ("x" * 300 + f".{kind}", "(File name too long)"),
        (f"link.{kind}", "which is read; expected a file of its own"),
    ):
        said = refusal(tmp_path, capsys, table(), option, str(tmp_path / name))
        assert said.startswith(f"saltus law: {option}: ") and part in said
    assert not list(tmp_path.glob(".*"))


def test_one_file_for_both_outputs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "law.json", tmp_path / "law.svg"
    other.symlink_to(one)
    said = refusal(tmp_path, capsys, table(), "--json", str(one), "--figure", str(other))
    assert said.endswith("the same as --json; expected a file of its own")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pd.date_range("2020", periods=64), "2020-01-01 00:00:00, not a number"),
        (pd.to_timedelta(np.arange(64), "h"), "0 days 00:00:00, not a number"),
        (np.ones(64, dtype=bool), "True, not a number"),
        ([[1.0, 2.0]] * 64, "[1. 2.], not a number"),
    ],
)
def test_what_is_no_number_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: Any, found: str
) -> None:
    path = tmp_path / "table.parquet"
    table().assign(D=values).to_parquet(path)
    assert main(["law", str(path)]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"saltus law: {path}: column D, row 1: found {found}{RANGE} (63 more such rows)\n"
    )


ROW = b"1e9,1e10,3\n"


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.csv", b"", "found nothing in it"),
        ("a.csv", b"N,D,loss\n", "0 rows; chinchilla has 5"),
        ("a.csv", b"\x1f\x8b\x08\x00" + bytes(range(256)), "not a csv table ('utf-8' codec"),
        ("a.csv", b"N;D;loss\n1;2;3\n", "found columns parted by ';', expected ','"),
        ("a.csv", b"N,D,loss,loss\n" + 9 * ROW, "found column 'loss' twice"),
        ("a.csv", b"N,D,loss\n1,2,3,\n" + 9 * b"1,2,3,\n", "more values than the 3 columns"),
        (
            "a.csv",
            b"N,D,loss\n" + ROW + b"1,2,3,4\n",
            "line 3 of the file: found 4 values, expected 3; a comma within a value",
        ),
        ("a.csv", b'N,D,loss\n1,2,"x\ny"\n' + 9 * ROW, "row 1: found 'x y', expected"),
        ("a.csv", b'N,D,loss\n"1,5",2,3\n' + 9 * ROW, "column N, row 1: found '1,5', expected"),
        ("a.csv", b"N,D,loss\n" + b"9" * 400 + b",2,3\n" + 9 * ROW, "column N, row 1: found "),
        ("a.parquet", b"PAR1", "not a parquet table"),
        ("a.jsonl", b"", "in the table; found nothing; name it"),
        ("a.jsonl", b"[1, 2]\n", "line 1: found [1, 2], expected an object"),
        (
            "a.jsonl",
            b'{"N": 1\n',
            "not a jsonl table (line 1, column 8: Expecting ',' delimiter)",
        ),
        (
            "a.jsonl",
            b'{"N": 1}\n\n  {"N": 1, N: 2}\n',
            "not a jsonl table (line 3, column 12: Expecting property name",
        ),
        ("a.csv.gz", b"N,D", "not a csv table (Not a gzipped file"),
        ("a.parquet.gz", b"", "found a name ending in '.parquet.gz', expected .parquet, .csv"),
        ("a.tar.gz", b"", "found a name ending in '.tar.gz', expected .parquet, .csv, .jsonl, or"),
        ("a.csv", b"N,D, N\n1,2,3\n", "not a csv table (found column 'N' twice"),
        ("a.csv", None, "no such file"),
        ("a" * 300 + ".csv", None, "cannot be read (File name too long)"),
    ],
)
def test_a_file_that_is_no_table_gets_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    part: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["law", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and part in said


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_rows_are_counted_as_they_stand_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """From 1, without the header or blank lines, whatever `--where` leaves out before."""
    frame, path = changed("loss", 41, -1.0).astype(float), tmp_path / f"table.{kind}"
    frame.index = frame.index[::-1]
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "jsonl":
        path.write_text(frame.to_json(orient="records", lines=True).replace("\n", "\n\n"))
    else:
        path.write_text(frame.to_csv(index=False).replace("\n", "\n\n"))
    assert main(["law", str(path), "--where", "N > 2e7"]) == 2
    assert "column loss, row 42: found -1" in capsys.readouterr().err


def test_a_folder_without_its_study_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["law", str(tmp_path)]) == 2
    assert "study.json: cannot be read (No such file" in capsys.readouterr().err
    (tmp_path / "study.json").write_text('{"config": {"law": {}}}')
    assert main(["law", str(tmp_path)]) == 2
    assert "found no law.minimum_tokens and law.delta" in capsys.readouterr().err
