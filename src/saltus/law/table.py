"""A table of anybody's runs, checked: which column is which, and one line for what is wrong.

Rows are counted from 1, as they stand in the file. Nothing is dropped without being counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.errors import TableError, nearest
from saltus.law.forms.base import Form

Array = NDArray[np.float64]

ROLES: Mapping[str, tuple[str, ...]] = {
    "params": ("params_total", "params", "N", "num_params", "parameters"),
    "tokens": ("tokens", "D", "num_tokens"),
    "loss": ("loss_text", "loss", "val_loss", "validation_loss"),
    "unique": ("unique_tokens", "U"),  # of all D; tokens_unique of our runs counts text alone
    "flops": ("flops_exact", "flops", "compute", "C"),
    "size": ("size",),
    "seed": ("seed",),
}
"""What a column may be, and the names it is known by, the first found first."""

ROLE_OF = {"N": "params", "D": "tokens", "U": "unique", "C": "flops"}
LARGEST = 1e300
LONGEST_REASON = 120  # characters of another library's error
ALIKE = 0.01  # sizes without a label are one where their N differ by less than this share


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one fit: `variables` and `loss` (n,) as given, and what labels they have.

    `sizes` are the labels of sizes, by default N to one percent; `replicas` the (size, seed) of
    each row, or None if the table has no seeds; `clusters` the user's own, or None. `flops` is None
    if there is no such column. `labelled` tells whether sizes are the
    table's own. `columns` says which column was taken for what, `dropped` what was
    left out.
    """

    variables: dict[str, Array]
    loss: Array
    sizes: list[str]
    replicas: list[str] | None
    clusters: list[str] | None
    flops: Array | None
    columns: dict[str, str]
    dropped: dict[str, int]
    frame: pd.DataFrame = field(repr=False)
    labelled: bool = True

    @property
    def num(self) -> int:
        """Return the number of rows."""
        return len(self.loss)


def merge_alike(params: Array) -> list[str]:
    """Return a label for each N (n,): runs whose N differ by less than one percent share one."""
    order = np.argsort(params, kind="stable")
    labels = np.empty(len(params), dtype=object)
    first = float(params[order[0]])
    for i in order:
        if params[i] > first * (1 + ALIKE):
            first = float(params[i])
        labels[i] = f"{first:.6g}"
    return list(labels)


def parse_columns(text: str | None) -> dict[str, str]:
    """Return role -> column of `params=N,tokens=D,loss=val_loss`; `TableError` in one line."""
    found: dict[str, str] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            raise TableError(f"--columns: found '{part.strip()}', expected ROLE=COLUMN")
        if role not in ROLES:
            raise TableError(
                f"--columns: found '{role}', expected one of {', '.join(ROLES)}"
                f"{nearest(role, ROLES)}"
            )
        if role in found:
            raise TableError(f"--columns: found {role} twice, expected each role once")
        found[role] = column
    return found


def choose_columns(
    frame: pd.DataFrame, given: Mapping[str, str], needed: Sequence[str]
) -> dict[str, str]:
    """Return the column of each role that the table has; the `needed` ones must be there."""
    chosen: dict[str, str] = {}
    names = [str(name) for name in frame.columns]
    for role, known in ROLES.items():
        if role in given:
            if given[role] not in names:
                raise TableError(
                    f"column '{given[role]}' ({role}): not in the table; found "
                    f"{', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
                    f"{nearest(given[role], names)}"
                )
            other = next((each for each, name in chosen.items() if name == given[role]), None)
            if other is not None:
                raise TableError(
                    f"column '{given[role]}': found as {other} and as {role}, expected one role"
                )
            chosen[role] = given[role]
        else:
            match = next((name for name in known if name in names), None)
            if match is not None:
                chosen[role] = match
    for role in needed:
        if role not in chosen:
            raise TableError(
                f"column for {role}: none of {', '.join(ROLES[role])} in the table; found "
                f"{', '.join(names[:12])}{', …' if len(names) > 12 else ''}; name it with "
                f"--columns {role}=COLUMN"
            )
    return chosen


