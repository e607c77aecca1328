"""Scores below one in n: the probability of the target answer, and whether draws agree with it.

A cell with 0 right answers of n has an exact match somewhere under 4/n. The probability of the
target, exp(−target_nll) with the terminator, has a value at any size: sampling one answer per
problem is right with the mean of it. It is not what greedy decoding scores.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from saltus.emerge.scores import clopper_pearson, items_inside
from saltus.errors import TableError

FloatArray = NDArray[np.float64]

MIN_EFFECTIVE = 30
PROBABILITY_COLUMNS = (
    "run",
    "task",
    "arm",
    "items",
    "exact_match",
    "exact_match_low",
    "exact_match_high",
    "probability",
    "probability_low",
    "probability_high",
    "effective_items",
    "difference",
    "difference_low",
    "difference_high",
)
AGREEMENT_COLUMNS = (
    "run",
    "problems",
    "sampled",
    "sampled_exact",
    "expected",
    "standard_deviation",
    "z",
    "p_value",
)


def probability_table(items: pd.DataFrame) -> pd.DataFrame:
    """Probability of the target answer per run × task × arm, and greedy decoding beside it.

    items: within the training distribution count. `probability` is the mean of exp(−target_nll)
    with the 95 % limits of `log_mean_interval`, which cover the choice of items for this one model;
    null below 30 `effective_items`, (Σp)²/Σp²: few items carry the mean then, and others may not be
    among those asked. `exact_match` has Clopper-Pearson limits, exact at 0 of n. `difference` is
    greedy less sampling, mean of exact − p over items, limits by t. Raises TableError for a missing
    column or a null.
    """
    needed = ("run", "task", "arm", "exact", "target_nll", "in_distribution")
    inside = items_inside(items, needed, ("exact", "target_nll"))
    rows = []
    for (run, task, arm), cell in inside.groupby(["run", "task", "arm"], sort=True):
        probability = np.exp(-cell["target_nll"].to_numpy(np.float64))
        exact = cell["exact"].to_numpy(np.float64)
        effective = probability.sum() ** 2 / (probability**2).sum()
        low, high = log_mean_interval(probability)
        if effective < MIN_EFFECTIVE:
            low = high = float("nan")
        gap = exact - probability
        reach = float(stats.t.ppf(0.975, gap.size - 1) * gap.std(ddof=1) / np.sqrt(gap.size))
        exact_low, exact_high = clopper_pearson(exact.sum(), exact.size)
        rows.append(
            {
                "run": run,
                "task": task,
                "arm": arm,
                "items": exact.size,
                "exact_match": exact.mean(),
                "exact_match_low": float(exact_low),
                "exact_match_high": float(exact_high),
                "probability": probability.mean(),
                "probability_low": low,
                "probability_high": high,
                "effective_items": effective,
                "difference": gap.mean(),
                "difference_low": gap.mean() - reach,
                "difference_high": gap.mean() + reach,
            }
        )
    return pd.DataFrame(rows, columns=list(PROBABILITY_COLUMNS))


def log_mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of positive values (n,), by t on the logarithm of the mean.

    log m ± t · s/(m √n), n − 1 degrees of freedom: the delta method, so that the lower limit stays
    above 0. (nan, nan) below two values or if all are 0.
    """
    found = np.asarray(values, dtype=np.float64)
    mean = float(found.mean()) if found.size else 0.0
    if found.size < 2 or mean <= 0:
        return float("nan"), float("nan")
    quantile = float(stats.t.ppf(0.5 + level / 2, found.size - 1))
    reach = quantile * float(found.std(ddof=1)) / (mean * np.sqrt(found.size))
    return mean * float(np.exp(-reach)), mean * float(np.exp(reach))


def agreement_table(items: pd.DataFrame) -> pd.DataFrame:
    """Whether answers drawn from the model are the target as often as its probability says.

    One row per run, over the problems that the probe sampled: `sampled_exact` of `sampled` draws,
    `expected` = Σ sampled · p with p = exp(−target_nll), its `standard_deviation`, `z`, and the
    two-sided `p_value` of the exact distribution, a sum of binomials (`sum_of_binomials`). With n
    runs hold the smallest against .05/n. A run none of whose problems was sampled has no row.
    Raises TableError for a missing column, a null probability, or a count outside [0, sampled].
    """
    needed = ("run", "target_nll", "sampled", "sampled_exact", "in_distribution")
    inside = items_inside(items, needed, ("target_nll",))
    asked = inside[inside["sampled"].notna()]
    counts = asked[["sampled", "sampled_exact"]].astype("Float64").fillna(-1).to_numpy(np.float64)
    if ((counts[:, 1] < 0) | (counts[:, 1] > counts[:, 0])).any():
        raise TableError("items: 'sampled_exact' is null or outside [0, sampled]")
    rows = []
    for run, cell in asked.groupby("run", sort=True):
        trials = cell["sampled"].to_numpy(np.int64)
        hits = int(cell["sampled_exact"].sum())
        p = np.clip(np.exp(-cell["target_nll"].to_numpy(np.float64)), 0, 1)
        mean, deviation = float(trials @ p), float(np.sqrt(trials @ (p * (1 - p))))
        mass = sum_of_binomials(trials, p)
        tail = min(mass[: hits + 1].sum(), mass[hits:].sum())
        rows.append(
            {
                "run": run,
                "problems": len(cell),
                "sampled": int(trials.sum()),
                "sampled_exact": hits,
                "expected": mean,
                "standard_deviation": deviation,
                "z": (hits - mean) / deviation if deviation > 0 else np.nan,
                "p_value": min(1.0, 2 * float(tail)),
            }
        )
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def sum_of_binomials(trials: ArrayLike, probability: ArrayLike) -> FloatArray:
    """Distribution (Σ trials + 1,) of the sum of independent binomials, (n,) and (n,).

    By its characteristic function and a Fourier transform (Hong 2013), exact to about 1e-14.
    """
    counts = np.asarray(trials, dtype=np.int64)
    p = np.asarray(probability, dtype=np.float64)
    length = int(counts.sum()) + 1
    turn = np.exp(2j * np.pi * np.arange(length // 2 + 1) / length)
    logs = np.zeros(turn.size, dtype=np.complex128)
    with np.errstate(divide="ignore"):
        for count, chance in zip(counts, p, strict=True):
            logs += count * np.log(1 - chance + chance * turn)
    mass = np.fft.irfft(np.conj(np.exp(logs)), length)
    return np.clip(mass, 0.0, 1.0)
