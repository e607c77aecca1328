"""The tables of calibration by run: `calibration` in distribution, `calibration_shift` elsewhere.

Levels as in `levels`. By run, so that seeds show their spread; what needs many predictions stands
in the tables by size (`sizes`).
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from saltus.calibrate import errors, resampling
from saltus.calibrate.cells import gather, groups_of
from saltus.calibrate.clusters import clustering_of
from saltus.calibrate.inversion import run_errors
from saltus.calibrate.levels import RUN, Group, groups, indexed_runs
from saltus.calibrate.reliability import reliability_bins
from saltus.calibrate.selective import risk_coverage

CALIBRATION_COLUMNS = (
    *RUN,
    "level",
    "tempered",
    "temperature",
    "n",
    "accuracy",
    "confidence",
    "ece",
    "ece_equal_mass",
    "smooth_ece",
    "l2_squared_debiased",
    "brier",
    "nll",
    "overconfidence",
    "over_error",
    "aurc",
    "excess_aurc",
    "floor_ece",
    "floor_smooth_ece",
    "ece_low",
    "ece_high",
    "overconfidence_low",
    "overconfidence_high",
    "brier_low",
    "brier_high",
)
SHIFT_COLUMNS = (*CALIBRATION_COLUMNS, "shift", "severity")
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
    correctness, the NLL with confidences clipped to [1e-6, 1 - 1e-6]. `floor_*` is the mean error
    of a perfectly calibrated model at the same confidences; the intervals are 95 % cluster
    bootstraps. A group of fewer than 30 rows keeps n, accuracy and confidence and has null errors;
    where all answers are right, or all wrong, intervals are null.
    Raises TableError for a missing column.
    """
    found = groups(tokens, items, runs, domains, by_task=True)
    return _table(found, runs, CALIBRATION_COLUMNS, draws, seed)


def summarise_shift(
    tokens: pd.DataFrame, items: pd.DataFrame, runs: pd.DataFrame, draws: int = 300, seed: int = 0
) -> pd.DataFrame:
    """The same of every shift and severity that a run was asked, with the temperature it had.

    The temperature is that of validation in distribution. Raises as `summarise_calibration`.
    """
    found = groups(tokens, items, runs, shifted=True)
    return _table(found, runs, SHIFT_COLUMNS, draws, seed)


def _table(
    found: Iterable[Group], runs: pd.DataFrame, columns: Sequence[str], draws: int, seed: int
) -> pd.DataFrame:
    described = indexed_runs(runs).to_dict("index")
    rows = [
        {"run": group.run, **described[group.run], **_row(group, draws, seed),
         "shift": group.shift, "severity": group.severity}
        for group in found
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=list(columns))
    order = ["params_nonembedding", "horizon", "seed", "run", "level", "tempered"]
    order += [name for name in ("shift", "severity") if name in columns]
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
    runs_by_name = indexed_runs(runs)
    latest = runs.loc[runs["horizon"] == runs.groupby("size")["horizon"].transform("max")]
    pooled: dict[tuple[str, str, bool], list[Group]] = {}
    for group in groups(tokens, items, latest, domains):
        size = str(runs_by_name.loc[group.run, "size"])
        pooled.setdefault((size, group.level, group.tempered), []).append(group)
    tables = []
    for (size, level, tempered), parts in pooled.items():
        bins = reliability_bins(
            np.concatenate([group.confidence for group in parts]),
            np.concatenate([group.correct for group in parts]),
        )
        table = pd.DataFrame(
            {
                "size": size,
                "params_nonembedding": runs_by_name.loc[parts[0].run, "params_nonembedding"],
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


def _row(group: Group, draws: int, seed: int) -> dict[str, object]:
    confidence, correct = group.confidence, group.correct
    row: dict[str, object] = {
        "level": group.level,
        "tempered": group.tempered,
        "temperature": group.temperature,
        "n": int(confidence.size),
        "accuracy": float(correct.mean()),
        "confidence": float(confidence.mean()),
    }
    if confidence.size < errors.FEWEST:
        missing = CALIBRATION_COLUMNS[CALIBRATION_COLUMNS.index("ece") :]
        return row | dict.fromkeys(missing, float("nan"))
    cells = gather(confidence, correct)
    index, num = groups_of(group.cluster, confidence.size, seed)
    clustering = clustering_of(cells, index, num, correct, confidence)
    binned = run_errors(cells, clustering, draws=draws, seed=seed)
    gap = squared = ece = errors.NO_INTERVAL
    told = errors.tells_scatter(correct)
    if told:
        ece = binned.intervals["ece"]
    if told and num > 1:
        weights = resampling.resampling_weights(num, draws, np.random.default_rng(seed))
        values = np.column_stack([confidence - correct, group.brier])
        means = resampling.mean_draws(values, index, weights, num)
        gap, squared = (resampling.interval(column) for column in means.T)
    curve = risk_coverage(confidence, correct)
    return row | {
        "ece": binned.errors["ece"],
        "ece_equal_mass": binned.errors["ece_equal_mass"],
        "smooth_ece": binned.errors["smooth_ece"],
        "l2_squared_debiased": errors.l2_squared_debiased(confidence, correct),
        "brier": float(group.brier.mean()),
        "nll": float(group.nll.mean()),
        "overconfidence": errors.overconfidence(confidence, correct),
        "over_error": errors.over_error(confidence, correct),
        "aurc": curve.aurc,
        "excess_aurc": curve.excess_aurc,
        "floor_ece": binned.floors["ece"],
        "floor_smooth_ece": binned.floors["smooth_ece"],
        "ece_low": ece.low,
        "ece_high": ece.high,
        "overconfidence_low": gap.low,
        "overconfidence_high": gap.high,
        "brier_low": squared.low,
        "brier_high": squared.high,
    }
