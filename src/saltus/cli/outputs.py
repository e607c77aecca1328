"""Files that a command is asked to write: refused before any work if they cannot be."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltus.errors import SaltusError
from saltus.files import write_bytes, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".svg", ".png")


def check_picture(name: Path | None) -> None:
    """Raise `SaltusError` unless the name of a figure ends in a format that is drawn."""
    if name is not None and name.suffix.lower() not in PICTURES:
        raise SaltusError(f"--figure: found '{name}', expected a name ending in .svg or .png")


def check_outputs(named: Mapping[str, Path | None], read: Iterable[Path] = ()) -> None:
    """Raise `SaltusError` unless each option's file can be written, and none is another's or read.

    `named` maps options to their paths, None where it was not given; links are followed. Numbers
    go to a name that ends in .json.
    """
    taken = {os.path.realpath(path): "which is read" for path in read}
    for option, path in named.items():
        if path is None:
            continue
        other = taken.setdefault(os.path.realpath(path), f"the same as {option}")
        if other != f"the same as {option}":
            raise SaltusError(f"{option}: found '{path}', {other}; expected a file of its own")
        if option == "--json" and path.suffix.lower() != ".json":
            raise SaltusError(f"{option}: found '{path}', expected a name ending in .json")
        try:
            what = "a folder" if path.is_dir() else "" if path.is_file() else "not a file"
            if what and path.exists():
                raise SaltusError(f"{option}: found '{path}', {what}; expected the name of a file")
            if not path.parent.is_dir():
                raise SaltusError(
                    f"{option}: found '{path}', expected a name in a folder that exists; "
                    f"'{path.parent}' is none"
                )
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
                pass
        except OSError as error:
            raise SaltusError(f"{option}: '{path}' cannot be written ({error.strerror})") from error


def write_picture(figure: "Figure", out: Path) -> None:
    """Write a figure to `out` in the one format that its name says."""
    from saltus.figure import style

    with tempfile.TemporaryDirectory() as folder:
        for path in style.save(figure, Path(folder), "picture"):
            if path.suffix == out.suffix.lower():
                with _keeping_mode(out):
                    write_bytes(out, path.read_bytes())


def write_numbers(out: Path, value: Any) -> None:
    """Write a value as JSON; a file that was there keeps who may read it."""
    with _keeping_mode(out):
        write_json(out, value)


@contextmanager
def _keeping_mode(path: Path) -> Iterator[None]:
    mode = path.stat().st_mode if path.exists() else None
    yield
    if mode is not None:
        path.chmod(mode)
