"""A table of anybody's accuracies, checked: counts per scale and replica, group by group.

Rows are counted from 1, as they stand in the file. Nothing is dropped without being counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.errors import TableError
from saltus.law.selection import select
from saltus.law.values import (
    RANGE,
    between,
    check_roles,
    found_columns,
    labels,
    positive,
    refuse_duplicates,
    row_number,
    told_at,
)

FloatArray = NDArray[np.float64]

LARGEST_CHANCE = 1 - 1e-9  # of guessing: something must be left to learn
MOST_TRIALS = 1e15  # whole numbers beyond are not told apart


@dataclass(frozen=True)
class Columns:
    """Which column is what. `trials` and `chance` may be numbers; one of successes or accuracy."""

    scale: str | None
    successes: str | None = None
    accuracy: str | None = None
    trials: str | None = None
    chance: str = "0"
    group: Sequence[str] = ()
    replica: str | None = None
    nll: str | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """The rows of one ability: scale, successes, trials, nll (C,); replica labels (C,).

    name: column -> value of the group; chance: accuracy of guessing; nll: nats per target or None;
    replica: None if the table names none.
    """

    name: dict[str, object]
    scale: FloatArray
    successes: FloatArray
    trials: FloatArray
    chance: float
    nll: FloatArray | None
    replica: list[str] | None

    @property
    def text(self) -> str:
        """Return the group as it is printed, `task add, shots 16`."""
        return ", ".join(f"{column} {value}" for column, value in self.name.items()) or "all rows"


def read_groups(
    frame: pd.DataFrame, columns: Columns, where: str | None = None
) -> tuple[list[Group], dict[str, int]]:
    """Return the checked groups in order of their names, and how many rows were dropped and why.

    Raises `TableError` in one line that names the column and the first bad row.
    """
    scale = _checked_names(frame, columns)
    dropped: dict[str, int] = {}
    frame = select(frame.reset_index(drop=True), where, 0, dropped)
    if frame.empty:
        left = ", ".join(f"{count} dropped ({why})" for why, count in dropped.items())
        raise TableError(f"0 rows{f' after {left}' if left else ''}; expected at least two sizes")
    places = positive(frame, scale)
    trials = _trials(frame, columns.trials)
    successes = (
        _successes(frame, str(columns.successes), trials)
        if columns.accuracy is None
        else _from_accuracy(frame, columns.accuracy, trials)
    )
    chance = _chance(frame, columns.chance)
    nll = None if columns.nll is None else _numbers(frame, columns.nll, 0.0, np.inf)
    group_labels = {column: labels(frame, column) for column in columns.group}
    replica = {column: labels(frame, column) for column in [columns.replica] if column}
    advice = "" if replica else ", or name what tells them apart with --replica or --group"
    refuse_duplicates(frame, {**group_labels, scale: places, **replica}, f"each once{advice}")
    groups = []
    for name, index in _grouped(frame, columns.group):
        group = Group(
            name=name,
            scale=places[index],
            successes=successes[index],
            trials=trials[index],
            chance=float(chance[index[0]]),
            nll=None if nll is None else nll[index],
            replica=None
            if columns.replica is None
            else [replica[columns.replica][row] for row in index],
        )
        of = f"{group.text}: " if name else ""
        first = row_number(frame, int(index[0]))
        mixed = np.zeros(len(frame), dtype=bool)
        mixed[index] = chance[index] != group.chance
        if mixed.any():
            told = (
                f"{of}found a chance level of {chance[mixed][0]:g}, expected {group.chance:g} as "
                f"in row {first}; split them with --group"
            )
            raise TableError(f"column {columns.chance}, {told_at(frame, mixed, told)}")
        if np.unique(group.scale).size < 2:
            raise TableError(
                f"column {scale}: {of}{group.scale[0]:g} in every row, from row {first} on; "
                "expected at least two sizes"
            )
        groups.append(group)
    return groups, dropped


def _checked_names(frame: pd.DataFrame, columns: Columns) -> str:
    """Return the scale's column; TableError if an option is missing or names no column."""
    found = found_columns(frame)
    if columns.scale is None:
        raise TableError(f"--scale: not given, expected a column of the table; {found}")
    if columns.trials is None:
        raise TableError(f"--trials: not given, expected a column or a number; {found}")
    if (columns.successes is None) == (columns.accuracy is None):
        given = "neither" if columns.successes is None else "both"
        raise TableError(
            f"--successes, --accuracy: found {given}, expected one of the two; {found}"
        )
    asked = [
        ("--scale", columns.scale),
        ("--successes", columns.successes),
        ("--accuracy", columns.accuracy),
        *(("--group", column) for column in columns.group),
        ("--replica", columns.replica),
        ("--nll", columns.nll),
        ("--trials", columns.trials if _number_of(columns.trials) is None else None),
        ("--chance", columns.chance if _number_of(columns.chance) is None else None),
    ]
    check_roles(frame, asked)
    return columns.scale