def select(frame: pd.DataFrame, where: str | None, dropped: dict[str, int]) -> pd.DataFrame:
    """Return the rows that the expression `where` keeps, in pandas' own syntax, counting the rest.

    Rows that a study marks as diverged, or that belong to another learning rate of a sweep, are
    left out and counted too; the latter unless `where` asks for a `rate_factor` itself.
    """
    if where is not None:
        if "@" in where or "__" in where:
            raise TableError(f'--where: found "{where}", expected a condition on columns alone')
        try:
            kept = frame.query(where)
        except Exception as error:  # whatever the expression does is the user's
            reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
            raise TableError(f'--where: found "{where}", which cannot be used: {reason}') from error
        if not isinstance(kept, pd.DataFrame):
            raise TableError(f'--where: found "{where}", expected a condition on columns')
        if len(kept) < len(frame):
            dropped["where"] = len(frame) - len(kept)
        frame = kept
    if "status" in frame.columns and frame["status"].isin(["ok", "diverged"]).all():
        lost = frame["status"] != "ok"
        if lost.any():
            dropped["diverged"] = int(lost.sum())
        frame = frame[~lost]
    asked = where is not None and "rate_factor" in where
    if (
        "rate_factor" in frame.columns
        and not asked
        and pd.api.types.is_numeric_dtype(frame["rate_factor"])
    ):
        swept = frame["rate_factor"] != 1.0
        if swept.any():
            dropped["other learning rate"] = int(swept.sum())
        frame = frame[~swept]
    return frame


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
            f"column {column}, row {_row(frame, at)}: found {told}, expected a positive number"
            f"{others}"
        )
    return np.asarray(numbers)


def read_rows(
    frame: pd.DataFrame,
    form: Form,
    *,
    columns: Mapping[str, str] | None = None,
    where: str | None = None,
    cluster: str | None = None,
) -> Rows:
    """Return the checked rows of a table for one form; raises `TableError` in one line."""
    variables = form.variables
    roles = [ROLE_OF.get(name, name) for name in variables]
    chosen = choose_columns(frame, columns or {}, [*roles, "loss"])
    if cluster is not None and cluster not in frame.columns:
        raise TableError(
            f"column '{cluster}' (--cluster): not in the table{nearest(cluster, map(str, frame))}"
        )
    dropped: dict[str, int] = {}
    frame = select(frame.reset_index(drop=True), where, dropped)
    needed = len(form.parameters) + 2
    if len(frame) < needed:
        left = f" after {_told(dropped)}" if dropped else ""
        raise TableError(
            f"{len(frame)} rows{left}; {form.name} has {len(form.parameters)} parameters and needs "
            f"{needed} rows"
        )
    values = {
        name: positive(frame, chosen[role]) for name, role in zip(variables, roles, strict=True)
    }
    loss = positive(frame, chosen["loss"])
    flops = positive(frame, chosen["flops"]) if "flops" in chosen else None
    labels = [name for name in ("size", "seed") if name in chosen]
    _refuse_duplicates(frame, [chosen[r] for r in [*roles, "loss", *labels]], cluster)
    for name, role in zip(variables, roles, strict=True):
        if name != "U" and len(np.unique(values[name])) == 1:
            raise TableError(
                f"column {chosen[role]}: {values[name][0]:g} in every row; {form.name} needs at "
                f"least two different {name}"
            )
    first = values[variables[0]]
    sizes = (
        [str(value) for value in frame[chosen["size"]]] if "size" in chosen else merge_alike(first)
    )
    replicas = None
    if "seed" in chosen:
        seeds = frame[chosen["seed"]]
        replicas = [f"{size}/{seed}" for size, seed in zip(sizes, seeds, strict=True)]
    return Rows(
        variables=values,
        loss=loss,
        sizes=sizes,
        replicas=replicas,
        clusters=None if cluster is None else [str(value) for value in frame[cluster]],
        flops=flops,
        columns={
            role: chosen[role] for role in [*roles, "loss", *labels, "flops"] if role in chosen
        },
        dropped=dropped,
        frame=frame,
        labelled="size" in chosen,
    )


def _refuse_duplicates(frame: pd.DataFrame, columns: Sequence[str], cluster: str | None) -> None:
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
        f"columns {', '.join(compared)}, row {_row(frame, at)}: the same as row "
        f"{_row(frame, first)}; expected each run once{others}"
    )


def _row(frame: pd.DataFrame, at: int) -> int:
    return int(frame.index[at]) + 1


def _told(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count} dropped ({reason})" for reason, count in dropped.items())
