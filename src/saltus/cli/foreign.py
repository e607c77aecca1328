"""Tables that a user brings: read by the ending of their name, refused in one line."""

import gzip
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from saltus.errors import TableError
from saltus.files import read_json, read_table


def _read_csv(path: Path) -> pd.DataFrame:
    """Return a CSV's rows under its own header; pandas would rename what stands there twice."""
    packed = _packed(path)
    header = pd.read_csv(
        path, header=None, nrows=1, dtype=str, keep_default_na=False, compression=packed
    )
    names = [str(name).strip() for name in header.iloc[0]]
    for sign in ";\t|":
        if len(names) == 1 and sign in names[0]:
            raise ValueError(f"found columns parted by {sign!r}, expected ','")
    _refuse_repeated([name for name in names if name])
    frame = pd.read_csv(path, low_memory=False, skipinitialspace=True, compression=packed)
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"found rows with more values than the {len(names)} columns of the header")
    return frame


def _read_jsonl(path: Path) -> pd.DataFrame:
    """Return one row per line that is not blank; its numbers keep every digit."""
    rows = []
    with (
        gzip.open(path, "rt", encoding="utf-8-sig")
        if _packed(path)
        else path.open(encoding="utf-8-sig") as stream
    ):
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.rstrip())  # an error at the end is of this line
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number}: found {line.strip()[:40]}, expected an object")
            rows.append(row)
    return pd.DataFrame(rows)


READERS: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": read_table,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
}
PACKED = ".gz"  # after .csv or .jsonl
LONGEST_REASON = 200  # characters of another library's error
LONGER = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


def table_of(source: Path, within: str = "runs") -> Path:
    """Return the table's path: `source`, or the table `within` a finished study's folder."""
    return source / "tables" / f"{within}.parquet" if is_folder(source) else source


def files_of(source: Path) -> list[Path]:
    """Return the files that are read of a table or of a finished study's folder."""
    return [table_of(source), *([source / "study.json"] if is_folder(source) else [])]


def read_foreign(source: Path, within: str = "runs") -> pd.DataFrame:
    """Return the rows of a table, or of the table `within` a finished study's folder.

    Raises `TableError` in one line.
    """
    path = table_of(source, within)
    if not path.is_file():
        what = "a finished study's folder" if is_folder(source) else "a folder or a table"
        raise TableError(f"{path}: no such file; expected {what}")
    kind = _kind(path)
    if kind not in READERS or (kind == ".parquet" and _packed(path)):
        ending = "".join(path.suffixes[-2:]) if _packed(path) else path.suffix
        raise TableError(
            f"{path}: found a name ending in '{ending}', expected {', '.join(READERS)}, or "
            f".csv{PACKED}, .jsonl{PACKED}"
        )
    try:
        frame = READERS[kind](path)
        names = [str(name).strip() for name in frame.columns]
        _refuse_repeated(names)
    except Exception as error:  # whatever the readers of three formats raise is the file's
        reason = _reason(error)
        raise TableError(f"{path}: not a {kind[1:]} table ({reason})") from error
    return frame.set_axis(names, axis=1)


def _reason(error: Exception) -> str:
    """Return what a reader says, in one line and in the words of this package."""
    told = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
    longer = LONGER.search(told)
    if longer is not None:
        wanted, line, found = longer.groups()
        return (
            f"line {line} of the file: found {found} values, expected {wanted}; a comma within a "
            "value, as a decimal one, needs quotes"
        )
    return "found nothing in it" if told == "No columns to parse from file" else told


def _packed(path: Path) -> Literal["gzip"] | None:
    """Return how a file is packed, by its name."""
    return "gzip" if path.suffix.lower() == PACKED else None


def _kind(path: Path) -> str:
    """Return the ending that names a table's format, in small letters."""
    return (path.with_suffix("") if _packed(path) else path).suffix.lower()


def study_law(source: Path) -> tuple[int, float | None]:
    """Return `minimum_tokens` and Huber's delta of the study that made the folder `source`.

    Of a table they are 0 and None. Raises `TableError` if the folder does not hold its study.
    """
    if not is_folder(source):
        return 0, None
    path = source / "study.json"
    try:
        law = read_json(path)["config"]["law"]
        return int(law["minimum_tokens"]), float(law["delta"])
    except OSError as error:
        raise TableError(
            f"{path}: cannot be read ({error.strerror}); expected a finished study's folder, or "
            f"name {table_of(source)} itself"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"{path}: found no law.minimum_tokens and law.delta in its config, expected both"
        ) from error


def is_folder(source: Path) -> bool:
    """Return whether a path is a folder; `TableError` where that cannot be asked."""
    try:
        return source.is_dir()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise TableError(f"{source}: cannot be read ({error.strerror})") from error


def _refuse_repeated(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"found column '{name}' twice, expected each name once")
