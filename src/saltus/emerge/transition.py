r"""How wide a transition is: a logistic curve through size means, and the profile of its width.

    y(x) = a + b F((x - m) / w),  F(z) = 1 / (1 + exp(-z)),  x = log10 of the scale,

rising (an accuracy) or falling (a target NLL). W = 2 ln 9 w is the width from 10 to 90 % in
decades; of a power law y ~ N^-c, the tail of a curve whose upper plateau is not seen, it is
2 ln 9 / (c ln 10). The curve is that of the mean over seeds: seeds that leap at different sizes
make a wide one.

Given (m, w) the heights are linear, so they are projected out (Golub and Pereyra 1973) and the
other two are searched on a grid, exact to interpolation, with no local minima. Weighted least
squares; what lies inside the interval of W is every W with

    RSS(W) - RSS <= phi F(.95; 1, S - 4),  phi = max(1, RSS / (S - 4), RSS_rise / (S_rise - 2))

(Bates and Watts 1988, section 6.1), S sizes, S_rise of them between 2 and 98 % of the height: on
the plateaus a size that is off its place does not show. Without seeds variances are equal and
unknown, and phi is the larger of the last two.

Legend: S sizes, Q data sets, G grid points (locations) of each of V widths, K shapes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from saltus.emerge.means import Means

Array = NDArray[np.float64]

NUM_PARAMETERS = 4
MIN_SIZES = NUM_PARAMETERS + 1
NUM_WIDTHS = 48
NUM_LOCATIONS = 161
RISE = 0.02  # of the height: sizes from here to 1 less it are on the rise
REACH = 4.0  # locations are tried so many w beyond the ladder: further off the curve is its tail
ROUNDS = 4  # of ever finer grids, until a quarter of one lies inside the interval
PER_WIDTH = 2 * float(np.log(9))  # W / w


@dataclass(frozen=True)
class Transition:
    """A fitted curve; W and its interval in decades, `low` 0 or `high` None where it is open.

    `start` and `end` are the plateaus in the order of growing scale; `phi` what the variances were
    multiplied with.
    """

    width: float
    low: float
    high: float | None
    location: float
    start: float
    end: float
    phi: float
    rss: float


@dataclass(frozen=True, eq=False)
class Grid:
    """Widths W (V,), locations (V, G) and curves F (V, G, S), all rising in `x`."""

    widths: Array
    locations: Array
    curves: Array


def make_grid(
    x: Array,
    least: float | None = None,
    most: float | None = None,
    num_widths: int = NUM_WIDTHS,
    num_locations: int = NUM_LOCATIONS,
) -> Grid:
    """Return the grid of a ladder `x` (S,), of widths from `least` to `most` decades."""
    span = float(x[-1] - x[0])
    low = float(np.diff(x).min()) / 20 if least is None else least
    high = 8 * span if most is None else most
    widths = np.geomspace(low, max(high, 2 * low), num_widths)
    scale = widths / PER_WIDTH
    share = np.linspace(0, 1, num_locations)
    start, end = x[0] - REACH * scale, x[-1] + REACH * scale
    locations = start[:, None] + (end - start)[:, None] * share
    z = (x - locations[..., None]) / scale[:, None, None]
    return Grid(widths, locations, np.asarray(special.expit(z)))


def project_heights(
    shapes: Array, y: Array, weights: Array, ceiling: float | None = None
) -> tuple[Array, Array, Array]:
    """Return the weighted RSS of y = a + b shape, and its heights a, b: each (Q, K).

    shapes: (K, S), within [0, 1]; y, weights: (Q, S). Heights a and b are not negative and, with a
    `ceiling`, a + b is not above it. The best lie inside or on an edge of that region; all edges
    are tried, which with two unknowns is exact.
    """
    curves = shapes.T
    w = weights.sum(axis=1)[:, None]
    f, ff = weights @ curves, weights @ curves**2
    pulled = weights * y
    u, v = pulled.sum(axis=1)[:, None], pulled @ curves
    yy = (pulled * y).sum(axis=1)[:, None]

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


def profile_of_width(rss: Array) -> Array:
    """Return the least RSS of each width (Q, V) from those of its locations (Q, V, G).

    Between grid points by the parabola through the least and its neighbours.
    """
    least = np.argmin(rss, axis=-1)
    middle = np.clip(least, 1, rss.shape[-1] - 2)
    left, at, right = (
        np.take_along_axis(rss, (middle + step)[..., None], axis=-1)[..., 0] for step in (-1, 0, 1)
    )
    bend = left - 2 * at + right
    drop = np.divide((left - right) ** 2, 8 * bend, out=np.zeros_like(at), where=bend > 0)
    inside = (least == middle) & (bend > 0)
    lowest = np.take_along_axis(rss, least[..., None], axis=-1)[..., 0]
    return np.asarray(np.where(inside, np.maximum(at - drop, 0), lowest))


def scatter_factor(least: Array, num_sizes: int, *, known: bool) -> Array:
    """Return phi (Q,) from the least weighted RSS (Q,), the rise not looked at."""
    per = least / (num_sizes - NUM_PARAMETERS)
    return np.asarray(np.maximum(per, 1.0) if known else np.maximum(per, 1e-300))


def scatter_of(
    grid: Grid, y: Array, weights: Array, means: Means, projected: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """Return the profiles of W (Q, V) and phi (Q,) of data sets y, weights (Q, S).

    projected: of `project`. The rise is that of each data set's best point of the grid.
    """
    rss, a, b = projected
    profile = profile_of_width(rss)
    each = np.arange(len(y))
    row = profile.argmin(axis=1)
    best = (each, row, rss[each, row].argmin(axis=1))
    rise = grid.curves[best[1:]]
    fitted = a[best][:, None] + b[best][:, None] * (rise if means.rising else 1 - rise)
    on_rise = (rise >= RISE) & (rise <= 1 - RISE)
    off = np.where(on_rise, weights * (y - fitted) ** 2, 0.0).sum(axis=1)
    spare = on_rise.sum(axis=1) - 2
    per_rise = np.divide(off, spare, out=np.zeros(len(y)), where=spare > 0)
    phi = scatter_factor(profile.min(axis=1), means.x.size, known=means.known)
    return profile, np.maximum(phi, per_rise)


def cutoff(num_sizes: int, level: float = 0.95) -> float:
    """Return F(level; 1, S - 4)."""
    return float(stats.f.ppf(level, 1, num_sizes - NUM_PARAMETERS))


def width_interval(grid: Grid, profile: Array, limit: float) -> tuple[float, float | None]:
    """Return the outermost widths whose profile (V,) is within `limit` of its least.

    Ends are interpolated in log W; the low one is 0 and the high one None where the profile does
    not rise to the limit on the grid.
    """
    excess = profile - profile.min() - limit
    inside = np.flatnonzero(excess <= 0)
    logs = np.log(grid.widths)

    def crossing(i: int, j: int) -> float:
        share = excess[i] / (excess[i] - excess[j])
        return float(np.exp(logs[i] + share * (logs[j] - logs[i])))

    first, last = int(inside[0]), int(inside[-1])
    low = 0.0 if first == 0 else crossing(first, first - 1)
    high = None if last == len(logs) - 1 else crossing(last, last + 1)
    return low, high


def project(grid: Grid, y: Array, weights: Array, means: Means) -> tuple[Array, Array, Array]:
    """Return RSS and heights at every grid point, (Q, V, G), of data sets y, weights (Q, S)."""
    shapes = grid.curves if means.rising else 1 - grid.curves
    found = project_heights(shapes.reshape(-1, y.shape[1]), y, weights, means.ceiling)
    shape = (len(y), *grid.locations.shape)
    return found[0].reshape(shape), found[1].reshape(shape), found[2].reshape(shape)


def curve(fit: Transition, x: Array) -> Array:
    """Return the fitted curve (n,) at log10 scales (n,)."""
    rise = special.expit((x - fit.location) * PER_WIDTH / fit.width)
    return np.asarray(fit.start + (fit.end - fit.start) * rise)


def fit_transition(means: Means, least: float | None = None) -> Transition:
    """Fit the curve, of width `least` at least; ValueError below 5 sizes: no degree of freedom."""
    num = means.x.size
    if num < MIN_SIZES:
        raise ValueError(f"{num} sizes; the width of a transition needs {MIN_SIZES}")
    grid = make_grid(means.x, least)
    for left in range(ROUNDS, 0, -1):
        profile, found = _best(grid, means)
        limit = found.phi * cutoff(num)
        inside = np.flatnonzero(profile - profile.min() <= limit)
        if left == 1 or inside.size > NUM_WIDTHS // 4:
            break
        first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, NUM_WIDTHS - 1)
        grid = make_grid(means.x, grid.widths[first], grid.widths[last])
    low, high = width_interval(grid, profile, limit)
    return replace(found, low=low, high=high)


def _best(grid: Grid, means: Means) -> tuple[Array, Transition]:
    """Return the profile (V,) and the best curve of a grid, its interval still open."""
    y, weights = means.y[None], 1 / means.variance[None]
    rss, a, b = projected = project(grid, y, weights, means)
    profiles, phi = scatter_of(grid, y, weights, means, projected)
    profile = profiles[0]
    row = int(np.argmin(profile))
    column = int(np.argmin(rss[0, row]))
    base, height = float(a[0, row, column]), float(b[0, row, column])
    start, end = (base, base + height) if means.rising else (base + height, base)
    return profile, Transition(
        width=float(grid.widths[row]), low=0.0, high=None,
        location=float(grid.locations[row, column]), start=start, end=end, phi=float(phi[0]),
        rss=float(profile[row]),
    )  # fmt: skip