def _number_of(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _trials(frame: pd.DataFrame, trials: str | None) -> FloatArray:
    number = _number_of(str(trials))
    if number is None:
        return _numbers(frame, str(trials), 1.0, MOST_TRIALS, whole=True)
    if not (number >= 1 and number.is_integer() and number <= MOST_TRIALS):
        raise TableError(
            f"--trials: found {trials}, expected a whole number from 1 to {MOST_TRIALS:g}"
        )
    return np.full(len(frame), number)


def _chance(frame: pd.DataFrame, chance: str) -> FloatArray:
    number = _number_of(chance)
    if number is None:
        return between(frame, chance, 0, LARGEST_CHANCE, "a share from 0 to below 1")
    if not 0 <= number <= LARGEST_CHANCE:
        raise TableError(f"--chance: found {chance}, expected a share from 0 to below 1")
    return np.full(len(frame), number)


def _successes(frame: pd.DataFrame, column: str, trials: FloatArray) -> FloatArray:
    successes = _numbers(frame, column, 0.0, np.inf, whole=True)
    above = successes > trials
    if above.any():
        at = int(np.argmax(above))
        told = f"found {successes[at]:g} successes, expected at most the {trials[at]:g} trials"
        raise TableError(f"column {column}, {told_at(frame, above, told)}")
    return successes


def _from_accuracy(frame: pd.DataFrame, column: str, trials: FloatArray) -> FloatArray:
    """Counts behind accuracies: the nearest whole number, which must explain what is printed.

    An accuracy of d decimals is a count over its trials to within half a unit of the last decimal
    (at least 1e-6); otherwise trials and accuracy do not belong together.
    """
    accuracy = _numbers(frame, column, 0.0, 1.0)
    successes = np.round(accuracy * trials)
    decimals = np.array([_decimals(value) for value in accuracy])
    slack = np.maximum(0.5 * 10.0**-decimals, 1e-6) * (1 + 1e-9)
    off = np.abs(successes / trials - accuracy) > slack
    if off.any():
        at = int(np.argmax(off))
        nearest_share = f"{successes[at]:g}/{trials[at]:g} = {successes[at] / trials[at]:.4g}"
        told = (
            f"found {accuracy[at]:g}, which is no whole number of {trials[at]:g} trials; expected "
            f"{nearest_share}, or other --trials"
        )
        raise TableError(f"column {column}, {told_at(frame, off, told)}")
    return successes


def _decimals(value: float) -> int:
    """Return how many decimals the shortest text of a number has."""
    mantissa, _, exponent = repr(float(value)).partition("e")
    return len(mantissa.partition(".")[2]) - int(exponent or 0)


def _numbers(
    frame: pd.DataFrame, column: str, low: float, high: float, whole: bool = False
) -> FloatArray:
    """Return a column as numbers (n,) in [low, high]; TableError names the first bad row."""
    kind = "a whole number" if whole else "a number"
    span = f"from {low:g} on" if np.isinf(high) else f"from {low:g} to {high:g}"
    return between(frame, column, low, min(high, RANGE[1]), f"{kind} {span}", whole=whole)


def _grouped(
    frame: pd.DataFrame, columns: Sequence[str]
) -> list[tuple[dict[str, object], NDArray[np.intp]]]:
    """Return name and row positions of every group, in order of the names."""
    if not columns:
        return [({}, np.arange(len(frame)))]
    found = []
    for key, index in frame.groupby(list(columns), sort=True).indices.items():
        values = key if isinstance(key, tuple) else (key,)
        found.append((dict(zip(columns, values, strict=True)), np.asarray(index, dtype=np.intp)))
    return found
