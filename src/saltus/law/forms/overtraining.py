"""The over-training law: size and data share one exponent, in compute."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from saltus.law.forms.base import Array, Form, Logs
from saltus.law.forms.powers import Chinchilla
from saltus.law.forms.restricted import Restricted

LOG_FLOPS_PER_PAIR = float(np.log(6.0))  # C = 6 N D


@dataclass(frozen=True)
class OverTraining(Form):
    r"""L = E + a N^(-2 eta) + b 6^(-eta) (M N)^(-2 eta), M = D / N tokens per parameter.

    At C = 6 N D this is L = E + (a 6^eta M^eta + b M^-eta) C^-eta: one exponent of compute at every
    M, which is what over-training asks. M N is D, so it is Chinchilla's law with both exponents
    2 eta, A = a and B = b 6^(-eta), a linear restriction of its internal vector.
    """

    name: ClassVar[str] = "over-training"
    equation: ClassVar[str] = "L = E + a / N^(2 eta) + b 6^(-eta) / D^(2 eta)"
    source: ClassVar[str] = "Gadre et al. 2024, Language models scale reliably with over-training"
    growing: ClassVar = frozenset({"eta"})
    variables = ("N", "D")
    parameters = ("E", "a", "b", "eta")
    log_parameters = frozenset({"E", "a", "b"})

    @property
    def _tied(self) -> Restricted:
        rows = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -LOG_FLOPS_PER_PAIR], *[[0, 0, 0, 2]] * 2]
        return Restricted(Chinchilla(), np.array(rows, dtype=float), np.zeros(5))

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        return self._tied.evaluate(theta, logs)

    def curvature(
        self, theta: Array, logs: Logs, weights: Array, gradient: Array | None = None
    ) -> Array:
        return self._tied.curvature(theta, logs, weights)

    def powers(self, theta: Array) -> Array:
        return Chinchilla().powers(self._tied.theta(theta))

    def rescale(self, theta: Array, log_units: Mapping[str, float]) -> Array:
        moved = np.array(theta, dtype=float)
        moved[..., 1:3] -= 2 * theta[..., 3:] * np.array([log_units["N"], log_units["D"]])
        return moved

    def bounds(self, logs: Logs, log_loss: Array) -> tuple[Array, Array]:
        low, high = Chinchilla().bounds(logs, log_loss)
        return np.r_[low[:3], low[3] / 2], np.r_[high[:3], high[3] / 2]

    def starts(
        self, logs: Logs, log_loss: Array, weights: Array, num: int, generator: np.random.Generator
    ) -> Array:
        """Those of Chinchilla's law with the mean of both exponents."""
        inner = Chinchilla().starts(logs, log_loss, weights, num, generator)
        eta = inner[:, 3:].mean(axis=1, keepdims=True) / 2
        return np.concatenate([inner[:, :2], inner[:, 2:3] + LOG_FLOPS_PER_PAIR * eta, eta], axis=1)
