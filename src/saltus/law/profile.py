r"""Profile likelihood of one parameter, or of the allocation, at a time.

psi is held at c, everything else is refitted, and the interval is every c with

    W(c) = 2 (min f given psi = c, less min f) <= t(.975; freedom)^2,

f being the log likelihood, or its stand-in, of `likelihood`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from saltus.law.likelihood import ALLOCATION, Likelihood, likelihood
from saltus.law.solve import Fit

FURTHEST = 30.0  # Wald errors from the estimate, beyond which an interval is open


@dataclass(frozen=True)
class Profile:
    """Profile intervals of the reported parameters and of the allocation; None where open.

    `centre` are the reported parameters at the minimum of the profiled likelihood, which is not
    the fit's own objective where scatter has components. `unconverged` counts ends whose refit fell
    short of the decrement tolerance; they are None.
    """

    method: str
    centre: dict[str, float]
    reported: dict[str, tuple[float | None, float | None]]
    unconverged: int


def profile(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    *,
    sizes: Sequence[object] | None = None,
    replicas: Sequence[object] | None = None,
    cost_exponent: float = 1.0,
    level: float = 0.95,
) -> Profile:
    """Return the profile intervals of all reported parameters, and of the allocation's exponent.

    Of the latter, as `ALLOCATION`, where the form has alpha and beta: N* grows as C to it, with
    C = k N^p D, `cost_exponent` being p. Raises `NoLikelihoodError` where there is
    no likelihood. An end is None where the profile stays below its limit as far as thirty standard
    errors.
    """
    made = likelihood(
        fitted, variables, loss, sizes=sizes, replicas=replicas, cost_exponent=cost_exponent
    )
    form = fitted.form
    values = form.report(made.table.to_raw(form, made.theta))
    centre = {name: float(value) for name, value in zip(form.parameters, values, strict=True)}
    if {"alpha", "beta"} <= set(form.parameters):
        centre[ALLOCATION] = centre["beta"] / (centre["alpha"] + cost_exponent * centre["beta"])
    limit = float(stats.t.ppf(0.5 + level / 2, made.dof))
    found, unconverged = {}, 0
    for name, value in centre.items():
        low, high = (_end(made, name, value, side, limit) for side in (-1, 1))
        unconverged += low.unconverged + high.unconverged
        found[name] = (low.value, high.value)
    return Profile(made.method, centre, found, unconverged)


@dataclass(frozen=True)
class _End:
    value: float | None
    unconverged: bool = False


def _end(made: Likelihood, name: str, value: float, side: int, limit: float) -> _End:
    """Return where the signed root of W crosses `limit` on one side of the estimate."""
    error = made.error(name, value)
    near = made.theta

    def excess(steps: float) -> float:
        nonlocal near
        found, near, _ = made.statistic(name, value + side * steps * error, near)
        return float(np.sqrt(found)) - limit if np.isfinite(found) else limit

    inner, outer = 0.0, limit
    while excess(outer) < 0:
        inner, outer = outer, outer * 1.5
        if outer > FURTHEST:
            return _End(None)
    steps = float(optimize.brentq(excess, inner, outer, xtol=1e-3, rtol=1e-4))
    found = value + side * steps * error
    if not made.statistic(name, found, near)[2]:
        return _End(None, unconverged=True)
    return _End(found)
