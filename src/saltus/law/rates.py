"""The learning-rate rule of a sweep: a power of size through the best rates of its sizes.

The rule is a least-squares line of log rate on log N. What it is worth is tested where it was not
fitted: without the largest size it is fitted anew and charged for the loss that it costs there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from saltus.law.ends import DeleteOne
from saltus.law.sweep import Sweep, check_sweep, sweep_of

Array = NDArray[np.float64]

RULE_PARAMETERS = 2
MIN_SIZES_FOR_INTERVAL = RULE_PARAMETERS + 1
"""Of different N, so that every refit is of two; what the interval covers: docs/statistics.md."""
MIN_SIZES_FOR_HOLDOUT = RULE_PARAMETERS + 1
BAND_POINTS = 25


@dataclass(frozen=True, eq=False)
class Line:
    """log rate = level + exponent log(N / reference), and the same without each size in turn.

    `whole` (2,) is (level, exponent); `parts` (S, 2), or None below 3 different N, are the refits.
    """

    sizes: tuple[str, ...]
    reference: float
    whole: Array
    parts: Array | None

    @property
    def rule(self) -> DeleteOne:
        """The jackknife on S - 2 degrees of freedom."""
        return DeleteOne(len(self.sizes) - RULE_PARAMETERS)

    @property
    def method(self) -> str | None:
        """The intervals' method, in words; None without them."""
        return None if self.parts is None else self.rule.method()

    def rate(self, params: float) -> float:
        """The rule's rate at `params` non-embedding parameters."""
        return float(np.exp(self.whole @ self._design(params)))

    def rate_interval(self, params: float) -> list[float] | None:
        """95 % interval of the rule's rate at `params`; None without refits."""
        if self.parts is None:
            return None
        design = self._design(params)
        return [
            float(np.exp(end)) for end in self.rule.ends(self.whole @ design, self.parts @ design)
        ]

    def intervals(self) -> dict[str, list[float]] | None:
        """95 % intervals of coefficient and exponent; None without refits."""
        if self.parts is None:
            return None
        low, high = self.rule.ends(self.whole, self.parts)
        return {
            "coefficient": [float(np.exp(low[0])), float(np.exp(high[0]))],
            "exponent": [float(low[1]), float(high[1])],
        }

    def _design(self, params: float) -> Array:
        return np.array([1.0, np.log(params / self.reference)])


def line_through(sweeps: Sequence[Sweep]) -> Line:
    """Lay the line through the best rates of at least two sizes, all of them bracketed.

    The reference is the sizes' geometric mean, rounded, so that level and exponent are nearly
    uncorrelated.
    """
    params = np.array([sweep.params for sweep in sweeps])
    rates = np.array([sweep.best_rate for sweep in sweeps], dtype=float)
    reference = float(round(float(np.exp(np.mean(np.log(params))))))
    x, y = np.log(params / reference), np.log(rates)
    parts = None
    if len(set(params)) >= MIN_SIZES_FOR_INTERVAL:
        left = range(len(sweeps))
        parts = np.stack([power_line(np.delete(x, s), np.delete(y, s)) for s in left])
    return Line(tuple(sweep.size for sweep in sweeps), reference, power_line(x, y), parts)


def power_line(log_params: Array, log_rates: Array) -> Array:
    """Least-squares (log coefficient, exponent) of log rate on log (N / reference)."""
    design = np.stack([np.ones_like(log_params), log_params], axis=1)
    return np.asarray(np.linalg.lstsq(design, log_rates, rcond=None)[0])


