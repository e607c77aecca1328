"""Compute-optimal sizes: the envelope of all runs over compute, and the allocation a law implies.

For L = E + A/N^alpha + B/D^beta under C = k N D, setting dL/dlog N = 0 along fixed C gives
alpha A N^-alpha = beta B D^-beta, hence N = G (C/k)^a and D = G^-1 (C/k)^b with
a = beta/(alpha + beta), b = 1 - a and G = (alpha A / (beta B))^(1/(alpha + beta))
(Hoffmann et al. 2022, equation 4). Where compute is not proportional to N D, minimise numerically.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from saltus.law.criterion import Criterion
from saltus.law.forms import Chinchilla, PowerLaw
from saltus.law.intervals import (
    Jackknife,
    allocation_exponent,
    degrees_of_freedom,
    replica_error,
)
from saltus.law.solve import HUBER, Fit, fit

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


def compute_optimal(
    parameters: Mapping[str, float], flops: ArrayLike, flops_per_pair: float = 6.0
) -> tuple[Array, Array]:
    """Return N and D that minimise the law at compute C = `flops_per_pair` N D, in closed form."""
    alpha, beta = parameters["alpha"], parameters["beta"]
    balance = (alpha * parameters["A"] / (beta * parameters["B"])) ** (1.0 / (alpha + beta))
    pairs = np.asarray(flops, dtype=float) / flops_per_pair
    a = float(allocation_exponent(alpha, beta))
    return balance * pairs**a, pairs ** (1.0 - a) / balance


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


def lower_envelope(points: pd.DataFrame) -> pd.DataFrame:
    """Keep the points that no cheaper or equally cheap point matches.

    `points` has `flops_exact` and `loss`; the result is sorted by compute, its losses falling. On a
    sparse grid of sizes and horizons the envelope lies on or above that of all possible runs.
    """
    ordered = points.sort_values(["flops_exact", "loss"], kind="stable")
    before = np.r_[np.inf, np.minimum.accumulate(ordered["loss"].to_numpy(dtype=float))[:-1]]
    falling = ordered["loss"].to_numpy(dtype=float) < before
    envelope: pd.DataFrame = ordered.loc[falling].reset_index(drop=True)
    return envelope


def average_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Average `loss_text` and `flops_exact` over seeds: one row per size and horizon.

    An envelope of single runs would reward the luckiest seed.
    """
    grouped = runs.groupby(["size", "horizon"], sort=False, as_index=False)
    means = grouped.agg(
        flops_exact=("flops_exact", "mean"), loss=("loss_text", "mean"), tokens=("tokens", "first")
    )
    columns: pd.DataFrame = means[["flops_exact", "loss", "size", "tokens"]]
    return columns


@dataclass(frozen=True, eq=False)
class Envelope:
    """The envelope's points, its power law in compute, and the jackknife over sizes.

    `fitted` is None with a `reason` when the points are too few.
    """

    points: pd.DataFrame
    fitted: Fit | None
    errors: Jackknife | None
    reason: str


def fit_envelope(points: pd.DataFrame, *, criterion: Criterion = HUBER, seed: int = 0) -> Envelope:
    """Fit L = E + A/C^alpha to the lower envelope of `points` (flops_exact, loss, size, tokens).

    The jackknife leaves out a size with all its points and draws the envelope anew, so its interval
    carries the choice of points; it is None when some envelope without a size is too short.
    """
    form = PowerLaw("C")
    needed = len(form.parameters) + 2
    envelope = lower_envelope(points)
    if len(envelope) < needed:
        reason = f"the envelope has {len(envelope)} points; E + A/C^alpha needs {needed}"
        return Envelope(envelope, None, None, reason)

    def fitted_to(table: pd.DataFrame, starts: int) -> Fit:
        compute = {"C": table["flops_exact"].to_numpy(dtype=float)}
        loss = table["loss"].to_numpy(dtype=float)
        return fit(form, compute, loss, criterion=criterion, starts=starts, seed=seed)

    whole = fitted_to(envelope, 24)
    sizes = tuple(dict.fromkeys(str(size) for size in points["size"]))
    parts = [lower_envelope(points[points["size"].astype(str) != size]) for size in sizes]
    if degrees_of_freedom(len(sizes)) < 1 or min(len(part) for part in parts) < len(
        form.parameters
    ):
        return Envelope(envelope, whole, None, "too few sizes for an interval")
    refits = [fitted_to(part, 6) for part in parts]
    errors = Jackknife(
        fitted=whole,
        sizes=sizes,
        theta=np.stack([part.theta for part in refits]),
        unconverged=sum(not part.certificate.settled for part in refits),
        replica_error=replica_error(whole.residuals, range(len(envelope)), len(whole.theta)),
        smallest_loss=float(points["loss"].min()),
    )
    return Envelope(envelope, whole, errors, "")
