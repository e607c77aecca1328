"""Tables that a user brings: read by the ending of their name, refused in one line."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from saltus.errors import SaltusError, TableError
from saltus.files import read_table

READERS: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": read_table,
    ".csv": pd.read_csv,
    ".jsonl": lambda path: pd.read_json(path, lines=True),
}
PICTURES = (".svg", ".png")


def read_foreign(source: Path, within: str = "runs") -> pd.DataFrame:
    """Return the rows of a table, or of the table `within` a finished study's folder.

    Raises `TableError` in one line.
    """
    path = source / "tables" / f"{within}.parquet" if source.is_dir() else source
    if not path.is_file():
        what = "a finished study's folder" if source.is_dir() else "a folder or a table"
        raise TableError(f"{path}: no such file; expected {what}")
    if path.suffix not in READERS:
        raise TableError(
            f"{path}: found a name ending in '{path.suffix}', expected {', '.join(READERS)}"
        )
    try:
        return READERS[path.suffix](path)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path}: not a {path.suffix[1:]} table ({reason})") from error


def check_picture(name: Path | None) -> None:
    """Raise `SaltusError` unless the name of a figure ends in a format that is drawn."""
    if name is not None and name.suffix not in PICTURES:
        raise SaltusError(f"--figure: found '{name}', expected a name ending in .svg or .png")


def check_writable(option: str, path: Path | None) -> None:
    """Raise `SaltusError` unless a file can be written at `path`: asked before hours are spent."""
    if path is None:
        return
    if path.is_dir():
        raise SaltusError(f"{option}: found '{path}', a folder; expected the name of a file")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise SaltusError(f"{option}: found '{path}', but '{folder}' is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SaltusError(f"{option}: found '{path}', but '{folder}' cannot be written to")
