"""Chinchilla's law with an outer exponent: size and data may compensate for one another."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from saltus.law.forms.base import Array, Form, Logs, log_uniform
from saltus.law.forms.powers import Chinchilla

GAMMA_BOUNDS = (0.05, 10.0)


@dataclass(frozen=True)
class OuterExponent(Form):
    r"""L = E + (A / N^alpha + B / D^beta)^gamma; gamma = 1 is Chinchilla's law.

    The internal vector is log E, a = gamma log A, b = gamma log B, gamma alpha, gamma beta, gamma:
    what is seen where one term is alone does not then depend on gamma. With
    p = (a - gamma alpha log N)/gamma, q alike, M = log(e^p + e^q), T = exp(gamma M), s the shares
    of e^p and e^q, and S = T/(E + T),

        d/d log E = 1 - S,   d/da = S s_p,   d/d(gamma alpha) = -S s_p log N,
        d/d gamma = S (M - s_p p - s_q q).
    """

    name: ClassVar[str] = "outer"
    equation: ClassVar[str] = "L = E + (A / N^alpha + B / D^beta)^gamma"
    source: ClassVar[str] = "Beck et al. 2025, xLSTM Scaling Laws, appendix; gamma = 1: Hoffmann"
    num_starts: ClassVar[int] = 48
    scaled_by: ClassVar = MappingProxyType(
        {"A": "gamma", "B": "gamma", "alpha": "gamma", "beta": "gamma"}
    )
    variables = ("N", "D")
    parameters = ("E", "A", "B", "alpha", "beta", "gamma")
    log_parameters = frozenset({"E", "A", "B"})

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        e, a, b, size, data, gamma = (theta[..., j, None] for j in range(6))
        p, q = (a - size * logs["N"]) / gamma, (b - data * logs["D"]) / gamma
        both = np.logaddexp(p, q)
        share = np.exp(p - both)
        value = np.logaddexp(e, gamma * both)
        outer = np.exp(gamma * both - value)
        first, second = outer * share, outer * (1 - share)
        slope = outer * (both - share * p - (1 - share) * q)
        columns = [1 - outer, first, second, -first * logs["N"], -second * logs["D"], slope]
        return value, np.stack(columns, axis=-1)

    def powers(self, theta: Array) -> Array:
        return self.report(theta)[..., 1:5]

    def rescale(self, theta: Array, log_units: Mapping[str, float]) -> Array:
        inner = Chinchilla().rescale(theta[..., :5], log_units)
        return np.concatenate([inner, theta[..., 5:]], axis=-1)

    def bounds(self, logs: Logs, log_loss: Array) -> tuple[Array, Array]:
        low, high = Chinchilla().bounds(logs, log_loss)
        return np.r_[low, GAMMA_BOUNDS[0]], np.r_[high, GAMMA_BOUNDS[1]]

    def starts(
        self, logs: Logs, log_loss: Array, weights: Array, num: int, generator: np.random.Generator
    ) -> Array:
        """Those of Chinchilla's law: the first with gamma = 1, the others with a gamma drawn."""
        inner = Chinchilla().starts(logs, log_loss, weights, num, generator)
        gamma = np.r_[1.0, log_uniform(generator, 0.2, 2.0, num - 1)]
        return np.concatenate([inner, gamma[:, None]], axis=1)
