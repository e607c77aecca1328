"""The allocation of compute that a Chinchilla law implies, in closed form and numerically.

Let C = k N^p D (p = 1 and k = 6 for the usual C = 6 N D). Along fixed C, D = C / (k N^p), and
setting dL/dlog N = 0 in L = E + A/N^alpha + B/D^beta gives alpha A N^-alpha = p beta B D^-beta,
hence N^(alpha + p beta) = alpha A / (p beta B) (C/k)^beta: N* grows as C^a and D* as C^b with
a = beta / (alpha + p beta) and b = 1 - p a. At p = 1 this is Hoffmann et al. 2022, equation 4.
Where compute is no power of N times D, minimise numerically.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from saltus.law.forms import Chinchilla
from saltus.law.intervals import Jackknife, allocation_exponent
from saltus.law.solve import Fit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Allocation:
    """N proportional to C^a and D to C^b under C = k N D; `interval` is of a."""

    a: float
    b: float
    interval: tuple[float, float] | None


def parametric_allocation(fitted: Fit, errors: Jackknife | None = None) -> Allocation:
    """Return the allocation that a fitted Chinchilla law implies."""
    a = float(allocation_exponent(fitted.parameters["alpha"], fitted.parameters["beta"]))
    return Allocation(a, 1.0 - a, None if errors is None else errors.allocation_interval())


@dataclass(frozen=True)
class Cost:
    """Compute as a power of size: C = `coefficient` N^`exponent` D."""

    coefficient: float = 6.0
    exponent: float = 1.0


def fit_cost(params: ArrayLike, tokens: ArrayLike, flops: ArrayLike) -> Cost:
    """Return the least-squares line of log(C/D) on log N; the mean C/(ND) if N does not vary."""
    log_params = np.log(np.asarray(params, dtype=float))
    each = np.log(np.asarray(flops, dtype=float)) - np.log(np.asarray(tokens, dtype=float))
    centred = log_params - log_params.mean()
    spread = float(centred @ centred)
    exponent = float(centred @ each) / spread if spread > 1e-12 else 1.0
    return Cost(float(np.exp(each.mean() - exponent * log_params.mean())), exponent)


def log_optimum(reported: Array, log_flops: Array, cost: Cost) -> tuple[Array, Array]:
    """Return log N* and log D* (m, c) at `log_flops` (c,).

    `reported` (m, 5) are laws on the scale of `Form.report`: log E, log A, log B, alpha, beta.
    """
    _, log_a, log_b, alpha, beta = (column[:, None] for column in np.atleast_2d(reported).T)
    per = log_flops[None, :] - np.log(cost.coefficient)
    balance = np.log(alpha / (cost.exponent * beta)) + log_a - log_b
    log_params = (balance + beta * per) / (alpha + cost.exponent * beta)
    return log_params, per - cost.exponent * log_params


def cost_exponents(alpha: ArrayLike, beta: ArrayLike, cost: Cost) -> tuple[Array, Array]:
    """Return a and b of N* proportional to C^a and D* to C^b."""
    growth = np.asarray(beta, dtype=float) * cost.exponent
    a = allocation_exponent(alpha, growth) / cost.exponent
    return a, 1.0 - cost.exponent * a


def compute_optimal(
    parameters: Mapping[str, float],
    flops: ArrayLike,
    flops_per_pair: float = 6.0,
    params_exponent: float = 1.0,
) -> tuple[Array, Array]:
    """Return N and D that minimise the law where C = `flops_per_pair` N^`params_exponent` D."""
    form = Chinchilla()
    reported = form.report(form.internal(parameters))
    logs = np.log(np.asarray(flops, dtype=float))
    params, tokens = log_optimum(reported, logs.ravel(), Cost(flops_per_pair, params_exponent))
    return np.exp(params).reshape(logs.shape), np.exp(tokens).reshape(logs.shape)


def compute_optimal_numeric(
    parameters: Mapping[str, float],
    tokens_affordable: Callable[[float], float],
    params_range: tuple[float, float],
) -> tuple[float, float, bool]:
    """Return N and D of least loss when N parameters leave `tokens_affordable`(N) tokens.

    For any cost of compute, exact FLOPs included. The last value says whether the minimum is
    inside `params_range`; at its edge the answer is only a bound.
    """
    form = Chinchilla()
    low, high = np.log(params_range[0]), np.log(params_range[1])

    def log_loss(log_params: float) -> float:
        params = float(np.exp(log_params))
        table = {"N": np.array([params]), "D": np.array([tokens_affordable(params)])}
        return float(np.log(form.predict(parameters, table)[0]))

    grid = np.linspace(low, high, 65)
    best = int(np.argmin([log_loss(point) for point in grid]))
    bracket = (grid[max(best - 1, 0)], grid[min(best + 1, 64)])
    found = optimize.minimize_scalar(
        log_loss, bounds=bracket, method="bounded", options={"xatol": 1e-10}
    )
    params = float(np.exp(found.x))
    return params, tokens_affordable(params), 0 < best < 64
