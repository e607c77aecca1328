"""Four curves through the size means of one metric: how well each fits, and foretells a size.

Evidence beside a verdict, no part of its rule. AICc with n sizes is n ln(RSS / n) + 2k +
2k(k + 1) / (n - k - 1), k counting the parameters and the variance (Hurvich and Tsai 1989), and is
undefined at n <= k + 1. The held-out error is of each size in turn, foretold by the others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from saltus.emerge.means import Means
from saltus.emerge.transition import MIN_SIZES
from saltus.emerge.widths import PER_WIDTH, make_grid, project_heights

Array = NDArray[np.float64]

Shape = Callable[[Array, Array, Means], Array]  # (sizes, points, means) -> shapes (K, points)
DECAYS = np.geomspace(0.02, 20, 200)  # exponents c of N^-c


@dataclass(frozen=True)
class Rival:
    """One curve: `aicc` None where undefined; `heldout` a mean absolute error in units of y."""

    name: str
    parameters: int
    aicc: float | None
    heldout: float


def _falling(share: Array, means: Means) -> Array:
    """Return rising shapes (K, n) turned the way the metric goes."""
    return share if means.rising else 1 - share


def _line(x: Array, at: Array, means: Means) -> Array:
    reach = max(float(x[-1] - x[0]), 1e-12)
    return _falling(((at - x[0]) / reach)[None], means)


def _step(x: Array, at: Array, means: Means) -> Array:
    middles = (x[1:] + x[:-1]) / 2
    return _falling((at[None] > middles[:, None]).astype(float), means)


def _decay(x: Array, at: Array, means: Means) -> Array:
    return _falling(1 - 10 ** (-DECAYS[:, None] * (at - x[0])[None]), means)


def _transition(x: Array, at: Array, means: Means) -> Array:
    grid = make_grid(x)
    z = (at - grid.locations[..., None]) * PER_WIDTH / grid.widths[:, None, None]
    return _falling(special.expit(z).reshape(-1, len(at)), means)


SHAPES: dict[str, tuple[int, Shape]] = {
    "line in log scale": (2, _line),
    "step": (3, _step),
    "power law with offset": (3, _decay),
    "logistic transition": (4, _transition),
}


def rivals(means: Means) -> list[Rival]:
    """Return the four curves, best held-out error first; none below 5 sizes."""
    if means.x.size < MIN_SIZES:
        return []
    found = [_rival(means, name, num, make) for name, (num, make) in SHAPES.items()]
    return sorted(found, key=lambda each: each.heldout)


def _rival(means: Means, name: str, num: int, make: Shape) -> Rival:
    n, k = means.x.size, num + 1
    rss = max(_fit(means, means.x, make)[0], 1e-300)
    aicc = None
    if n > k + 1:
        aicc = float(n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))
    errors = []
    for i in range(n):
        kept = np.arange(n) != i
        part = replace(means, x=means.x[kept], y=means.y[kept], variance=means.variance[kept])
        errors.append(abs(_fit(part, means.x[[i]], make)[1][0] - means.y[i]))
    return Rival(name, num, aicc, float(np.mean(errors)))


def _fit(means: Means, at: Array, make: Shape) -> tuple[float, Array]:
    """Return the weighted RSS of the best shape and its values (n,) at `at` (n,)."""
    shapes = make(means.x, means.x, means)
    rss, a, b = project_heights(shapes, means.y[None], 1 / means.variance[None], means.ceiling)
    best = int(np.argmin(rss[0]))
    there = make(means.x, at, means)[best]
    return float(rss[0, best]), np.asarray(a[0, best] + b[0, best] * there)
