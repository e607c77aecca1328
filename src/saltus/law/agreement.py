"""All three approaches to the compute-optimal size on one table, and whether they agree.

Envelope and isoFLOPs are read off the losses (`frontier`), the third follows from the fitted law.
Two agree where their 95 % intervals of a overlap. Parabolas are biased where their vertex is off
the middle of the sizes, or where alpha and beta differ: a disagreement is a finding, not an error.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.law.approaches import compute_optimal
from saltus.law.frontier import READERS, frontier, frontier_errors
from saltus.law.intervals import Intervals, allocation_exponent
from saltus.law.solve import Fit

Array = NDArray[np.float64]

BUDGETS = (1.0, 10.0)  # times the largest compute of the table
NAMES = {"envelope": "envelope", "isoflop": "isoFLOP parabolas", "parametric": "fitted law"}


def three_approaches(
    points: pd.DataFrame,
    fitted: Fit | None,
    allocation: Sequence[float | None] | None,
    spread: Intervals | None,
) -> dict[str, Any]:
    """Return the entry `approaches` and its `verdict`, as JSON-able values.

    `points` are those of `curves.mean_points`; `allocation` is the interval of the law's a, and
    `spread` its refits, for the intervals of N* and D*.
    """
    largest = float(points["flops"].max())
    budgets = [factor * largest for factor in BUDGETS]
    found = {name: _read(points, name, budgets, largest) for name in READERS}
    found["parametric"] = _parametric(points, fitted, allocation, spread, budgets, largest)
    return {"approaches": found, "verdict": verdict(found)}


def _entry(a: float | None, b: float | None, reason: str) -> dict[str, Any]:
    return {
        "status": "refused" if a is None else "fitted",
        "reason": reason,
        "a": a,
        "b": b,
        "interval": None,
        "interval_b": None,
        "interval_method": None,
        "optimum": [],
        "points": [],
    }


def _read(points: pd.DataFrame, name: str, budgets: list[float], largest: float) -> dict[str, Any]:
    whole = frontier(points, name)
    if whole.lines is None:
        return {**_entry(None, None, whole.reason), "points": whole.points.to_dict("records")}
    errors, reason = frontier_errors(points, name, whole)
    entry = _entry(float(whole.lines[0, 1]), float(whole.lines[1, 1]), reason)
    entry["points"] = whole.points.to_dict("records")
    if errors is not None:
        slopes = errors.slopes()
        entry["interval"], entry["interval_b"] = slopes[0].tolist(), slopes[1].tolist()
        entry["interval_method"] = errors.method
    for flops in budgets:
        log_ends = None if errors is None else errors.optimum(flops)
        entry["optimum"].append(_optimum(flops, whole.optimum(flops), log_ends, largest))
    return entry


def _optimum(flops: float, logs: Array, log_ends: Array | None, largest: float) -> dict[str, Any]:
    params, tokens = (float(value) for value in np.exp(logs))
    ends = None if log_ends is None else np.exp(np.clip(log_ends, -690, 690)).tolist()
    return {
        "flops": flops,
        "params": params,
        "params_interval": None if ends is None else ends[0],
        "tokens": tokens,
        "tokens_interval": None if ends is None else ends[1],
        "extrapolated": flops > largest * (1 + 1e-9),
    }


def _parametric(
    points: pd.DataFrame,
    fitted: Fit | None,
    allocation: Sequence[float | None] | None,
    spread: Intervals | None,
    budgets: list[float],
    largest: float,
) -> dict[str, Any]:
    if fitted is None:
        return _entry(None, None, "no law was fitted")
    if not {"A", "B", "alpha", "beta"} <= set(fitted.form.parameters):
        return _entry(None, None, f"{fitted.form.name} has no closed optimum")
    if {"A", "B", "alpha", "beta"} & set(fitted.certificate.bounds_hit):
        return _entry(None, None, f"{', '.join(fitted.certificate.bounds_hit)} on a bound")
    law = fitted.parameters
    a = float(allocation_exponent(law["alpha"], law["beta"]))
    entry = _entry(a, 1 - a, "")
    pair = float(np.median(points["flops"] / (points["params"] * points["tokens"])))
    entry["flops_per_pair"] = pair
    if allocation is not None and None not in allocation:
        low, high = (float(end) for end in allocation if end is not None)
        entry["interval"], entry["interval_b"] = [low, high], [1 - high, 1 - low]
    entry["interval_method"] = None if spread is None else spread.method
    for flops in budgets:
        logs = np.log(np.stack(compute_optimal(law, flops, pair)))
        log_ends = None
        if spread is not None:
            form = fitted.form
            parts = np.log([
                np.stack(compute_optimal(form.public(theta), flops, pair)) for theta in spread.theta
            ])  # fmt: skip
            log_ends = np.stack([np.array(spread.ends(logs[i], parts[:, i])) for i in range(2)])
        entry["optimum"].append(_optimum(flops, logs, log_ends, largest))
    return entry


def verdict(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return whether the approaches agree: agree, disagree or cannot say, and in words."""
    known = {name: entry for name, entry in found.items() if entry["interval"] is not None}
    missing = [NAMES[name] for name in found if name not in known]
    without = f"; no interval from {' and '.join(missing)}" if missing else ""
    if len(known) < 2:
        return {
            "status": "cannot say",
            "text": f"cannot say: {len(known)} of {len(found)} have an interval{without}",
        }
    apart = [
        (one, other)
        for one, other in combinations(known, 2)
        if known[one]["interval"][1] < known[other]["interval"][0]
        or known[other]["interval"][1] < known[one]["interval"][0]
    ]
    if apart:
        told = "; ".join(f"{NAMES[one]} and {NAMES[other]}" for one, other in apart)
        return {"status": "disagree", "text": f"disagree: {told} have intervals apart{without}"}
    names = " and ".join(NAMES[name] for name in known)
    return {"status": "agree", "text": f"agree: the intervals of {names} overlap{without}"}
