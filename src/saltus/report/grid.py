"""A table of the report, as text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A table of text: title, where it was read, column heads, rows; the first column is a name."""

    title: str
    source: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
