"""Which column of anybody's table is what, by its usual names or by those given."""

from collections.abc import Mapping, Sequence

import pandas as pd

from saltus.errors import TableError, nearest
from saltus.law.values import found_columns

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

COUNTED = ("params", "flops")  # what --conventions knows several counts of
ROLE_OF = {"N": "params", "D": "tokens", "U": "unique", "C": "flops"}


def parse_columns(text: str | None) -> dict[str, str]:
    """Return role -> column of `params=N,tokens=D,loss=val_loss`; `TableError` in one line."""
    found: dict[str, str] = {}
    for role, column in _pairs("--columns", text, tuple(ROLES)):
        if role in found:
            raise TableError(f"--columns: found {role} twice, expected each role once")
        found[role] = column
    return found


def parse_counts(text: str | None) -> dict[str, list[str]]:
    """Return further columns of N and of C, of `params=N_ne,flops=C_6nd`; a role may come again."""
    found: dict[str, list[str]] = {role: [] for role in COUNTED}
    for role, column in _pairs("--counts", text, COUNTED):
        found[role].append(column)
    return found


def _pairs(option: str, text: str | None, roles: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (role, column) of `ROLE=COLUMN,…`; `TableError` names the first that is none."""
    pairs = []
    for part in filter(None, (piece.strip() for piece in (text or "").split(","))):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            raise TableError(f"{option}: found '{part}', expected ROLE=COLUMN")
        if role not in roles:
            known = " or ".join(roles) if len(roles) == 2 else f"one of {', '.join(roles)}"
            raise TableError(f"{option}: found '{role}', expected {known}{nearest(role, roles)}")
        pairs.append((role, column))
    return pairs


def choose_columns(
    frame: pd.DataFrame, given: Mapping[str, str], needed: Sequence[str]
) -> dict[str, str]:
    """Return the column of each role that the table has; the `needed` ones must be there."""
    chosen: dict[str, str] = {}
    names = [str(name) for name in frame.columns]
    told = found_columns(frame)
    for role, known in ROLES.items():
        if role in given:
            if given[role] not in names:
                raise TableError(
                    f"column '{given[role]}' ({role}): not in the table; {told}"
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
            hints = (nearest(known, names) for known in ROLES[role])
            raise TableError(
                f"column for {role}: none of {', '.join(ROLES[role])} in the table; {told}"
                f"{next(filter(None, hints), '')}; name it with --columns {role}=COLUMN"
            )
    return chosen
