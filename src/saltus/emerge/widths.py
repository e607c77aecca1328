r"""The least RSS of every width of a logistic transition: its profile, for many data sets at once.

    y(x) = a + b F((x - m) / w),  F(z) = 1 / (1 + exp(-z)),  W = 2 ln 9 w

Given (m, w) the heights a and b are linear and projected out (Golub and Pereyra 1973), within their
bounds. For each width, locations are tried wherever a size stands on the curve's slope, at a step
in units of w and not of the ladder (between sizes further off than that a narrow curve does not
change), and the best one is refined until its RSS is that of the minimum: it is always the RSS of a
curve, never a guess between curves.

Legend: S sizes, Q data sets, G locations of each of V widths, K shapes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from saltus.emerge.means import Means

Array = NDArray[np.float64]

NUM_WIDTHS = 48
LOCATIONS_PER_SIZE = 16
REACH = 4.0  # locations are tried so many w beyond the ladder: further off the curve is its tail
NEAR = 8.0  # and so many w from a size: further off it stands on a plateau
REFINEMENTS, TRIED = 3, 9  # rounds of so many locations between the neighbours of the best
PER_WIDTH = 2 * float(np.log(9))  # W / w


@dataclass(frozen=True, eq=False)
class Grid:
    """A ladder `x` (S,), widths W (V,), locations (V, G) and rising curves F (V, G, S)."""

    x: Array
    widths: Array
    locations: Array
    curves: Array


@dataclass(frozen=True, eq=False)
class Profile:
    """Of each data set and width, (Q, V): the least RSS, its location, and its heights a and b."""

    rss: Array
    location: Array
    base: Array
    height: Array


def make_grid(
    x: Array, least: float | None = None, most: float | None = None, num_widths: int = NUM_WIDTHS
) -> Grid:
    """Return the grid of a ladder `x` (S,), of widths from `least` to `most` decades."""
    span = float(x[-1] - x[0])
    low = float(np.diff(x).min()) / 20 if least is None else least
    high = 8 * span if most is None else most
    widths = np.geomspace(low, max(high, 2 * low), num_widths)
    locations = np.stack([_locations(x, width / PER_WIDTH) for width in widths])
    z = (x - locations[..., None]) * (PER_WIDTH / widths)[:, None, None]
    return Grid(x, widths, locations, np.asarray(special.expit(z)))


def _locations(x: Array, scale: float) -> Array:
    """Return locations (G,), evenly spaced along the ladder less its stretches far from a size."""
    gaps = np.diff(x)
    half = np.minimum(gaps / 2, NEAR * scale)
    knots = np.concatenate([[x[0] - REACH * scale], x, [x[-1] + REACH * scale]])
    starts = np.concatenate([knots[:1], x[:-1], x[1:] - half, x[-1:]])
    lengths = np.concatenate([[REACH * scale], half, half, [REACH * scale]])
    order = np.argsort(starts, kind="stable")
    starts, lengths = starts[order], lengths[order]
    ends = np.cumsum(lengths)
    share = np.linspace(0, ends[-1], LOCATIONS_PER_SIZE * x.size + 1)
    piece = np.minimum(np.searchsorted(ends, share), lengths.size - 1)
    return np.asarray(starts[piece] + share - (ends - lengths)[piece])


def project_heights(
    shapes: Array, y: Array, weights: Array, ceiling: float | None = None
) -> tuple[Array, Array, Array]:
    """Return the weighted RSS of y = a + b shape, and its heights a, b: each (Q, K).

    shapes: (K, S) for all data sets or (Q, K, S), within [0, 1]; y, weights: (Q, S). Heights a and
    b are not negative and, with a `ceiling`, a + b is not above it. The best lie inside or on an
    edge of that region; all edges are tried, which with two unknowns is exact.
    """
    pulled = weights * y
    w = weights.sum(axis=1)[:, None]
    u, yy = pulled.sum(axis=1)[:, None], (pulled * y).sum(axis=1)[:, None]
    if shapes.ndim == 2:
        f, ff, v = weights @ shapes.T, weights @ (shapes**2).T, pulled @ shapes.T
    else:
        f, v = (np.matmul(shapes, each[..., None])[..., 0] for each in (weights, pulled))
        ff = np.matmul(shapes**2, weights[..., None])[..., 0]

    def loss(a: Array, b: Array) -> Array:
        return np.asarray(yy - 2 * (a * u + b * v) + a * a * w + 2 * a * b * f + b * b * ff)

    determinant = np.maximum(w * ff - f * f, 1e-12 * w * ff + 1e-300)
    a, b = (ff * u - f * v) / determinant, (w * v - f * u) / determinant
    top = np.inf if ceiling is None else ceiling
    allowed = (a >= 0) & (b >= 0) & (a + b <= top)
    best = np.where(allowed, loss(a, b), np.inf)
    zero = np.zeros_like(a)
    edges = [
        (zero, np.clip(v / np.maximum(ff, 1e-300), 0, top)),  # a = 0
        (np.clip(u / w, 0, top) + zero, zero),  # b = 0
    ]
    if ceiling is not None:  # a = top - b
        g = w - 2 * f + ff
        slack = np.clip((top * (w - f) - (u - v)) / np.maximum(g, 1e-300), 0, top)
        edges.append((top - slack, slack))
    for left, right in edges:
        value = loss(left, right)
        better = value < best
        best = np.where(better, value, best)
        a, b = np.where(better, left, a), np.where(better, right, b)
    return np.maximum(best, 0), a, b


def profile_of(grid: Grid, y: Array, weights: Array, means: Means) -> Profile:
    """Return the profile of data sets y, weights (Q, S); `means` says direction and ceiling."""
    num_sets, num_widths = len(y), grid.widths.size
    shapes = grid.curves if means.rising else 1 - grid.curves
    found = project_heights(shapes.reshape(-1, grid.x.size), y, weights, means.ceiling)
    rss, a, b = (each.reshape(num_sets, *grid.locations.shape) for each in found)
    column = rss.argmin(axis=-1)
    row = np.arange(num_widths)
    location = grid.locations[row, column]
    kept = [np.take_along_axis(each, column[..., None], -1)[..., 0] for each in (rss, a, b)]
    last = grid.locations.shape[1] - 1
    low = grid.locations[row, np.maximum(column - 1, 0)]
    high = grid.locations[row, np.minimum(column + 1, last)]
    scale = (grid.widths / PER_WIDTH)[:, None, None]
    for _ in range(REFINEMENTS):
        step = (high - low) / (TRIED - 1)
        tried = low[..., None] + step[..., None] * np.arange(TRIED)  # (Q, V, TRIED)
        z = (grid.x - tried[..., None]) / scale
        curves = special.expit(z if means.rising else -z).reshape(num_sets, -1, grid.x.size)
        near = [
            each.reshape(num_sets, num_widths, TRIED)
            for each in project_heights(curves, y, weights, means.ceiling)
        ]
        best = near[0].argmin(axis=-1)[..., None]
        now = [np.take_along_axis(each, best, -1)[..., 0] for each in (*near, tried)]
        better = now[0] < kept[0]
        kept = [np.where(better, new, old) for new, old in zip(now[:3], kept, strict=True)]
        location = np.where(better, now[3], location)
        low, high = location - step, location + step
    return Profile(kept[0], location, kept[1], kept[2])
