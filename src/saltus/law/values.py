"""The values of anybody's table, checked: one line names the column and the first bad row.

Rows are counted from 1, as they stand in the file.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.errors import TableError, nearest

Array = NDArray[np.float64]

RANGE = (1e-60, 1e60)
"""Of counts, FLOPs and losses, in any unit: to the power of an exponent they still are numbers."""
LONGEST_VALUE = 40  # characters of a cell that a message shows
MAX_NAMES = 12  # columns that a message lists


def found_columns(frame: pd.DataFrame) -> str:
    """Return the table's columns as a message tells them, `found N, D, loss`."""
    names = [str(name) for name in frame.columns]
    shown = ", ".join(names[:MAX_NAMES]) or "nothing"
    return f"found {shown}{', …' if len(names) > MAX_NAMES else ''}"


def check_roles(frame: pd.DataFrame, asked: Iterable[tuple[str, str | None]]) -> None:
    """Refuse an option's column that the table lacks, or that another option has named.

    `asked` holds (option, column), None for those not given. Raises `TableError`.
    """
    names, taken = [str(name) for name in frame.columns], dict[str, str]()
    for option, column in asked:
        if column is None:
            continue
        if column not in names:
            raise TableError(
                f"column '{column}' ({option}): not in the table; {found_columns(frame)}"
                f"{nearest(column, names)}"
            )
        if column in taken:
            raise TableError(
                f"column '{column}': found as {taken[column]} and as {option}, expected one role"
            )
        taken[column] = option


def row_number(frame: pd.DataFrame, at: int) -> int:
    """Return what the row at position `at` is called: its place in the file, from 1."""
    return int(frame.index[at]) + 1


def positive(frame: pd.DataFrame, column: str) -> Array:
    """Return a column as numbers (n,) of `RANGE`; text that spells one counts.

    Raises `TableError` that names the column and the first bad row.
    """
    return between(frame, column, *RANGE, f"a number from {RANGE[0]:g} to {RANGE[1]:g}")


def between(
    frame: pd.DataFrame, column: str, low: float, high: float, expected: str, *,
    whole: bool = False, truth: bool = False,
) -> Array:  # fmt: skip
    """Return a column as numbers (n,) from `low` to `high`, with `truth` a Boolean one as 0 and 1.

    Raises `TableError` that names the column, the first bad row and what was `expected`; with
    `whole`, of a number that is not whole too.
    """
    values = frame[column]
    truth = truth and pd.api.types.is_bool_dtype(values.dtype)
    numbers = values.to_numpy(float, na_value=np.nan) if truth else _numbers(values)
    bad = ~((numbers >= low) & (numbers <= high))
    if whole:
        bad |= numbers != np.round(numbers)
    if bad.any():
        told = f"found {_told(values[bad].iloc[0])}, expected {expected}"
        raise TableError(f"column {column}, {told_at(frame, bad, told)}")
    return numbers


def told_at(frame: pd.DataFrame, bad: NDArray[np.bool_], told: str) -> str:
    """Return `row 4: `, what is told of it, and how many more rows are `bad` (n,)."""
    more = int(bad.sum()) - 1
    others = f" ({more} more such row{'' if more == 1 else 's'})" if more else ""
    return f"row {row_number(frame, int(np.argmax(bad)))}: {told}{others}"


def labels(frame: pd.DataFrame, column: str) -> list[str]:
    """Return a column as labels (n,); `TableError` names the first row that has none."""
    missing = frame[column].isna().to_numpy(dtype=bool)
    if missing.any():
        told = "found nothing, expected a label"
        raise TableError(f"column {column}, {told_at(frame, missing, told)}")
    return [str(value) for value in frame[column]]


def _numbers(values: pd.Series) -> Array:
    """Return a column as numbers, NaN for what is none: a date, a duration, a truth value."""
    kind = values.dtype
    if pd.api.types.is_any_real_numeric_dtype(kind):
        return values.to_numpy(dtype=float, na_value=np.nan)
    return np.array([_number(value) for value in values], dtype=float)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
        return np.nan
    try:
        return np.nan if isinstance(value, str) and "_" in value else float(value)
    except OverflowError:
        return np.inf
    except ValueError:
        return np.nan


def _told(value: Any) -> str:
    """Return a value as a message shows it, with what it is where that is not plain."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "nothing"
    if isinstance(value, str):
        return f"'{value[:LONGEST_VALUE]}'"
    if isinstance(value, float):
        return f"{value:g}"
    number = isinstance(value, Real | Decimal) and not isinstance(value, bool)
    return str(value)[:LONGEST_VALUE] + ("" if number else ", not a number")


def refuse_duplicates(
    frame: pd.DataFrame, columns: Mapping[str, Array | list[str]], expected: str = "each run once"
) -> None:
    """Raise `TableError` where two rows are the same in all of the checked `columns`.

    `expected` is what the message says instead, as `each run once`.
    """
    compared = pd.DataFrame(columns)
    again = compared.duplicated().to_numpy()
    if not again.any():
        return
    at = int(np.argmax(again))
    first = int(np.argmax((compared == compared.iloc[at]).all(axis=1).to_numpy()))
    more = int(again.sum()) - 1
    others = f" ({more} more duplicate{'' if more == 1 else 's'})" if more else ""
    raise TableError(
        f"columns {', '.join(columns)}, row {row_number(frame, at)}: the same as row "
        f"{row_number(frame, first)}; expected {expected}{others}"
    )
