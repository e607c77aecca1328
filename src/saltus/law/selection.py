"""Which rows of anybody's table a law is fitted to; the rest is counted by its reason."""

import re

import pandas as pd
from pandas.errors import UndefinedVariableError

from saltus.errors import TableError
from saltus.law.values import found_columns, positive

LONGEST_REASON = 120  # characters of another library's error
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
ASSIGNS = re.compile(r"(?<![=!<>])=(?!=)")


def select(
    frame: pd.DataFrame, where: str | None, minimum_tokens: int, dropped: dict[str, int]
) -> pd.DataFrame:
    """Return the rows that the expression `where` keeps, in pandas' own syntax, counting the rest.

    Rows that a study marks as diverged, or that belong to another learning rate of a sweep, are
    left out and counted too; the latter unless `where` asks for a `rate_factor` itself.
    So are a study's runs below its `minimum_tokens`.
    """
    if where is not None:
        if "@" in where or "__" in where:
            raise TableError(f'--where: found "{where}", expected a condition on columns alone')
        assigns = ASSIGNS.search(QUOTED.sub("", where)) is not None
        try:
            kept = frame.eval(where)
        except Exception as error:  # whatever the expression does is the user's
            reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
            if isinstance(error, UndefinedVariableError):
                reason = f"{reason}; {found_columns(frame)}"
            if assigns:
                reason = f"a single '=' sets a value; to compare, write == ({reason})"
            raise TableError(f'--where: found "{where}", which cannot be used: {reason}') from error
        if isinstance(kept, pd.DataFrame) and assigns:
            raise TableError(f'--where: found "{where}", which sets a value; to compare, write ==')
        if not isinstance(kept, pd.Series) or not pd.api.types.is_bool_dtype(kept):
            raise TableError(f'--where: found "{where}", expected a condition on columns')
        kept = kept.fillna(False).astype(bool)
        if not kept.all():
            dropped["where"] = int((~kept).sum())
        frame = frame[kept]
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
    if minimum_tokens > 0:
        if "tokens" not in frame.columns:
            raise TableError("column tokens: not in the table, expected in a study's runs")
        short = positive(frame, "tokens") < minimum_tokens
        if short.any():
            dropped[f"below {minimum_tokens} tokens"] = int(short.sum())
        frame = frame[~short]
    return frame
