"""Three approaches to compute-optimal training, on one table, and whether they agree.

Hoffmann et al. 2022 find N* proportional to C^a by an envelope of loss curves, by isoFLOP parabolas
and by a fitted law. All three read the same runs: agreement is a check of method, not of data.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.errors import TableError
from saltus.law.allocation import Cost, fit_cost
from saltus.law.answer import Approach, Comparison, exponent_intervals, optima
from saltus.law.curves import Curves, curves_of, labelled
from saltus.law.frontier import frontier
from saltus.law.intervals import Intervals
from saltus.law.isoflop import isoflop
from saltus.law.parametric import asymmetric, parametric
from saltus.law.path import MIN_POINTS, Estimator, Path, delete_one
from saltus.law.solve import Fit
from saltus.law.verdict import judge

DECADE = 10.0  # times the largest compute of the table: the second default budget
NOTABLE_BIAS = 0.01  # of a
NOTABLE_POWER = 0.005  # of p in C = k N^p D, from 1
OFF_CENTRE = 0.25  # of the width of a parabola's sizes


def three_approaches(
    points: pd.DataFrame,
    fitted: Fit | None,
    errors: Intervals | None,
    *,
    budgets: Sequence[float] | None = None,
    level: float = 0.95,
    reason: str = "no law was fitted",
) -> Comparison:
    """Answer by envelope, isoFLOP parabolas and the fitted law, and say whether they agree.

    `points` has params (N), tokens (D), flops (C) and loss, one row per size and horizon with seeds
    averaged, and `size` labels; without labels a size is a distinct N (within 1 %). `fitted` is
    Chinchilla's law of the same runs with its intervals, or None for a `reason`. `budgets` are in
    FLOPs: by default the largest of the table and ten times that. `level` is that of the first two;
    the law's is in `errors`. Raises `TableError` if there are no rows, a column is missing, or a
    value or budget is not positive.
    """
    table = labelled(points)
    curves = curves_of(table)
    top = float(table["flops"].max())
    spend = np.array([top, DECADE * top] if budgets is None else budgets, dtype=float)
    if not np.all(np.isfinite(spend) & (spend > 0)):
        raise TableError(f"budgets are {spend.tolist()}; expected positive FLOPs")
    cost = fit_cost(points["params"], points["tokens"], points["flops"])
    law = parametric(table, fitted, errors, cost, spend, reason)
    on_law: Curves | None = None
    if fitted is not None and law.status == "fitted":
        on_law = curves_of(table, fitted.predict({"N": table["params"], "D": table["tokens"]}))

    leans = law.status == "fitted" and errors is not None and asymmetric(errors, cost)
    leaning = _leaning(cost) if leans else ""

    def follow(estimate: Estimator) -> Approach:
        path = estimate(curves, MIN_POINTS)
        noiseless = None if on_law is None else estimate(on_law, MIN_POINTS)
        return _answer(path, noiseless, estimate, curves, law, leaning, spend, level)

    found = {"envelope": follow(frontier), "isoflop": follow(isoflop), "parametric": law}
    verdict = judge(
        {name: each.a for name, each in found.items() if each.a is not None},
        {name: each.interval for name, each in found.items() if each.interval is not None},
        {
            name: each.reason or each.interval_reason
            for name, each in found.items()
            if each.interval is None
        },
        level,
    )
    return Comparison(
        found["envelope"], found["isoflop"], law, cost,
        int(table["size"].nunique()), curves.left_out, verdict,
    )  # fmt: skip


def _answer(
    path: Path,
    noiseless: Path | None,
    estimate: Estimator,
    curves: Curves,
    law: Approach,
    leaning: str,
    budgets: NDArray[np.float64],
    level: float,
) -> Approach:
    """Turn a path into an answer with intervals, bias and warnings."""
    if path.reason:
        return Approach("refused", path.reason, points=path.points, parabolas=path.parabolas)
    centre = path.at(np.log(budgets))
    errors = delete_one(estimate, curves, path, np.log(budgets), level)
    interval, interval_b = exponent_intervals(errors.ends)
    flops = [point.flops for point in path.points]
    on_law = None if noiseless is None or noiseless.reason else noiseless.a
    return Approach(
        status="fitted",
        reason="",
        a=path.a,
        b=path.b,
        interval=interval,
        interval_b=interval_b,
        interval_method=errors.method or None,
        interval_reason=errors.reason,
        points=path.points,
        optimum=optima(
            budgets, centre, errors.ends, (budgets < min(flops)) | (budgets > max(flops))
        ),
        parabolas=path.parabolas,
        a_on_law=on_law,
        warnings=_warnings(path, on_law, law, leaning),
    )


def _leaning(cost: Cost) -> str:
    power = abs(cost.exponent - 1.0) > NOTABLE_POWER
    beta = f"{cost.exponent:.3g} beta (C grows as N^{cost.exponent:.3g})" if power else "beta"
    return (
        f"alpha and {beta} differ: the loss along N at fixed compute is not symmetric, and a tie "
        "or a parabola's vertex is not exactly the optimum"
    )


def _warnings(path: Path, on_law: float | None, law: Approach, leaning: str) -> tuple[str, ...]:
    """Say where a path is biased by its own method."""
    told = []
    off = sum(abs(each.centre - 0.5) > OFF_CENTRE for each in path.parabolas)
    if 2 * off > len(path.parabolas):
        told.append(
            f"{off} of {len(path.parabolas)} vertices lie off the centre of their sizes; such "
            "parabolas are biased"
        )
    if leaning:
        told.append(leaning)
    if on_law is not None and law.a is not None and abs(on_law - law.a) > NOTABLE_BIAS:
        told.append(
            f"on the fitted law's own losses, without noise, this approach gives a = {on_law:.3f} "
            f"where the law has {law.a:.3f}"
        )
    return tuple(told)
