"""What every form of a law answers: value, gradient and parameters, with nothing about fitting.

A form maps log variables to the log of the predicted loss, so that scale lives in additive
parameters and every residual is relative. Legend: `...` any batch of parameter vectors (starts,
resamples), `n` row, `p` internal parameter, `k` additive term.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Logs = Mapping[str, Array]  # variable name -> natural logarithm, (n,)

EXPONENT_BOUNDS = (1e-3, 4.0)
SMALLEST_SHARE = 1e-6  # a term below this share of the smallest loss cannot be told from zero


class Surface(Protocol):
    """What a descent asks: log loss with its gradient, and its curvature."""

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """Return log predicted loss (..., n) and its gradient (..., n, p) at `theta` (..., p)."""
        ...

    def curvature(
        self, theta: Array, logs: Logs, weights: Array, gradient: Array | None = None
    ) -> Array:
        """Return the row sum (..., p, p) of `weights` (..., n) times the Hessian of log loss."""
        ...


class Form(ABC):
    """One law. A new form is one subclass; the solver asks for nothing else.

    `variables` are what a row must give, `parameters` the public names in the order of the
    internal vector; `log_parameters` are the public ones that `report` gives as logarithms.
    `num_starts` is how many dispersed starts its surface calls for; `unit_of` names variables that
    are measured in another one's unit. A parameter in `scaled_by` is stored times the one it names.
    `floor` is the irreducible loss, if the form has one; parameters in `signed` may be negative.
    `growing` are those that `growth` is made of.
    """

    name: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]
    num_starts: ClassVar[int] = 24
    unit_of: ClassVar[Mapping[str, str]] = MappingProxyType({})
    scaled_by: ClassVar[Mapping[str, str]] = MappingProxyType({})
    floor: ClassVar[str | None] = "E"
    signed: ClassVar[frozenset[str]] = frozenset()
    growing: ClassVar[frozenset[str]] = frozenset({"alpha", "beta"})

    @property
    @abstractmethod
    def variables(self) -> tuple[str, ...]:
        """Names of the variables."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Public parameter names, in the order of the internal vector."""

    @property
    @abstractmethod
    def log_parameters(self) -> frozenset[str]:
        """Parameters that are reported as natural logarithms: positive ones without a scale."""

    @abstractmethod
    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """Return log predicted loss (..., n) and its gradient (..., n, p) at `theta` (..., p)."""

    @abstractmethod
    def rescale(self, theta: Array, log_units: Mapping[str, float]) -> Array:
        """Return the parameters (..., p) that hold once each variable is divided by its unit."""

    @abstractmethod
    def bounds(self, logs: Logs, log_loss: Array) -> tuple[Array, Array]:
        """Return the lowest and highest internal parameters (p,) for losses exp(`log_loss`)."""

    @abstractmethod
    def starts(
        self, logs: Logs, log_loss: Array, weights: Array, num: int, generator: np.random.Generator
    ) -> Array:
        """Return `num` dispersed starts (num, p), the best guess first. `weights` is (n,)."""

    def guesses(self, logs: Logs, log_loss: Array, weights: Array) -> list[Array]:
        """Return good starts, each (m, p), for m weightings (m, n) of the rows; may be none.

        `log_loss` is (n,) or (m, n).
        """
        return []

    def report(self, theta: Array) -> Array:
        """Return internal vectors (..., p) as public parameters, `log_parameters` as logarithms.

        Intervals are made on this scale.
        """
        moved = np.array(theta, dtype=float)
        for j, k in self._scales:
            moved[..., j] /= theta[..., k]
        return moved

    def from_report(self, reported: Array) -> Array:
        """Undo `report`."""
        moved = np.array(reported, dtype=float)
        for j, k in self._scales:
            moved[..., j] *= reported[..., k]
        return moved

    def powers(self, theta: Array) -> Array | None:
        """Return (..., 4): log a, log b, x, y of the a / N^x + b / D^y that the loss rises with.

        Where it is least at fixed compute, so is the loss. None for a form that is not in N and D.
        """
        return None

    def growth(self, theta: Array) -> tuple[Array, Array] | None:
        """Return alpha and beta (...,) of internal vectors (..., p): the exponents of N and D.

        They are what the compute-optimal N and D grow by, where no token is repeated. None of a
        form in one variable.
        """
        powers = self.powers(theta)
        if powers is not None:
            return powers[..., 2], powers[..., 3]
        if not {"N", "D"} <= set(self.variables):
            return None
        reported = self.report(theta)
        alpha, beta = (reported[..., self.parameters.index(name)] for name in ("alpha", "beta"))
        return alpha, beta

    @property
    def _scales(self) -> list[tuple[int, int]]:
        place = self.parameters.index
        return [(place(name), place(scale)) for name, scale in self.scaled_by.items()]

    def curvature(
        self, theta: Array, logs: Logs, weights: Array, gradient: Array | None = None
    ) -> Array:
        """Return the row sum (..., p, p) of `weights` (..., n) times the Hessian of log loss.

        `gradient` (..., n, p), where it is at hand, may spare work. By central differences of the
        gradient at h = eps^(1/3); a form may know better.
        """
        num = theta.shape[-1]
        step = np.finfo(float).eps ** (1 / 3)
        columns = []
        for j in range(num):
            h = step * np.maximum(1.0, np.abs(theta[..., j]))
            shift = np.zeros_like(theta)
            shift[..., j] = h
            above = self.evaluate(theta + shift, logs)[1]
            below = self.evaluate(theta - shift, logs)[1]
            slope = np.einsum("...n,...np->...p", weights, above - below)
            columns.append(slope / (2 * h)[..., None])
        matrix = np.stack(columns, axis=-1)
        return np.asarray((matrix + np.swapaxes(matrix, -1, -2)) / 2)

    def public(self, theta: Array) -> dict[str, float]:
        """Return one internal vector (p,) as public parameters."""
        with np.errstate(over="ignore"):
            return {
                name: float(np.exp(value) if name in self.log_parameters else value)
                for name, value in zip(self.parameters, self.report(theta), strict=True)
            }

    def internal(self, parameters: Mapping[str, float]) -> Array:
        """Return public parameters as one internal vector (p,)."""
        reported = [
            np.log(parameters[name]) if name in self.log_parameters else parameters[name]
            for name in self.parameters
        ]
        return self.from_report(np.array(reported, dtype=float))

    def predict(self, parameters: Mapping[str, float], variables: Mapping[str, Array]) -> Array:
        """Return predicted losses (n,) for public parameters and raw variables (n,)."""
        logs = {name: np.log(np.asarray(variables[name], dtype=float)) for name in self.variables}
        return np.asarray(np.exp(self.evaluate(self.internal(parameters), logs)[0]))


def log_uniform(
    generator: np.random.Generator, low: float, high: float, shape: int | tuple[int, ...]
) -> Array:
    """Draw numbers whose logarithms are uniform between those of `low` and `high`."""
    return np.asarray(np.exp(generator.uniform(np.log(low), np.log(high), shape)))
