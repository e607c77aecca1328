"""The learning-rate rule of a sweep: the best rate per size, and a power of size through them.

Per size, losses at the longest horizon are averaged over seeds and a parabola in log rate is laid
through those near the lowest; a lowest loss at the edge of the sweep gives no best rate, only a
side to extend it to. Validation loss, so that the test split stays untouched by the choice.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from saltus.errors import TableError
from saltus.law.intervals import jackknife_error

Array = NDArray[np.float64]

NEAR = np.log(2.0) * 1.001  # rates within a factor of two of the best belong to the parabola
RULE_PARAMETERS = 2
MIN_SIZES_FOR_INTERVAL = 4
COLUMNS = (
    "size", "seed", "horizon", "params_nonembedding", "learning_rate", "rate_factor",
    "loss_validation", "status",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sweep:
    """Seed-averaged losses of one size over its rates, and the best rate if it lies inside.

    `log_rates` (n,) ascend; `parabola` is (curvature, slope, level) about `centre`, the log of the
    lowest measured rate's position. `best_rate` is None with a `reason` when it is not bracketed.
    """

    size: str
    params: float
    horizon: int
    log_rates: Array
    losses: Array
    num_seeds: int
    diverged_rates: int
    best_rate: float | None
    best_loss: float
    reason: str
    centre: float
    parabola: tuple[float, float, float] | None
    reach: tuple[float, float]

    def loss_at(self, rate: float) -> float | None:
        """Interpolated loss at `rate`: the parabola near the best, else linear in log rate.

        None outside the rates that were run.
        """
        x = float(np.log(rate))
        if x < self.log_rates[0] - 1e-9 or x > self.log_rates[-1] + 1e-9:
            return None
        if self.parabola is not None and self.reach[0] <= x <= self.reach[1]:
            return float(np.polyval(self.parabola, x - self.centre))
        return float(np.interp(x, self.log_rates, self.losses))


def sweep_of(runs: pd.DataFrame, size: str) -> Sweep:
    """Find the best rate of one size at its longest horizon.

    A rate at which any seed diverged, or left no loss, is left out and counted: the mean of its
    survivors would flatter it.
    """
    rows = runs[(runs["size"].astype(str) == size)]
    horizon = int(rows["horizon"].max())
    rows = rows[rows["horizon"] == horizon]
    known = np.isfinite(rows["loss_validation"].to_numpy(dtype=float, na_value=np.nan))
    diverged = set(rows.loc[(rows["status"] != "ok") | ~known, "rate_factor"])
    kept = rows[~rows["rate_factor"].isin(diverged)]
    means = kept.groupby("rate_factor")[["learning_rate", "loss_validation"]].mean().sort_index()
    log_rates = np.log(means["learning_rate"].to_numpy(dtype=float))
    losses = means["loss_validation"].to_numpy(dtype=float)
    lowest = int(np.argmin(losses)) if len(losses) else 0

    reason, rate, parabola = "", None, None
    best_loss = float(losses[lowest]) if len(losses) else float("nan")
    centre = float(log_rates[lowest]) if len(losses) else 0.0
    reach = (centre, centre)
    if len(losses) < 3:
        reason = f"{len(losses)} rates finished without a divergence; a minimum needs 3"
    elif lowest in (0, len(losses) - 1):
        side, found = ("lower", "lowest") if lowest == 0 else ("higher", "highest")
        reason = f"at the edge: the best rate is the {found} that finished; try {side} ones"
    else:
        near = np.abs(log_rates - centre) <= NEAR
        near[lowest - 1 : lowest + 2] = True
        x = log_rates[near] - centre
        curvature, slope, level = (float(value) for value in np.polyfit(x, losses[near], 2))
        vertex = -slope / (2.0 * curvature) if curvature > 0 else float("nan")
        if not x[0] <= vertex <= x[-1]:
            reason = "the losses near the best rate do not curve upwards around it"
        else:
            parabola = (curvature, slope, level)
            reach = (centre + float(x[0]), centre + float(x[-1]))
            rate = float(np.exp(centre + vertex))
            best_loss = float(np.polyval(parabola, vertex))
    return Sweep(
        size=size,
        params=float(rows["params_nonembedding"].iloc[0]),
        horizon=horizon,
        log_rates=log_rates,
        losses=losses,
        num_seeds=int(rows["seed"].nunique()),
        diverged_rates=len(diverged),
        best_rate=rate,
        best_loss=best_loss,
        reason=reason,
        centre=centre,
        parabola=parabola,
        reach=reach,
    )


def power_line(log_params: Array, log_rates: Array) -> Array:
    """Least-squares (log coefficient, exponent) of log rate on log (N / reference)."""
    design = np.stack([np.ones_like(log_params), log_params], axis=1)
    return np.asarray(np.linalg.lstsq(design, log_rates, rcond=None)[0])


def rule_interval(log_params: Array, log_rates: Array) -> dict[str, list[float]] | None:
    """95 % delete-one-size jackknife of both numbers, t on S - 2; None below 4 sizes."""
    num = len(log_params)
    if num < MIN_SIZES_FOR_INTERVAL:
        return None
    whole = power_line(log_params, log_rates)
    parts = np.stack(
        [power_line(np.delete(log_params, s), np.delete(log_rates, s)) for s in range(num)]
    )
    half = stats.t.ppf(0.975, num - RULE_PARAMETERS) * jackknife_error(parts)
    low, high = whole - half, whole + half
    return {
        "coefficient": [float(np.exp(low[0])), float(np.exp(high[0]))],
        "exponent": [float(low[1]), float(high[1])],
    }


def fit_rate_rule(runs: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit rate = coefficient (N / reference)^exponent, N non-embedding, to the sizes of a sweep.

    Returns the rule as JSON-able values and a table of one row per size: best rate and loss (nats
    per token), the rule's rate, and what the rule costs there by interpolation, in nats per token
    and percent. Sizes whose best rate is not bracketed are listed with the reason and left out of
    the rule, not of the table. Raises `TableError` if a column is missing.
    """
    missing = [name for name in COLUMNS if name not in runs.columns]
    if missing:
        raise TableError(f"runs: column {missing[0]} is missing; a rate sweep needs it")
    ordered = runs.sort_values("params_nonembedding", kind="stable")
    names = list(dict.fromkeys(str(size) for size in ordered["size"]))
    sweeps = [sweep_of(runs, name) for name in names]
    used = [sweep for sweep in sweeps if sweep.best_rate is not None]

    rule: dict[str, Any] = {
        "status": "fitted",
        "reason": "",
        "equation": "rate = coefficient * (N / reference)^exponent",
        "convention": {
            "params": "params_nonembedding",
            "loss": "loss_validation (nats/token), mean over seeds, largest horizon",
        },
        "coefficient": None,
        "exponent": None,
        "reference": None,
        "intervals": None,
        "interval_method": None,
        "sizes": [sweep.size for sweep in used],
        "excluded": {sweep.size: sweep.reason for sweep in sweeps if sweep.best_rate is None},
    }
    line: Array | None = None
    reference = 1.0
    if len(used) < RULE_PARAMETERS:
        rule["status"] = "too few sizes"
        rule["reason"] = (
            f"{len(used)} of {len(sweeps)} sizes have their best rate inside the sweep; "
            f"a power rule needs {RULE_PARAMETERS}"
        )
    else:
        params = np.array([sweep.params for sweep in used])
        reference = float(round(float(np.exp(np.mean(np.log(params))))))
        log_params = np.log(params / reference)
        log_rates = np.log(np.array([sweep.best_rate for sweep in used], dtype=float))
        line = power_line(log_params, log_rates)
        rule["coefficient"], rule["exponent"] = float(np.exp(line[0])), float(line[1])
        rule["reference"] = reference
        rule["intervals"] = rule_interval(log_params, log_rates)
        if rule["intervals"] is not None:
            dof = len(used) - RULE_PARAMETERS
            rule["interval_method"] = f"delete-one-size jackknife, t with {dof} degrees of freedom"
    rows = [_row(sweep, line, reference) for sweep in sweeps]
    costs = [row["rule_cost_percent"] for row in rows if row["rule_cost_percent"] is not None]
    rule["mean_cost_percent"] = float(np.mean(costs)) if costs else None
    rule["max_cost_percent"] = float(np.max(costs)) if costs else None
    return rule, pd.DataFrame(rows)


def _row(sweep: Sweep, line: Array | None, reference: float) -> dict[str, Any]:
    rule_rate = rule_loss = cost = None
    if line is not None:
        rule_rate = float(np.exp(line[0] + line[1] * np.log(sweep.params / reference)))
        rule_loss = sweep.loss_at(rule_rate) if len(sweep.losses) else None
        cost = None if rule_loss is None else rule_loss - sweep.best_loss
    return {
        "size": sweep.size,
        "params_nonembedding": int(sweep.params),
        "horizon": sweep.horizon,
        "num_rates": len(sweep.losses),
        "num_seeds": sweep.num_seeds,
        "diverged_rates": sweep.diverged_rates,
        "best_rate": sweep.best_rate,
        "best_loss": sweep.best_loss if len(sweep.losses) else None,
        "in_rule": sweep.best_rate is not None,
        "reason": sweep.reason,
        "rule_rate": rule_rate,
        "rule_loss": rule_loss,
        "rule_cost": cost,
        "rule_cost_percent": None if cost is None else 100.0 * cost / sweep.best_loss,
    }
