"""A smoothly broken power law in one variable: its slope changes once."""

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

SHARPNESS_BOUNDS = (1e-2, 5.0)


@dataclass(frozen=True)
class Broken(Form):
    r"""L = a + b x^-c_0 (1 + (x / d_1)^(1 / f_1))^(-c_1 f_1).

    The slope in logs goes from c_0 to c_0 + c_1 around d_1, within about f_1 of it in log x. With
    z = (log x - log d_1)/f_1, t = log(1 + e^z) and its slope s, the second term's logarithm is
    y = log b - c_0 log x - c_1 f_1 t; times its share of L, dy is 1 for log b, -log x for c_0,
    -f_1 t for c_1, c_1 s for log d_1 and -c_1 f_1 (t - s z) for log f_1.
    """

    variable: str = "x"
    name: ClassVar[str] = "broken"
    equation: ClassVar[str] = "L = a + b / x^c_0 (1 + (x / d_1)^(1 / f_1))^(-c_1 f_1)"
    source: ClassVar[str] = "Caballero et al. 2023, Broken Neural Scaling Laws, eq. 1"
    floor: ClassVar = "a"
    signed: ClassVar = frozenset({"c_0", "c_1"})
    num_starts: ClassVar[int] = 96
    parameters = ("a", "b", "c_0", "c_1", "d_1", "f_1")
    log_parameters = frozenset({"a", "b", "d_1", "f_1"})

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.variable,)

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        a, b, before, change, place, width = (theta[..., j, None] for j in range(6))
        x, width = logs[self.variable], np.exp(width)
        z = (x - place) / width
        bend = np.logaddexp(0.0, z)
        rise = np.exp(z - bend)
        term = b - before * x - change * width * bend
        value = np.logaddexp(a, term)
        share = np.exp(term - value)
        columns = [
            1 - share,
            share,
            -share * x,
            -share * width * bend,
            share * change * rise,
            -share * change * width * (bend - rise * z),
        ]
        return value, np.stack(columns, axis=-1)

    def rescale(self, theta: Array, log_units: Mapping[str, float]) -> Array:
        unit = log_units[self.variable]
        moved = np.array(theta, dtype=float)
        moved[..., 1] -= theta[..., 2] * unit
        moved[..., 4] -= unit
        return moved

    def bounds(self, logs: Logs, log_loss: Array) -> tuple[Array, Array]:
        """The break lies within the range of x: beyond it, it cannot be told from none."""
        x = logs[self.variable]
        low, high = float(np.min(log_loss)) + np.log(SMALLEST_SHARE), float(np.max(log_loss)) + 10.0
        most, (sharp, blunt) = EXPONENT_BOUNDS[1], np.log(SHARPNESS_BOUNDS)
        lower = np.array([low, low, -most, -most, float(np.min(x)), sharp])
        return lower, np.array([high, high, most, most, float(np.max(x)), blunt])

    def starts(
        self, logs: Logs, log_loss: Array, weights: Array, num: int, generator: np.random.Generator
    ) -> Array:
        x = logs[self.variable]
        shares = np.log(generator.dirichlet(np.ones(2), num) + 1e-6)
        before = log_uniform(generator, 0.02, 1.0, num)
        change = generator.choice([-1.0, 1.0], num) * log_uniform(generator, 0.02, 1.0, num)
        place = generator.uniform(np.min(x), np.max(x), num)
        width = np.log(log_uniform(generator, 0.05, 2.0, num))
        ends = np.mean(log_loss) + shares
        return np.stack([ends[:, 0], ends[:, 1], before, change, place, width], axis=1)
