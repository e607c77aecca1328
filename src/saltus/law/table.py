"""A table of anybody's runs, checked: which column is which, and one line for what is wrong.

Nothing is dropped without being counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.errors import TableError
from saltus.law.alike import ALIKE, merge_alike
from saltus.law.allocation import FLOPS_PER_PAIR
from saltus.law.columns import ROLE_OF, choose_columns
from saltus.law.forms.base import Form
from saltus.law.selection import select
from saltus.law.values import check_roles, labels, positive, refuse_duplicates

Array = NDArray[np.float64]


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


def read_rows(
    frame: pd.DataFrame,
    form: Form,
    *,
    columns: Mapping[str, str] | None = None,
    where: str | None = None,
    cluster: str | None = None,
    minimum_tokens: int = 0,
) -> Rows:
    """Return the checked rows of a table for one form; raises `TableError` in one line.

    `where` and a study's `minimum_tokens` say which rows; `cluster` is the column of clusters.
    """
    variables = form.variables
    roles = [ROLE_OF.get(name, name) for name in variables]
    has = choose_columns(frame, columns or {}, [])
    product = "C" in variables and "flops" not in has and {"params", "tokens"} <= has.keys()
    needed_roles = ["params", "tokens"] if product else roles
    chosen = choose_columns(frame, columns or {}, [*needed_roles, "loss"])
    check_roles(frame, [("--cluster", cluster)])
    dropped: dict[str, int] = {}
    frame = select(frame.reset_index(drop=True), where, minimum_tokens, dropped)
    needed = len(form.parameters) + 2
    if len(frame) < needed:
        left = f" after {_told(dropped)}" if dropped else ""
        raise TableError(
            f"{len(frame)} rows{left}; {form.name} has {len(form.parameters)} parameters and needs "
            f"{needed} rows"
        )
    if product:
        chosen["flops"] = f"6 {chosen['params']} {chosen['tokens']}"
        pair = (positive(frame, chosen[role]) for role in ("params", "tokens"))
        frame = frame.assign(**{chosen["flops"]: FLOPS_PER_PAIR * np.prod(list(pair), axis=0)})
    values = {
        name: positive(frame, chosen[role]) for name, role in zip(variables, roles, strict=True)
    }
    loss = positive(frame, chosen["loss"])
    flops = positive(frame, chosen["flops"]) if "flops" in chosen else None
    named = {role: labels(frame, chosen[role]) for role in ("size", "seed") if role in chosen}
    clusters = None if cluster is None else labels(frame, cluster)
    if clusters is not None and len(set(clusters)) == 1:
        raise TableError(f"column {cluster}: found '{clusters[0]}' in every row; expected clusters")
    checked: dict[str, Array | list[str]] = {
        **({} if cluster is None or clusters is None else {cluster: clusters}),
        **{chosen[role]: named[role] for role in named},
        **{chosen[role]: values[name] for name, role in zip(variables, roles, strict=True)},
        chosen["loss"]: loss,
    }
    refuse_duplicates(frame, checked)
    for name, role in zip(variables, roles, strict=True):
        if name != "U" and len(np.unique(values[name])) == 1:
            raise TableError(
                f"column {chosen[role]}: {values[name][0]:g} in every row; {form.name} needs at "
                f"least two different {name}"
            )
    sizes = named.get("size") or merge_alike(values[variables[0]])
    _refuse_one_size(chosen, form, values, sizes)
    replicas = None
    if "seed" in named:
        replicas = [f"{size}/{seed}" for size, seed in zip(sizes, named["seed"], strict=True)]
    return Rows(
        variables=values,
        loss=loss,
        sizes=sizes,
        replicas=replicas,
        clusters=clusters,
        flops=flops,
        columns={
            role: chosen[role] for role in [*roles, "loss", *named, "flops"] if role in chosen
        },
        dropped=dropped,
        frame=frame,
        labelled="size" in chosen,
    )


def _refuse_one_size(
    chosen: Mapping[str, str], form: Form, values: Mapping[str, Array], sizes: Sequence[str]
) -> None:
    """Raise `TableError` where the rows of a law of N, or of one without labels, are one size."""
    name = form.variables[0]
    if len(set(sizes)) > 1 or ("size" in chosen and "N" not in form.variables):
        return
    column, why = chosen[ROLE_OF[name]], f", within {100 * ALIKE:g} % of each other"
    found = f"{values[name].min():.6g} to {values[name].max():.6g}"
    if "size" in chosen:
        column, found, why = chosen["size"], f"'{sizes[0]}' in every row", ""
    raise TableError(f"column {column}: found {found}{why}; {form.name} needs two sizes")


def _told(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count} dropped ({reason})" for reason, count in dropped.items())
