"""The values of anybody's table, checked: one line names the column and the first bad row.

Rows are counted from 1, as they stand in the file.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.errors import TableError

Array = NDArray[np.float64]

LARGEST = 1e300


def row_number(frame: pd.DataFrame, at: int) -> int:
    """Return what the row at position `at` is called: its place in the file, from 1."""
    return int(frame.index[at]) + 1


def positive(frame: pd.DataFrame, column: str) -> Array:
    """Return a column as positive numbers; `TableError` names the column and the first bad row."""
    values = frame[column]
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if values.dtype == bool:
        numbers = np.full(len(values), np.nan)
    bad = ~(np.isfinite(numbers) & (numbers > 0) & (numbers < LARGEST))
    if bad.any():
        at = int(np.argmax(bad))
        value = values.iloc[at]
        told = "nothing" if pd.isna(value) else f"'{value}'" if isinstance(value, str) else value
        more = int(bad.sum()) - 1
        others = f" ({more} more such row{'' if more == 1 else 's'})" if more else ""
        raise TableError(
            f"column {column}, row {row_number(frame, at)}: found {told}, expected a positive "
            f"number{others}"
        )
    return np.asarray(numbers)


def refuse_duplicates(frame: pd.DataFrame, columns: Sequence[str], cluster: str | None) -> None:
    """Raise `TableError` where two rows are the same in all of `columns` and the cluster."""
    compared = [*dict.fromkeys([*columns, *([cluster] if cluster else [])])]
    again = frame.duplicated(subset=compared).to_numpy()
    if not again.any():
        return
    at = int(np.argmax(again))
    same = (frame[compared] == frame[compared].iloc[at]).all(axis=1).to_numpy()
    first = int(np.argmax(same))
    more = int(again.sum()) - 1
    others = f" ({more} more duplicate{'' if more == 1 else 's'})" if more else ""
    raise TableError(
        f"columns {', '.join(compared)}, row {row_number(frame, at)}: the same as row "
        f"{row_number(frame, first)}; expected each run once{others}"
    )
