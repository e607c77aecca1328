"""The allocation of compute that a law implies, in closed form.

Let C = k N^p D (p = 1 and k = 6 for the usual C = 6 N D). Along fixed C, D = C / (k N^p). Every
form in N and D rises with a sum of two powers, A / N^alpha + B / D^beta (`Form.powers`), and where
that is least, so is the loss: setting its derivative in log N to 0 gives
alpha A N^-alpha = p beta B D^-beta, hence N^(alpha + p beta) = alpha A / (p beta B) (C/k)^beta. So
N* grows as C^a and D* as C^b with a = beta / (alpha + p beta) and b = 1 - p a. At p = 1 this is
Hoffmann et al. 2022, equation 4. The sum is convex in log N, so there is no other minimum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.errors import TableError
from saltus.law.forms import Chinchilla
from saltus.law.intervals import allocation_exponent

Array = NDArray[np.float64]

FLOPS_PER_PAIR = 6.0  # C = 6 N D


@dataclass(frozen=True)
class Cost:
    """Compute as a power of size: C = `coefficient` N^`exponent` D."""

    coefficient: float = FLOPS_PER_PAIR
    exponent: float = 1.0

    def __str__(self) -> str:
        power = "" if abs(self.exponent - 1.0) < 5e-5 else f"^{self.exponent:.4g}"
        return f"{self.coefficient:.4g} N{power} D"

    def flops(self, params: ArrayLike, tokens: ArrayLike) -> Array:
        """Return C of N and D (n,)."""
        size = np.asarray(params, dtype=float) ** self.exponent
        return np.asarray(self.coefficient * size * np.asarray(tokens, dtype=float))


def fit_cost(params: ArrayLike, tokens: ArrayLike, flops: ArrayLike | None) -> Cost:
    """Return the least-squares line of log(C/D) on log N; the mean C/(ND) if N does not vary.

    Without `flops` (n,), C = 6 N D. Raises `TableError` where compute does not rise with N at
    fixed D: no allocation follows from such a cost.
    """
    if flops is None:
        return Cost()
    log_params = np.log(np.asarray(params, dtype=float))
    each = np.log(np.asarray(flops, dtype=float)) - np.log(np.asarray(tokens, dtype=float))
    centred = log_params - log_params.mean()
    spread = float(centred @ centred)
    exponent = float(centred @ each) / spread if spread > 1e-12 else 1.0
    if abs(exponent - 1.0) < 1e-9:
        exponent = 1.0  # a product, but for rounding
    if exponent <= 0:
        raise TableError(
            f"FLOPs: found C growing as N^{exponent:.3g} at fixed D, expected more compute for "
            "more parameters"
        )
    return Cost(float(np.exp(each.mean() - exponent * log_params.mean())), exponent)


def log_optimum(powers: Array, log_flops: Array, cost: Cost) -> tuple[Array, Array]:
    """Return log N* and log D* (m, c) at `log_flops` (c,).

    `powers` (m, 4) are log A, log B, alpha and beta of each law, as `Form.powers` gives them.
    """
    log_a, log_b, alpha, beta = (column[:, None] for column in np.atleast_2d(powers).T)
    per = log_flops[None, :] - np.log(cost.coefficient)
    balance = np.log(alpha / (cost.exponent * beta)) + log_a - log_b
    log_params = (balance + beta * per) / (alpha + cost.exponent * beta)
    return log_params, per - cost.exponent * log_params


def cost_exponents(alpha: ArrayLike, beta: ArrayLike, cost: Cost) -> tuple[Array, Array]:
    """Return a and b of N* proportional to C^a and D* to C^b."""
    a = allocation_exponent(alpha, beta, cost.exponent)
    return a, 1.0 - cost.exponent * a


def compute_optimal(
    parameters: Mapping[str, float], flops: ArrayLike, cost: Cost | None = None
) -> tuple[Array, Array]:
    """Return N and D (...) that minimise a Chinchilla law at `flops` (...); C = 6 N D if unsaid."""
    form = Chinchilla()
    logs = np.log(np.asarray(flops, dtype=float))
    powers = form.powers(form.internal(parameters))
    params, tokens = log_optimum(powers, logs.ravel(), cost or Cost())
    return np.exp(params).reshape(logs.shape), np.exp(tokens).reshape(logs.shape)
