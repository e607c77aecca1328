"""An optimum's path along compute: its points, the two lines through them, and their intervals.

Both non-parametric approaches return a `Path` of their points or a reason why there is none; what
follows from it, for a budget or as an interval, is the same for both and stands here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saltus.law.curves import Curves
from saltus.law.ends import DeleteOne

Array = NDArray[np.float64]

MIN_POINTS = 5  # points that rest on different runs
LOST = 2  # degrees of freedom: a line through sizes


@dataclass(frozen=True)
class Point:
    """A compute-optimal size at one compute."""

    flops: float
    params: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class Parabola:
    """A parabola of loss in log N at one compute: its vertex, curvature d2L/dlogN2 and sizes.

    `centre` is where the vertex lies within its sizes, 0 at the smallest and 1 at the largest.
    """

    flops: float
    vertex_params: float
    curvature: float
    sizes: int
    centre: float


@dataclass(frozen=True, eq=False)
class Path:
    """log N* = log_params + a (log C - log_flops), and log D* likewise with b.

    Without enough points there is only a `reason`, and NaN for the lines. `used` names the sizes
    whose losses the points rest on.
    """

    reason: str
    points: tuple[Point, ...] = ()
    parabolas: tuple[Parabola, ...] = ()
    used: frozenset[str] = frozenset()
    a: float = np.nan
    b: float = np.nan
    log_flops: float = np.nan
    log_params: float = np.nan
    log_tokens: float = np.nan

    def at(self, log_flops: Array) -> Array:
        """Return a, b, then log N* and log D* at each of `log_flops` (c,): (2 + 2c,)."""
        ahead = log_flops - self.log_flops
        return np.concatenate(
            [[self.a, self.b], self.log_params + self.a * ahead, self.log_tokens + self.b * ahead]
        )


def lines(points: tuple[Point, ...]) -> tuple[float, float, Array]:
    """Return the least-squares slopes a and b, and the mean log C, N* and D* (3,)."""
    logs = np.log([[point.flops, point.params, point.tokens] for point in points]).T
    means = logs.mean(axis=1)
    centred = logs - means[:, None]
    slopes = centred[1:] @ centred[0] / (centred[0] @ centred[0])
    return float(slopes[0]), float(slopes[1]), means


Estimator = Callable[[Curves, int], Path]  # curves, fewest points


@dataclass(frozen=True, eq=False)
class PathErrors:
    """Ends (low, high) of a, b, log N* and log D* (2 + 2c,), or the reason why there are none."""

    ends: tuple[Array, Array] | None
    method: str
    reason: str


def delete_one(
    estimate: Estimator, curves: Curves, whole: Path, log_flops: Array, level: float
) -> PathErrors:
    """Jackknife over sizes, each left out with its whole curve and the path drawn anew.

    t has (sizes that the points rest on) - LOST degrees of freedom: a size that no point
    touches tells nothing. A refit may rest on one point fewer than the whole, since a size takes a
    point with it; one that is refused all the same leaves no interval.
    """
    dof = len(whole.used) - LOST
    if dof < 1:
        return PathErrors(
            None, "", f"the points rest on {len(whole.used)} sizes; {LOST + 1} are needed"
        )
    values = []
    for index, size in enumerate(curves.sizes):
        part = estimate(curves.without(index), MIN_POINTS - 1)
        if part.reason:
            return PathErrors(None, "", f"without size {size}: {part.reason}")
        values.append(part.at(log_flops))
    rule = DeleteOne(dof, level)
    return PathErrors(rule.ends(whole.at(log_flops), np.stack(values)), rule.method(), "")
