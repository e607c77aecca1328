"""The `calibration` and `reliability` tables, from next tokens and from answers.

Two levels, never mixed: `token` (top-1 confidence on held-out text, clustered by document) and
`answer` (product of the answer's token probabilities on arithmetic within the training
distribution, clustered by item; `answer:<task>:<arm>` for one task and arm).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saltus.calibrate import errors
from saltus.calibrate.reliability import reliability_bins
from saltus.emerge.scores import require_columns
from saltus.errors import TableError

MIN_ROWS = 30
_RUN = (
    "run",
    "size",
    "seed",
    "horizon",
    "params_nonembedding",
    "params_total",
    "loss_text",
)
CALIBRATION_COLUMNS = (
    *_RUN,
    "level",
    "tempered",
    "temperature",
    "n",
    "accuracy",
    "confidence",
    "ece",
    "ece_equal_mass",
    "l2_squared_debiased",
    "brier",
    "nll",
    "overconfidence",
    "floor_ece",
    "overconfidence_low",
    "overconfidence_high",
    "brier_low",
    "brier_high",
)
RELIABILITY_COLUMNS = (
    "size",
    "params_nonembedding",
    "level",
    "tempered",
    "bin",
    "confidence_low",
    "confidence_high",
    "confidence",
    "accuracy",
    "n",
    "accuracy_low",
    "accuracy_high",
    "share",
)
_TOKENS = ("run", "domain", "document", "temperature", "confidence", "correct", "nll", "brier")
_ITEMS = ("run", "task", "arm", "item", "exact", "confidence", "in_distribution")


@dataclass(frozen=True)
class Group:
    """Predictions of one run at one level; all arrays (n,). `nll` and `brier` are per row."""

    run: str
    level: str
    tempered: bool
    temperature: float
    confidence: errors.FloatArray
    correct: errors.FloatArray
    cluster: errors.IntArray
    nll: errors.FloatArray
    brier: errors.FloatArray


def summarise_calibration(
    tokens: pd.DataFrame,
    items: pd.DataFrame,
    runs: pd.DataFrame,
    domains: Sequence[str] | None = None,
    draws: int = 300,
    seed: int = 0,
) -> pd.DataFrame:
    """Calibration of every run, level and temperature (1, and the fitted one where it was probed).

    `domains` are the text domains that are pooled at the token level (the training ones); all of
    the table if None. Rows of a `shift` never count. At the token level Brier and NLL are means of
    the columns the probe wrote (over the vocabulary); at the answer level they are of the binary
    correctness, the NLL with confidences clipped to [1e-6, 1 - 1e-6]. `floor_ece` is the mean ECE
    of a perfectly calibrated model at the same confidences; the intervals are 95 % cluster
    bootstraps. A group of fewer than 30 rows keeps n, accuracy and confidence and has null errors.
    Raises TableError for a missing column.
    """
    runs_by_name = _indexed_runs(runs)
    described = runs_by_name.to_dict("index")
    weights: dict[int, errors.FloatArray] = {}
    rows = [
        {"run": group.run, **described[group.run], **_row(group, draws, seed, weights)}
        for group in _groups(tokens, items, runs, domains, by_task=True)
    ]
    table = pd.DataFrame(rows, columns=list(CALIBRATION_COLUMNS))
    order = ["params_nonembedding", "horizon", "seed", "run", "level", "tempered"]
    return table.sort_values(order, ignore_index=True, kind="stable")


def summarise_reliability(
    tokens: pd.DataFrame,
    items: pd.DataFrame,
    runs: pd.DataFrame,
    domains: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Reliability bins per size at its largest horizon, seeds pooled, at both levels.

    All 15 bins of equal width are listed; an empty one has n = 0, share 0 and null means. The
    Wilson bars take rows as independent (see `reliability_bins`). Raises as
    `summarise_calibration`.
    """
    runs_by_name = _indexed_runs(runs)
    latest = runs.loc[runs["horizon"] == runs.groupby("size")["horizon"].transform("max")]
    pooled: dict[tuple[str, str, bool], list[Group]] = {}
    for group in _groups(tokens, items, latest, domains, by_task=False):
        size = str(runs_by_name.loc[group.run, "size"])
        pooled.setdefault((size, group.level, group.tempered), []).append(group)
    tables = []
    for (size, level, tempered), groups in pooled.items():
        bins = reliability_bins(
            np.concatenate([group.confidence for group in groups]),
            np.concatenate([group.correct for group in groups]),
        )
        table = pd.DataFrame(
            {
                "size": size,
                "params_nonembedding": runs_by_name.loc[groups[0].run, "params_nonembedding"],
                "level": level,
                "tempered": tempered,
                "bin": np.arange(bins.count.size),
                "confidence_low": bins.low,
                "confidence_high": bins.high,
                "confidence": bins.confidence,
                "accuracy": bins.accuracy,
                "n": bins.count,
                "accuracy_low": bins.accuracy_low,
                "accuracy_high": bins.accuracy_high,
                "share": bins.share,
            }
        )
        tables.append(table)
    if not tables:
        return pd.DataFrame(columns=list(RELIABILITY_COLUMNS))
    order = ["params_nonembedding", "level", "tempered", "bin"]
    return pd.concat(tables).sort_values(order, ignore_index=True)[list(RELIABILITY_COLUMNS)]


