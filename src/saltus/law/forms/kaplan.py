"""Kaplan's joint law: one bracket to the power of the data exponent, no irreducible loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from saltus.law.forms.base import (
    EXPONENT_BOUNDS,
    SMALLEST_SHARE,
    Array,
    Form,
    Logs,
    log_uniform,
)
from saltus.law.forms.projection import exponent_grid, nonnegative_least_squares

LARGEST = 300.0  # of an exponent of e: its square can be summed


@dataclass(frozen=True)
class Kaplan(Form):
    r"""L = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D.

    N_c and D_c lie far outside any table, so the internal vector is u = alpha_N log N_c,
    v = alpha_D log D_c, alpha_N, alpha_D: the log losses that size and data alone would leave at
    the centre. With p = (u - alpha_N log N)/alpha_D, q = v/alpha_D - log D, M = log(e^p + e^q) and
    the shares s of its two terms, log L = alpha_D M, and

        d/du = s_p,   d/dv = s_q,   d/d alpha_N = -s_p log N,
        d/d alpha_D = M - s_p p - s_q v / alpha_D.
    """

    name: ClassVar[str] = "kaplan"
    equation: ClassVar[str] = "L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D"
    source: ClassVar[str] = "Kaplan et al. 2020, Scaling Laws for Neural Language Models, eq. 1.5"
    floor: ClassVar = None
    num_starts: ClassVar[int] = 48
    growing: ClassVar = frozenset({"alpha_N", "alpha_D"})
    scaled_by: ClassVar = MappingProxyType({"N_c": "alpha_N", "D_c": "alpha_D"})
    variables = ("N", "D")
    parameters = ("N_c", "D_c", "alpha_N", "alpha_D")
    log_parameters = frozenset({"N_c", "D_c"})

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        u, v, size, data = (theta[..., j, None] for j in range(4))
        p, q = (u - size * logs["N"]) / data, v / data - logs["D"]
        both = np.logaddexp(p, q)
        share = np.exp(p - both)
        slope = both - share * p - (1 - share) * v / data
        gradient = np.stack([share, 1 - share, -share * logs["N"], slope], axis=-1)
        return np.asarray(data * both), gradient

    def powers(self, theta: Array) -> Array:
        size, data = theta[..., 2], theta[..., 3]
        a, b = theta[..., 0] / data, theta[..., 1] / data
        return np.stack([a, b, size / data, np.ones_like(data)], axis=-1)

    def rescale(self, theta: Array, log_units: Mapping[str, float]) -> Array:
        moved = np.array(theta, dtype=float)
        moved[..., :2] -= theta[..., 2:] * np.array([log_units["N"], log_units["D"]])
        return moved

    def bounds(self, logs: Logs, log_loss: Array) -> tuple[Array, Array]:
        low = float(np.min(log_loss)) + np.log(SMALLEST_SHARE)
        high = float(np.max(log_loss)) + 10.0
        least, most = EXPONENT_BOUNDS
        return np.array([low, low, least, least]), np.array([high, high, most, most])

    def starts(
        self, logs: Logs, log_loss: Array, weights: Array, num: int, generator: np.random.Generator
    ) -> Array:
        """The best exponents of a grid by variable projection, then dispersed ones.

        Of the others half take the coefficients that are best at random exponents, half random
        coefficients as well.
        """
        exponents = log_uniform(generator, 0.03, 1.0, (num, 2))
        shares = np.log(generator.dirichlet(np.ones(2), num) + 1e-6)
        grid = exponent_grid(2, 20)
        errors, projected = _project(logs, log_loss, weights, np.concatenate([grid, exponents]))
        middle = np.mean(log_loss) + exponents[:, 1:] * shares
        own = np.arange(num)[:, None] < num // 2
        coefficients = np.where(own, projected[len(grid) :], middle)
        coefficients[0] = projected[best := int(np.argmin(errors[: len(grid)]))]
        exponents[0] = grid[best]
        return np.concatenate([coefficients, exponents], axis=1)


def _project(logs: Logs, log_loss: Array, weights: Array, exponents: Array) -> tuple[Array, Array]:
    """Return the squared errors (g,) and best u and v (g, 2) at exponents (g, 2).

    At fixed exponents L^(1/alpha_D) is linear in N_c^(alpha_N/alpha_D) and D_c, and a relative
    error of it is 1/alpha_D times that of L.
    """
    size, data = exponents[:, :1], exponents[:, 1:]
    middle = float(np.mean(log_loss))
    lifted = (log_loss - middle) / data  # (g, n)
    basis = np.stack([-size / data * logs["N"] - lifted, -logs["D"] - lifted], axis=1)
    basis = np.exp(np.clip(basis, -LARGEST, LARGEST))  # (g, 2, n)
    weighted = basis * weights
    gram, moment = weighted @ np.swapaxes(basis, -1, -2), weighted.sum(axis=-1)
    value, coefficients = nonnegative_least_squares(gram, moment)
    errors = data[:, 0] ** 2 * (value + weights.sum())
    return errors, middle + data * np.log(np.maximum(coefficients, 1e-6))
