"""Predictions of every run in groups: by level, temperature and shift.

Two levels, never mixed: `token` (top-1 confidence on held-out text, clustered by document) and
`answer` (product of the answer's token probabilities on arithmetic, clustered by item;
`answer:<task>:<arm>` for one task and arm).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saltus.calibrate import errors
from saltus.emerge.scores import require_columns
from saltus.errors import TableError

RUN = (
    "run",
    "size",
    "seed",
    "horizon",
    "params_nonembedding",
    "params_total",
    "loss_text",
)
_TOKENS = ("run", "domain", "document", "temperature", "confidence", "correct", "nll", "brier")
_ITEMS = ("run", "task", "arm", "item", "exact", "confidence", "in_distribution")


@dataclass(frozen=True)
class Group:
    """Predictions of one run at one level; all arrays (n,). `nll` and `brier` are per row.

    shift: what sets them apart from training, None in distribution; severity: 0 to 5.
    """

    run: str
    level: str
    tempered: bool
    temperature: float
    confidence: errors.FloatArray
    correct: errors.FloatArray
    cluster: errors.IntArray
    nll: errors.FloatArray
    brier: errors.FloatArray
    shift: str | None = None
    severity: int = 0


def indexed_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what a table of calibration says of a run, by its name; TableError if named twice."""
    require_columns(runs, "runs", RUN)
    if runs["run"].duplicated().any():
        twice = runs.loc[runs["run"].duplicated(), "run"].iloc[0]
        raise TableError(f"runs: '{twice}' stands in two rows, expected one row per run")
    indexed: pd.DataFrame = runs[list(RUN)].set_index("run")
    return indexed


def groups(
    tokens: pd.DataFrame,
    items: pd.DataFrame,
    runs: pd.DataFrame,
    domains: Sequence[str] | None = None,
    *,
    by_task: bool = False,
    shifted: bool = False,
) -> Iterator[Group]:
    """Yield the groups in distribution, or those of every shift and severity.

    `domains` are the text domains in distribution, all if None. `by_task` adds each task and arm.
    Raises TableError for a missing column.
    """
    require_columns(tokens, "tokens", _TOKENS)
    require_columns(items, "items", _ITEMS)
    text = tokens[tokens["run"].isin(runs["run"])]
    if "tempered" not in text.columns:
        text = text.assign(tempered=text["temperature"] != 1.0)
    text, answers = _chosen(text, items[items["run"].isin(runs["run"])], domains, shifted)
    keys = ["run", "tempered", "shift", "severity"]
    for (run, tempered, shift, severity), rows in text.groupby(keys, sort=True, dropna=False):
        document = rows["domain"].astype(str) + "/" + rows["document"].astype(str)
        yield Group(
            run=str(run),
            level="token",
            tempered=bool(tempered),
            temperature=float(rows["temperature"].iloc[0]),
            confidence=_unit(rows["confidence"]),
            correct=rows["correct"].to_numpy(np.float64),
            cluster=pd.factorize(document, sort=True)[0].astype(np.int64),
            nll=rows["nll"].to_numpy(np.float64),
            brier=rows["brier"].to_numpy(np.float64),
            shift=_name(shift),
            severity=int(str(severity)),
        )
    for (run, shift), rows in answers.groupby(["run", "shift"], sort=True, dropna=False):
        known = "temperature" in rows.columns
        temperature = float(rows["temperature"].iloc[0]) if known else float("nan")
        name = _name(shift)
        yield from _answer_groups(str(run), "answer", rows, temperature, name)
        if by_task:
            for (task, arm), cell in rows.groupby(["task", "arm"], sort=True):
                level = f"answer:{task}:{arm}"
                yield from _answer_groups(str(run), level, cell, temperature, name)


def _name(shift: object) -> str | None:
    return shift if isinstance(shift, str) else None


def _chosen(
    text: pd.DataFrame, answers: pd.DataFrame, domains: Sequence[str] | None, shifted: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows in distribution, or those under a shift; older tables name no shift."""
    if "shift" not in text.columns:
        text = text.assign(shift=None, severity=0)
    if "shift" not in answers.columns:
        answers = answers.assign(shift=None)
    inside = answers["in_distribution"].astype(bool)
    if shifted:
        return text[text["shift"].notna()], answers[~inside]
    text = text[text["shift"].isna()]
    if domains is not None:
        text = text[text["domain"].isin(list(domains))]
    return text, answers[inside].assign(shift=None)


def _answer_groups(
    run: str, level: str, rows: pd.DataFrame, temperature: float, shift: str | None
) -> Iterator[Group]:
    """The rows at temperature 1, and tempered if every row has a tempered confidence."""
    correct = rows["exact"].to_numpy(np.float64)
    cluster = rows.groupby(["task", "arm", "item"], sort=True).ngroup().to_numpy().astype(np.int64)
    kinds = [("confidence", False)]
    if "confidence_tempered" in rows.columns and not rows["confidence_tempered"].isna().any():
        kinds.append(("confidence_tempered", True))
    for column, tempered in kinds:
        confidence = _unit(rows[column])
        clipped = np.clip(confidence, errors.PROBABILITY_CLIP, 1 - errors.PROBABILITY_CLIP)
        yield Group(
            run=run,
            level=level,
            tempered=tempered,
            temperature=temperature if tempered else 1.0,
            confidence=confidence,
            correct=correct,
            cluster=cluster,
            nll=-np.where(correct > 0, np.log(clipped), np.log1p(-clipped)),
            brier=(confidence - correct) ** 2,
            shift=shift,
            severity=0 if shift is None else 1,
        )


def _unit(column: "pd.Series[float]") -> errors.FloatArray:
    """Confidences as float64; a rounding error above 1 (float32 sums) is taken as 1."""
    values = column.to_numpy(np.float64)
    return np.where((values > 1) & (values < 1 + 1e-5), 1.0, values)
