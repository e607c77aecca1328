"""Hold out the largest size, fit the others, and say how far off its losses were predicted."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saltus.law.criterion import Criterion
from saltus.law.forms import Chinchilla
from saltus.law.intervals import MIN_SIZES, SIZE_PARAMETERS, Jackknife, jackknife
from saltus.law.solve import HUBER, Fit, fit


@dataclass(frozen=True, eq=False)
class Holdout:
    """The prediction of one size by the law of the others.

    `size` is the one held out, `baseline_size` the next smaller one. `rows` has seed, tokens,
    predicted, low, high, actual, error_percent (predicted above actual is positive), inside, and
    baseline_error_percent, of the next smaller size's mean loss at the same tokens (None where it
    has none); low, high and inside are None when fewer than four other sizes leave no interval.
    `fitted` is None, with a `reason`, when no law could be fitted; `errors` is its jackknife.
    """

    size: str
    rows: list[dict[str, Any]]
    fitted: Fit | None
    reason: str
    baseline_size: str = ""
    errors: Jackknife | None = None

    @property
    def baseline_error_percent(self) -> float | None:
        """Mean absolute error of the baseline; None unless it predicts every row."""
        errors = [row["baseline_error_percent"] for row in self.rows]
        if not errors or any(error is None for error in errors):
            return None
        return float(np.mean(np.abs(errors)))

    @property
    def mean_absolute_error_percent(self) -> float | None:
        """Mean absolute error of the rows, in percent of the actual loss."""
        if not self.rows:
            return None
        return float(np.mean([abs(row["error_percent"]) for row in self.rows]))

    @property
    def inside_share(self) -> float | None:
        """Share of actual losses inside their prediction interval."""
        known = [row["inside"] for row in self.rows if row["inside"] is not None]
        return float(np.mean(known)) if known else None


def variables_of(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the law's variables: N is `params_total`, D is `tokens`."""
    return {
        "N": runs["params_total"].to_numpy(dtype=float),
        "D": runs["tokens"].to_numpy(dtype=float),
    }


def replicas_of(runs: pd.DataFrame) -> list[tuple[str, int]]:
    """Return the (size, seed) of every row: horizons of one replica share a trunk."""
    return [(str(size), int(seed)) for size, seed in zip(runs["size"], runs["seed"], strict=True)]


def sizes_in_order(runs: pd.DataFrame) -> list[str]:
    """Return size names by growing `params_total`."""
    ordered = runs.sort_values("params_total", kind="stable")
    return list(dict.fromkeys(str(size) for size in ordered["size"]))


def hold_out_largest(runs: pd.DataFrame, *, criterion: Criterion = HUBER, seed: int = 0) -> Holdout:
    """Predict the largest size of finished `runs` from the law of all the others.

    Needs columns size, seed, params_total, tokens, loss_text. At least three other sizes must
    remain for a fit (E, A and alpha are three numbers) and four for an interval.
    """
    sizes = sizes_in_order(runs)
    largest = sizes[-1] if sizes else ""
    labels = runs["size"].astype(str)
    held, kept = runs[labels == largest], runs[labels != largest]
    form = Chinchilla()
    needed = len(form.parameters) + 2
    if len(sizes) - 1 < SIZE_PARAMETERS or len(kept) < needed:
        reason = (
            f"{max(len(sizes) - 1, 0)} sizes and {len(kept)} rows remain without the largest; "
            f"a fit needs {SIZE_PARAMETERS} sizes and {needed} rows, an interval {MIN_SIZES} sizes"
        )
        return Holdout(largest, [], None, reason)
    table = variables_of(kept)
    loss = kept["loss_text"].to_numpy(dtype=float)
    fitted = fit(form, table, loss, criterion=criterion, seed=seed)
    errors = jackknife(fitted, table, loss, [str(size) for size in kept["size"]], replicas_of(kept))
    target = variables_of(held)
    predicted = fitted.predict(target)
    low, high = (None, None) if errors is None else errors.prediction_interval(target)
    next_smaller = kept[kept["size"].astype(str) == sizes[-2]]
    repeated = next_smaller.groupby("tokens")["loss_text"].mean().to_dict()
    rows: list[dict[str, Any]] = []
    actual = held["loss_text"].to_numpy(dtype=float)
    for i in range(len(held)):
        within = None
        repeat = repeated.get(held["tokens"].iloc[i])
        if low is not None and high is not None:
            within = bool(low[i] <= actual[i] <= high[i])
        rows.append(
            {
                "seed": int(held["seed"].iloc[i]),
                "tokens": int(held["tokens"].iloc[i]),
                "predicted": float(predicted[i]),
                "low": None if low is None else float(low[i]),
                "high": None if high is None else float(high[i]),
                "actual": float(actual[i]),
                "error_percent": float(100.0 * (predicted[i] / actual[i] - 1.0)),
                "inside": within,
                "baseline_error_percent": (
                    None if repeat is None else float(100.0 * (repeat / actual[i] - 1.0))
                ),
            }
        )
    reason = "" if errors is not None else "three sizes remain: a prediction without an interval"
    return Holdout(largest, rows, fitted, reason, sizes[-2], errors)
