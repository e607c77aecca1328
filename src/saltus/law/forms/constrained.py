"""The data-constrained law: repeated tokens, and excess parameters, are worth less and less."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from saltus.law.forms.base import Array, Form, Logs, log_uniform
from saltus.law.forms.powers import Chinchilla

REPEATS_BOUNDS = (1e-2, 1e4)
FURTHEST = 300.0  # log of the largest excess: beyond it nothing changes and exp overflows


def _worth(excess: Array, rate: Array) -> tuple[Array, Array, Array]:
    """Return log(1 + r (1 - e^(-x/r))) and its slopes in x and log r, x `excess`, r `rate`."""
    decay = np.exp(-excess / rate)
    total = 1.0 - rate * np.expm1(-excess / rate)
    slope = (rate * -np.expm1(-excess / rate) - excess * decay) / total
    return np.log(total), decay / total, slope


@dataclass(frozen=True)
class DataConstrained(Form):
    r"""L = E + A / N'^alpha + B / D'^beta, with U unique tokens among the D.

    D' = U_D + U_D R_D* (1 - exp(-R_D / R_D*)), U_D = min(U, D), R_D = D / U_D - 1 the repeats; N'
    is the same of U_N = min(N, N_opt(U)), where N_opt balances both terms for U tokens:
    alpha A N_opt^-alpha = beta B U^-beta. Hence
    log N_opt = (log alpha + log A - log beta - log B + beta log U) / alpha, whose slopes carry into
    those of log N' wherever N > N_opt.
    """

    name: ClassVar[str] = "data-constrained"
    equation: ClassVar[str] = "L = E + A / N'^alpha + B / D'^beta, N' and D' worn by repeats"
    source: ClassVar[str] = "Muennighoff et al. 2023, Scaling Data-Constrained Language Models"
    num_starts: ClassVar[int] = 48
    unit_of: ClassVar = MappingProxyType({"U": "D"})
    variables = ("N", "D", "U")
    parameters = ("E", "A", "B", "alpha", "beta", "R_N", "R_D")
    log_parameters = frozenset({"E", "A", "B", "R_N", "R_D"})

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        e, a, b, alpha, beta, rate_n, rate_d = (theta[..., j, None] for j in range(7))
        rate_n, rate_d = np.exp(rate_n), np.exp(rate_d)
        n, d, unique = logs["N"], logs["D"], np.minimum(logs["U"], logs["D"])
        best = (np.log(alpha / beta) + a - b + beta * unique) / alpha
        needed = np.minimum(n, best)
        beyond = np.minimum(n - needed, FURTHEST)
        worth_n, in_n, rate_slope_n = _worth(np.expm1(beyond), rate_n)
        worth_d, _, rate_slope_d = _worth(np.expm1(d - unique), rate_d)
        log_n, log_d = needed + worth_n, unique + worth_d
        # d log N' / d log U_N: the base grows by one, the excess N/U_N - 1 shrinks by N/U_N
        through = np.where(n > best, 1.0 - in_n * np.exp(beyond), 0.0)
        terms = np.stack(np.broadcast_arrays(e, a - alpha * log_n, b - beta * log_d))
        value = np.logaddexp.reduce(terms, axis=0)
        share_e, share_n, share_d = np.exp(terms - value)
        pull = -share_n * alpha * through  # d log L / d log N_opt
        columns = [
            share_e,
            share_n + pull / alpha,
            share_d - pull / alpha,
            -share_n * log_n + pull * (1.0 / alpha - best) / alpha,
            -share_d * log_d + pull * (unique - 1.0 / beta) / alpha,
            -share_n * alpha * rate_slope_n,
            -share_d * beta * rate_slope_d,
        ]
        return value, np.stack(columns, axis=-1)

    def rescale(self, theta: Array, log_units: Mapping[str, float]) -> Array:
        inner = Chinchilla().rescale(theta[..., :5], log_units)
        return np.concatenate([inner, theta[..., 5:]], axis=-1)

    def bounds(self, logs: Logs, log_loss: Array) -> tuple[Array, Array]:
        low, high = Chinchilla().bounds(logs, log_loss)
        least, most = np.log(REPEATS_BOUNDS)
        return np.r_[low, least, least], np.r_[high, most, most]

    def starts(
        self, logs: Logs, log_loss: Array, weights: Array, num: int, generator: np.random.Generator
    ) -> Array:
        inner = Chinchilla().starts(logs, log_loss, weights, num, generator)
        rates = np.log(log_uniform(generator, 1.0, 100.0, (num, 2)))
        return np.concatenate([inner, rates], axis=1)