def fit_rate_rule(runs: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit rate = coefficient (N / reference)^exponent, N non-embedding, to the sizes of a sweep.

    Returns the rule as JSON-able values and a table of one row per size: best rate and loss (nats
    per token), the rule's rate, and what the rule costs there by interpolation, in nats per token
    and percent. Sizes whose best rate is not bracketed are listed with the reason and left out of
    the rule, not of the table. The rule's `band` is its interval along N, its `parabolas` are those
    of the mean losses in log rate, its `held_out` is `hold_out_largest`. Raises `TableError` if a
    column is missing or a row cannot be used.
    """
    check_sweep(runs)
    ordered = runs.sort_values("params_nonembedding", kind="stable")
    names = list(dict.fromkeys(str(size) for size in ordered["size"]))
    sweeps = [sweep_of(runs, name) for name in names]
    used = [sweep for sweep in sweeps if sweep.best_rate is not None]
    line = line_through(used) if len({sweep.params for sweep in used}) >= RULE_PARAMETERS else None

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
        "band": None,
    }
    if line is None:
        rule["status"] = "too few sizes"
        rule["reason"] = (
            f"{len(used)} of {len(sweeps)} sizes have their best rate inside the sweep; "
            f"a power rule needs {RULE_PARAMETERS} of different N"
        )
    else:
        rule["coefficient"] = float(np.exp(line.whole[0]))
        rule["exponent"] = float(line.whole[1])
        rule["reference"] = line.reference
        rule["intervals"], rule["interval_method"] = line.intervals(), line.method
        rule["band"] = _band(line, [sweep.params for sweep in sweeps])
    rows = [_row(sweep, line) for sweep in sweeps]
    costs = [row["rule_cost_percent"] for row in rows if row["rule_cost_percent"] is not None]
    rule["mean_cost_percent"] = float(np.mean(costs)) if costs else None
    rule["max_cost_percent"] = float(np.max(costs)) if costs else None
    rule["held_out"] = hold_out_largest(used)
    rule["parabolas"] = [_parabola(sweep) for sweep in used]
    return rule, pd.DataFrame(rows)


def hold_out_largest(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Fit the rule without the largest of the bracketed `sweeps`, and say what it costs there.

    `cost` is the loss at the rule's rate less the loss at the size's own best rate, both
    interpolated within its sweep. Its `interval` is Student's over seeds: each seed's own
    difference between the same two rates, t on seeds - 1, cut at 0, since no rate is better than
    the best. It holds both rates fixed: a best rate a little off changes the loss in second order
    only, and how far off the rule's rate may be is told by `rule_rate_interval`, the jackknife of
    the sizes that it was fitted on. What is None is explained in `reason`.
    """
    found: dict[str, Any] = {
        "size": None, "params_nonembedding": None, "fitted_on": [],
        "coefficient": None, "exponent": None, "reference": None,
        "rule_rate": None, "rule_rate_interval": None, "rule_rate_interval_method": None,
        "best_rate": None, "rule_loss": None, "best_loss": None,
        "cost": None, "cost_percent": None, "interval": None, "interval_percent": None,
        "interval_method": None, "num_seeds": None, "reason": "",
    }  # fmt: skip
    ordered = sorted(sweeps, key=lambda sweep: sweep.params)
    held = ordered[-1] if ordered else None
    rest = [sweep for sweep in ordered if held is not None and sweep.params < held.params]
    if held is None or held.best_rate is None or len({s.params for s in rest}) < RULE_PARAMETERS:
        found["reason"] = (
            f"{len(ordered)} sizes have their best rate inside the sweep; holding the largest out "
            f"needs {MIN_SIZES_FOR_HOLDOUT} of different N"
        )
        return found
    line = line_through(rest)
    rate = line.rate(held.params)
    found |= {
        "size": held.size, "params_nonembedding": int(held.params),
        "fitted_on": list(line.sizes),
        "coefficient": float(np.exp(line.whole[0])), "exponent": float(line.whole[1]),
        "reference": line.reference,
        "rule_rate": rate, "rule_rate_interval": line.rate_interval(held.params),
        "rule_rate_interval_method": line.method,
        "best_rate": held.best_rate, "best_loss": held.best_loss, "num_seeds": held.num_seeds,
    }  # fmt: skip
    at_rule, at_best = held.seed_losses_at(rate), held.seed_losses_at(held.best_rate)
    if at_rule is None or at_best is None:
        low, high = np.exp(held.log_rates[[0, -1]])
        found["reason"] = (
            f"the rule's rate {rate:.3g} lies outside the rates that finished there, "
            f"{low:.3g} to {high:.3g}: no loss to compare"
        )
        return found
    costs = at_rule - at_best
    cost = float(costs.mean())
    found["rule_loss"] = float(at_rule.mean())
    found["cost"], found["cost_percent"] = cost, 100.0 * cost / held.best_loss
    if len(costs) < 2:
        found["reason"] = "one seed: no interval of the cost"
        return found
    half = float(stats.t.ppf(0.975, len(costs) - 1) * costs.std(ddof=1) / np.sqrt(len(costs)))
    interval = [max(cost - half, 0.0), max(cost + half, 0.0)]
    found["interval"] = interval
    found["interval_percent"] = [100.0 * end / held.best_loss for end in interval]
    dof = len(costs) - 1
    found["interval_method"] = (
        f"paired differences of {len(costs)} seeds, t with {dof} "
        f"degree{'' if dof == 1 else 's'} of freedom, cut at 0"
    )
    return found


def _band(line: Line, params: Sequence[float]) -> list[dict[str, float]] | None:
    places = np.geomspace(min(params) / 1.3, max(params) * 1.3, BAND_POINTS)
    ends = [line.rate_interval(float(place)) for place in places]
    return [
        {"params_nonembedding": float(place), "low": end[0], "high": end[1]}
        for place, end in zip(places, ends, strict=True)
        if end is not None
    ] or None


def _parabola(sweep: Sweep) -> dict[str, Any]:
    assert sweep.parabola is not None
    curvature, slope, level = sweep.parabola
    return {
        "size": sweep.size,
        "centre_rate": float(np.exp(sweep.centre)),
        "curvature": curvature,
        "slope": slope,
        "level": level,
        "lowest_rate": float(np.exp(sweep.reach[0])),
        "highest_rate": float(np.exp(sweep.reach[1])),
    }


def _row(sweep: Sweep, line: Line | None) -> dict[str, Any]:
    rule_rate = rule_loss = cost = None
    if line is not None:
        rule_rate = line.rate(sweep.params)
        rule_loss = sweep.loss_at(rule_rate)
        cost = None if rule_loss is None else rule_loss - sweep.best_loss
    return {
        "size": sweep.size,
        "params_nonembedding": int(sweep.params),
        "horizon": sweep.horizon,
        "num_rates": len(sweep.log_rates),
        "num_seeds": sweep.num_seeds,
        "diverged_rates": sweep.diverged_rates,
        "best_rate": sweep.best_rate,
        "best_loss": sweep.best_loss if len(sweep.log_rates) else None,
        "in_rule": sweep.best_rate is not None,
        "reason": sweep.reason,
        "rule_rate": rule_rate,
        "rule_loss": rule_loss,
        "rule_cost": cost,
        "rule_cost_percent": None if cost is None else 100.0 * cost / sweep.best_loss,
    }
