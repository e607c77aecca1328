"""Which rows of anybody's table a law is fitted to; the rest is counted by its reason."""

import pandas as pd

from saltus.errors import TableError

LONGEST_REASON = 120  # characters of another library's error


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
