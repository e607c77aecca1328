"""Approach 3: the allocation that a fitted law implies (Hoffmann et al. 2022, section 3.3)."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.law.allocation import Cost, cost_exponents, log_optimum
from saltus.law.answer import Approach, Interval, exponent_intervals, optima
from saltus.law.forms import Chinchilla
from saltus.law.intervals import Intervals
from saltus.law.solve import Fit

Array = NDArray[np.float64]

UNUSABLE = ("failed", "flat")  # certificates of no minimum, or of one that fixes no exponents
TERMS = frozenset({"A", "B", "alpha", "beta"})


def parametric(
    table: pd.DataFrame,
    fitted: Fit | None,
    errors: Intervals | None,
    cost: Cost,
    budgets: Array,
    reason: str,
) -> Approach:
    """Return the optimum of a Chinchilla law where C = k N^p D; `reason` is why there is none.

    `table` gives the ranges beyond which an optimum is extrapolated. The intervals are those of the
    law, by its own method, of a, b, log N* and log D*; k and p are held fixed.
    """
    if fitted is None:
        return Approach("refused", reason)
    if not isinstance(fitted.form, Chinchilla):
        return Approach("refused", f"{fitted.form.equation} is not E + A/N^alpha + B/D^beta")
    on_bound = sorted(TERMS & set(fitted.certificate.bounds_hit))
    if on_bound:
        told = " and ".join(filter(None, [", ".join(on_bound[:-1]), on_bound[-1]]))
        rest = "rests on a bound" if len(on_bound) == 1 else "rest on bounds"
        return Approach("refused", f"the law's {told} {rest}")
    if fitted.certificate.status in UNUSABLE:
        return Approach("refused", f"the law's certificate says {fitted.certificate.status}")
    logs = np.log(budgets)
    centre = law_path(fitted.form, fitted.theta, cost, logs)[0]
    ends = None
    if errors is not None:
        ends = errors.ends(centre, law_path(fitted.form, errors.theta, cost, logs))
    num = len(budgets)
    inside = np.ones(num, dtype=bool)
    found = {"flops": logs, "params": centre[2 : 2 + num], "tokens": centre[2 + num :]}
    for name, values in found.items():
        seen = np.log(table[name].to_numpy(dtype=float))
        inside &= (values >= seen.min() - 1e-9) & (values <= seen.max() + 1e-9)
    interval, interval_b = exponent_intervals(ends)
    a_most = 1.0 / cost.exponent  # where all growth goes to N
    return Approach(
        status="fitted",
        reason="",
        a=float(centre[0]),
        b=float(centre[1]),
        interval=cut(interval, a_most),
        interval_b=cut(interval_b, 1.0),
        interval_method=None if errors is None else errors.method,
        interval_reason="the law has no refits" if errors is None else "",
        optimum=optima(budgets, centre, ends, ~inside),
    )


def law_path(form: Chinchilla, theta: Array, cost: Cost, log_flops: Array) -> Array:
    """Return a, b, log N* and log D* (m, 2 + 2c) of laws of internal vectors `theta` (m, p)."""
    powers = np.atleast_2d(form.powers(theta))
    a, b = cost_exponents(powers[:, 2], powers[:, 3], cost)
    params, tokens = log_optimum(powers, log_flops, cost)
    return np.concatenate([a[:, None], b[:, None], params, tokens], axis=1)


def cut(interval: Interval | None, highest: float) -> Interval | None:
    """Return the interval within [0, highest]."""
    return None if interval is None else (max(interval[0], 0.0), min(interval[1], highest))


def asymmetric(errors: Intervals, cost: Cost) -> bool:
    """Whether the interval of alpha - p beta excludes 0.

    Along C = k N^p D and with x = log N, L = E + A e^(-alpha x) + B (C/k)^-beta e^(p beta x). About
    its minimum, where both terms are in the ratio p beta to alpha, it is a cosh, and symmetric, if
    and only if alpha = p beta; else a parabola in x, or a tie of two sizes, is off the minimum.
    """
    form = errors.fitted.form
    place = [form.parameters.index(name) for name in ("alpha", "beta")]
    whole, parts = (form.report(each)[..., place] for each in (errors.fitted.theta, errors.theta))
    p = cost.exponent
    low, high = errors.ends(whole[0] - p * whole[1], parts[:, 0] - p * parts[:, 1])
    return bool(low > 0 or high < 0)
