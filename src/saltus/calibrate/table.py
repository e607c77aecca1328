"""A table of anybody's predictions, checked: confidence and correctness, group by group.

Rows are counted from 1, as they stand in the file. Nothing is dropped without being counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.calibrate.errors import FEWEST, PROBABILITY_CLIP
from saltus.errors import TableError
from saltus.law.selection import select
from saltus.law.values import between, check_roles, found_columns, labels

FloatArray = NDArray[np.float64]

MIN_ROWS = 2
FEW_ROWS = 300  # below, the floor of an absolute error is above .05: said beside it


@dataclass(frozen=True)
class Columns:
    """Which column is what; `cluster` is what shares its luck, as a document."""

    confidence: str | None
    correct: str | None
    group: Sequence[str] = ()
    cluster: str | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Predictions of one group, (n,) each; `cluster` codes, None where the table names none."""

    name: dict[str, object]
    confidence: FloatArray
    correct: FloatArray
    cluster: NDArray[np.int64] | None

    @property
    def text(self) -> str:
        """Return the group as it is printed, `model small, shift noise`."""
        return ", ".join(f"{column} {value}" for column, value in self.name.items()) or "all rows"


def read_groups(
    frame: pd.DataFrame, columns: Columns, where: str | None = None
) -> tuple[list[Group], dict[str, int]]:
    """Return the checked groups by their names, and how many rows were dropped and why.

    Raises `TableError` in one line that names the column and the first bad row.
    """
    _check_names(frame, columns)
    dropped: dict[str, int] = {}
    frame = select(frame.reset_index(drop=True), where, 0, dropped)
    if len(frame) < MIN_ROWS:
        left = ", ".join(f"{count} dropped ({why})" for why, count in dropped.items())
        found = "1 row" if len(frame) == 1 else f"{len(frame)} rows"
        raise TableError(f"{found}{f' after {left}' if left else ''}; expected at least {MIN_ROWS}")
    confidence = between(frame, str(columns.confidence), 0, 1, "a probability from 0 to 1")
    correct = _truths(frame, str(columns.correct))
    cluster = None
    if columns.cluster is not None:
        cluster = pd.factorize(pd.Series(labels(frame, columns.cluster)))[0].astype(np.int64)
    names = {column: labels(frame, column) for column in columns.group}
    keys = pd.DataFrame(names) if names else None
    parts = (
        [((), np.arange(len(frame)))]
        if keys is None
        else [
            (key, np.asarray(index))
            for key, index in keys.groupby(list(names), sort=False).indices.items()
        ]
    )
    groups = []
    for key, index in parts:
        values = key if isinstance(key, tuple) else (key,)
        group = Group(
            dict(zip(names, values, strict=True)),
            confidence[index],
            correct[index],
            None if cluster is None else cluster[index],
        )
        if index.size < MIN_ROWS:
            raise TableError(f"{group.text}: found 1 row, expected at least {MIN_ROWS}")
        groups.append(group)
    return groups, dropped


def warnings_of(group: Group) -> list[str]:
    """Return what a reader of a group's errors must be told."""
    told = []
    if group.confidence.size < FEW_ROWS:
        told.append(
            f"{group.confidence.size} predictions, below {FEW_ROWS}: "
            "absolute errors are mostly their floor"
        )
    if group.confidence.size < FEWEST:
        told.append(f"fewer than {FEWEST} predictions: no intervals")
    right = int(group.correct.sum())
    if right in (0, group.correct.size):
        same, other = ("right", "wrong") if right else ("wrong", "right")
        most = 100 * (1 - 0.025 ** (1 / group.correct.size))
        told.append(
            f"every answer is {same}: no intervals, resampling draws no {other} one; 0 of "
            f"{group.correct.size:,} allow up to {most:.2g} % (Clopper and Pearson, of "
            "independent rows)"
        )
    off = np.abs(group.confidence - group.correct) > 1 - PROBABILITY_CLIP
    if off.any():
        told.append(
            f"NLL is of confidences cut to [{PROBABILITY_CLIP:g}, 1 - {PROBABILITY_CLIP:g}]: "
            f"{int(off.sum())} beyond came out the other way; "
            "uncut it is larger, infinite at 0 or 1"
        )
    if group.cluster is not None and np.unique(group.cluster).size < 2:
        told.append("one cluster: no interval of what is signed, and none of its luck")
    return told


def _check_names(frame: pd.DataFrame, columns: Columns) -> None:
    needed = {"--confidence": columns.confidence, "--correct": columns.correct}
    for option, name in needed.items():
        if name is None:
            raise TableError(
                f"{option}: not given, expected a column of the table; {found_columns(frame)}"
            )
    groups = [("--group", name) for name in columns.group]
    check_roles(frame, [*needed.items(), ("--cluster", columns.cluster), *groups])


def _truths(frame: pd.DataFrame, column: str) -> FloatArray:
    """Return a column of 0 and 1, or true and false, as numbers (n,)."""
    told = "0 or 1"
    values = between(frame, column, 0, 1, told, truth=True)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise TableError(
            f"column {column}, row {int(frame.index[at]) + 1}: found {values[at]:g}, "
            f"expected {told}"
        )
    return values
