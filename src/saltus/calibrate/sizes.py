"""Calibration by size at the largest horizon, seeds pooled: what needs many predictions.

`calibration_sizes`: every error with interval and floor, in distribution and under each shift.
`reliability_curves`: accuracy as a smooth function of confidence. `risk_curves`: error rate among
the most confident. Seeds answer the same documents and items, which are the clusters: intervals are
of these models on other text and problems, not of other seeds (`calibration` shows those by run).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saltus.calibrate.errors import FEWEST, FloatArray, IntArray
from saltus.calibrate.levels import Group, groups, indexed_runs
from saltus.calibrate.measure import measure
from saltus.calibrate.reliability import smooth_curve
from saltus.calibrate.selective import risk_coverage

NUM_COVERAGES = 50
ERRORS = (
    "ece", "ece_equal_mass", "smooth_ece", "l2_squared_debiased", "overconfidence", "over_error",
    "brier", "nll", "accuracy", "aurc", "excess_aurc", "augrc",
)  # fmt: skip
FLOORS = ("ece", "ece_equal_mass", "smooth_ece")
KEYS = ("size", "params_nonembedding", "level", "shift", "severity", "tempered")


@dataclass(frozen=True)
class Pool:
    """Predictions of all seeds of a size: confidence, correct, cluster (n,); `key` as in `KEYS`."""

    key: tuple[str, float, str, str | None, int, bool]
    confidence: FloatArray
    correct: FloatArray
    cluster: IntArray


def pools(
    tokens: pd.DataFrame,
    items: pd.DataFrame,
    runs: pd.DataFrame,
    domains: Sequence[str] | None = None,
) -> list[Pool]:
    """Return the pools of every size, level, shift and temperature, smallest size first."""
    indexed = indexed_runs(runs)
    names, described = indexed["size"].to_dict(), indexed["params_nonembedding"].to_dict()
    latest = runs[runs["horizon"] == runs.groupby("size")["horizon"].transform("max")]
    found: dict[tuple[str, float, str, str | None, int, bool], list[Group]] = {}
    inside = groups(tokens, items, latest, domains)
    for group in [*inside, *groups(tokens, items, latest, shifted=True)]:
        size, params = str(names[group.run]), float(described[group.run])
        key = (size, params, group.level, group.shift, group.severity, group.tempered)
        found.setdefault(key, []).append(group)
    made = [
        Pool(key, *(np.concatenate(parts) for parts in zip(*map(_arrays, some), strict=True)))
        for key, some in found.items()
    ]
    return sorted(made, key=lambda pool: (pool.key[1], pool.key[2], str(pool.key[3]), pool.key[4:]))


def _arrays(group: Group) -> tuple[FloatArray, FloatArray, IntArray]:
    return group.confidence, group.correct, group.cluster


def size_errors(found: Iterable[Pool], bootstraps: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Return `calibration_sizes`: a row per pool, `<error>`, `<error>_low`, `_high`, `floor_*`.

    Below 30 predictions only n is given.
    """
    rows = []
    for pool in found:
        row: dict[str, object] = dict(zip(KEYS, pool.key, strict=True))
        row["n"] = pool.confidence.size
        if pool.confidence.size >= FEWEST:
            got = measure(
                pool.confidence, pool.correct, pool.cluster, bootstraps=bootstraps, seed=seed
            )
            row |= {
                "num_clusters": got.num_clusters,
                "design_effect": got.design_effect,
                "confidence": got.confidence,
                **{f"brier_{name}": getattr(got.brier, name)
                   for name in ("reliability", "resolution", "uncertainty", "within")},
                **{f"coverage_at_{risk}": share for risk, share in got.coverage_at_risk.items()},
                **{f"floor_{name}": got.floor[name] for name in FLOORS},
            }  # fmt: skip
            for name in ERRORS:
                value = got.brier.total if name == "brier" else getattr(got, name)
                ends = got.intervals[name]
                row |= {name: value, f"{name}_low": ends.low, f"{name}_high": ends.high}
        rows.append(row)
    return pd.DataFrame(rows)


def size_curves(found: Iterable[Pool], seed: int = 0) -> pd.DataFrame:
    """Return `reliability_curves`: smoothed accuracy with its band and density, 101 points each."""
    parts = []
    for pool in found:
        if pool.confidence.size < FEWEST or pool.key[3] is not None:
            continue
        curve = smooth_curve(pool.confidence, pool.correct, pool.cluster, seed=seed)
        table = pd.DataFrame(
            {
                "at": curve.confidence,
                "accuracy": curve.accuracy,
                "low": curve.low,
                "high": curve.high,
                "density": curve.density,
            }
        )
        parts.append(table.assign(**dict(zip(KEYS, pool.key, strict=True))))
    names = [*KEYS, "at", "accuracy", "low", "high", "density"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def size_risks(found: Iterable[Pool]) -> pd.DataFrame:
    """Return `risk_curves`: the risk of answering the most confident share, 50 shares each."""
    parts = []
    for pool in found:
        if pool.confidence.size < FEWEST or pool.key[3] is not None:
            continue
        curve = risk_coverage(pool.confidence, pool.correct)
        last = np.ceil(np.arange(1, NUM_COVERAGES + 1) / NUM_COVERAGES * curve.risk.size)
        place = last.astype(np.int64) - 1
        table = pd.DataFrame({"coverage": curve.coverage[place], "risk": curve.risk[place]})
        parts.append(table.assign(**dict(zip(KEYS, pool.key, strict=True))))
    names = [*KEYS, "coverage", "risk"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)