def _indexed_runs(runs: pd.DataFrame) -> pd.DataFrame:
    require_columns(runs, "runs", _RUN)
    if runs["run"].duplicated().any():
        twice = runs.loc[runs["run"].duplicated(), "run"].iloc[0]
        raise TableError(f"runs: '{twice}' stands in two rows, expected one row per run")
    indexed: pd.DataFrame = runs[list(_RUN)].set_index("run")
    return indexed


def _groups(
    tokens: pd.DataFrame,
    items: pd.DataFrame,
    runs: pd.DataFrame,
    domains: Sequence[str] | None,
    by_task: bool,
) -> Iterator[Group]:
    require_columns(tokens, "tokens", _TOKENS)
    require_columns(items, "items", _ITEMS)
    text = tokens[tokens["run"].isin(runs["run"])]
    if "shift" in text.columns:
        text = text[text["shift"].isna()]
    if domains is not None:
        text = text[text["domain"].isin(list(domains))]
    if "tempered" not in text.columns:
        text = text.assign(tempered=text["temperature"] != 1.0)
    for (run, kind), rows in text.groupby(["run", "tempered"], sort=True):
        temperature, tempered = float(rows["temperature"].iloc[0]), bool(kind)
        document = rows["domain"].astype(str) + "/" + rows["document"].astype(str)
        yield Group(
            run=str(run),
            level="token",
            tempered=tempered,
            temperature=temperature,
            confidence=_unit(rows["confidence"]),
            correct=rows["correct"].to_numpy(np.float64),
            cluster=pd.factorize(document, sort=True)[0].astype(np.int64),
            nll=rows["nll"].to_numpy(np.float64),
            brier=rows["brier"].to_numpy(np.float64),
        )
    answers = items[items["run"].isin(runs["run"]) & items["in_distribution"].astype(bool)]
    for run, rows in answers.groupby("run", sort=True):
        known = "temperature" in rows.columns
        temperature = float(rows["temperature"].iloc[0]) if known else float("nan")
        yield from _answer_groups(str(run), "answer", rows, temperature)
        if by_task:
            for (task, arm), cell in rows.groupby(["task", "arm"], sort=True):
                yield from _answer_groups(str(run), f"answer:{task}:{arm}", cell, temperature)


def _answer_groups(run: str, level: str, rows: pd.DataFrame, temperature: float) -> Iterator[Group]:
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
        )


def _unit(column: "pd.Series[float]") -> errors.FloatArray:
    """Confidences as float64; a rounding error above 1 (float32 sums) is taken as 1."""
    values = column.to_numpy(np.float64)
    return np.where((values > 1) & (values < 1 + 1e-5), 1.0, values)


def _row(
    group: Group, draws: int, seed: int, weights: dict[int, errors.FloatArray]
) -> dict[str, object]:
    confidence, correct = group.confidence, group.correct
    row: dict[str, object] = {
        "level": group.level,
        "tempered": group.tempered,
        "temperature": group.temperature,
        "n": int(confidence.size),
        "accuracy": float(correct.mean()),
        "confidence": float(confidence.mean()),
    }
    if confidence.size < MIN_ROWS:
        missing = CALIBRATION_COLUMNS[CALIBRATION_COLUMNS.index("ece") :]
        return row | dict.fromkeys(missing, float("nan"))
    gap, squared = errors.cluster_intervals(
        np.column_stack([confidence - correct, group.brier]),
        group.cluster,
        draws=draws,
        seed=seed,
        known_weights=weights,
    )
    return row | {
        "ece": errors.expected_calibration_error(confidence, correct),
        "ece_equal_mass": errors.expected_calibration_error(confidence, correct, equal_mass=True),
        "l2_squared_debiased": errors.l2_squared_debiased(confidence, correct),
        "brier": float(group.brier.mean()),
        "nll": float(group.nll.mean()),
        "overconfidence": errors.overconfidence(confidence, correct),
        "floor_ece": errors.bias_floor(confidence, seed=seed),
        "overconfidence_low": gap.low,
        "overconfidence_high": gap.high,
        "brier_low": squared.low,
        "brier_high": squared.high,
    }
