"""Sums of powers of one variable each, with an offset: Chinchilla's law and the plain power law."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
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
from saltus.law.forms.projection import exponent_grid, project


@dataclass(frozen=True)
class SumOfPowers(Form):
    r"""L = E + sum over terms of coefficient / variable^exponent, all coefficients positive.

    With z_0 = log E and z_k = log c_k - e_k log x_k, log L = log sum exp z. Its gradient in z is
    the softmax s, so d/d log c_k = s_k and d/d e_k = -s_k log x_k; its Hessian in z is
    diag(s) - s s^T. By the same chain rule it is -g g^T with, added, s_k for (c_k, c_k),
    -s_k log x_k for (c_k, e_k) and s_k log^2 x_k for (e_k, e_k): all of it in the gradient g.
    """

    @property
    @abstractmethod
    def terms(self) -> tuple[tuple[str, str, str], ...]:
        """(coefficient, exponent, variable) of each term after E."""

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(variable for _, _, variable in self.terms)

    @property
    def parameters(self) -> tuple[str, ...]:
        coefficients = tuple(coefficient for coefficient, _, _ in self.terms)
        return ("E", *coefficients, *(exponent for _, exponent, _ in self.terms))

    @property
    def log_parameters(self) -> frozenset[str]:
        return frozenset({"E", *(coefficient for coefficient, _, _ in self.terms)})

    def _stacked(self, logs: Logs) -> Array:
        return np.stack([logs[variable] for variable in self.variables])  # (k, n)

    def _softmax(self, theta: Array, x: Array) -> tuple[Array, Array]:
        """Return log loss (..., n) and the shares (..., k + 1, n) of E and of each term."""
        num = len(x)
        z = np.empty((*theta.shape[:-1], num + 1, x.shape[-1]))
        z[...] = theta[..., : num + 1, None]
        z[..., 1:, :] -= theta[..., num + 1 :, None] * x
        top = z.max(axis=-2, keepdims=True)
        z -= top
        np.exp(z, out=z)
        total = z.sum(axis=-2, keepdims=True)
        z /= total
        return np.asarray((top + np.log(total))[..., 0, :]), z

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        x = self._stacked(logs)
        value, shares = self._softmax(theta, x)
        gradient = np.concatenate([shares, -shares[..., 1:, :] * x], axis=-2)
        return value, np.swapaxes(gradient, -1, -2)

    def curvature(
        self, theta: Array, logs: Logs, weights: Array, gradient: Array | None = None
    ) -> Array:
        x = self._stacked(logs)
        num = len(x)
        if gradient is None:
            gradient = self.evaluate(theta, logs)[1]
        columns = np.swapaxes(gradient, -1, -2)  # (..., p, n): shares, then -share x
        weighted = columns * weights[..., None, :]
        matrix = -weighted @ gradient
        totals = weighted.sum(axis=-1)
        for k in range(num + 1):
            matrix[..., k, k] += totals[..., k]
        for k in range(num):
            row, column = k + 1, num + 1 + k
            matrix[..., row, column] += totals[..., column]
            matrix[..., column, row] += totals[..., column]
            matrix[..., column, column] -= np.sum(weighted[..., column, :] * x[k], axis=-1)
        return np.asarray(matrix)

    def rescale(self, theta: Array, log_units: Mapping[str, float]) -> Array:
        num = len(self.terms)
        units = np.array([log_units[variable] for variable in self.variables])
        moved = np.array(theta, dtype=float)
        moved[..., 1 : num + 1] -= theta[..., num + 1 :] * units
        return moved

    def bounds(self, logs: Logs, log_loss: Array) -> tuple[Array, Array]:
        num = len(self.terms)
        lowest, highest = float(np.min(log_loss)), float(np.max(log_loss))
        lower = np.r_[
            np.full(num + 1, lowest + np.log(SMALLEST_SHARE)), np.full(num, EXPONENT_BOUNDS[0])
        ]
        upper = np.r_[np.full(num + 1, highest + 10.0), np.full(num, EXPONENT_BOUNDS[1])]
        return lower, upper

    def _from_coefficients(self, coefficients: Array, exponents: Array, scale: float) -> Array:
        positive = np.log(np.maximum(coefficients, 1e-3 * scale))
        return np.concatenate([positive, exponents], axis=-1)

    def starts(
        self, logs: Logs, log_loss: Array, weights: Array, num: int, generator: np.random.Generator
    ) -> Array:
        """The best exponents of a grid by variable projection, then as many dispersed ones.

        Of the others, half take the coefficients that are best at random exponents and half take
        random coefficients as well, so that agreement of the starts means something.
        """
        x = self._stacked(logs)
        scale = float(np.exp(np.mean(log_loss)))
        grid = exponent_grid(len(x), 20 if len(x) <= 2 else 8)
        drawn = log_uniform(generator, 0.03, 1.5, (num, len(x)))
        errors, coefficients = project(x, log_loss, weights[None], np.concatenate([grid, drawn]))
        best = int(np.argmin(errors[0, : len(grid)]))
        projected = self._from_coefficients(coefficients[0, len(grid) :], drawn, scale)
        shares = generator.dirichlet(np.ones(len(x) + 1), num)
        random = self._from_coefficients(shares * scale, drawn, scale)
        first = self._from_coefficients(coefficients[0, best], grid[best], scale)[None]
        half = (num - 1) // 2
        return np.concatenate([first, projected[:half], random[half : num - 1]])

    def guesses(self, logs: Logs, log_loss: Array, weights: Array) -> list[Array]:
        x = self._stacked(logs)
        grid = exponent_grid(len(x), 12 if len(x) <= 2 else 6)
        errors, coefficients = project(x, log_loss, weights, grid)
        best = np.argmin(errors, axis=1)
        scale = float(np.exp(np.mean(log_loss)))
        chosen = coefficients[np.arange(len(best)), best]
        return [self._from_coefficients(chosen, grid[best], scale)]


@dataclass(frozen=True)
class Chinchilla(SumOfPowers):
    """L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, equation 2)."""

    name: ClassVar[str] = "chinchilla"
    equation: ClassVar[str] = "L = E + A / N^alpha + B / D^beta"
    source: ClassVar[str] = "Hoffmann et al. 2022, Training Compute-Optimal Large Language Models"

    @property
    def terms(self) -> tuple[tuple[str, str, str], ...]:
        return (("A", "alpha", "N"), ("B", "beta", "D"))

    def powers(self, theta: Array) -> Array:
        return np.asarray(theta[..., 1:])


@dataclass(frozen=True)
class PowerLaw(SumOfPowers):
    """L = E + A / x^alpha in one variable, with an offset (Henighan et al. 2020, equation 1)."""

    variable: str = "x"
    name: ClassVar[str] = "power"
    equation: ClassVar[str] = "L = E + A / x^alpha"
    source: ClassVar[str] = "Henighan et al. 2020, Scaling Laws for Autoregressive Modeling"

    @property
    def terms(self) -> tuple[tuple[str, str, str], ...]:
        return (("A", "alpha", self.variable),)
