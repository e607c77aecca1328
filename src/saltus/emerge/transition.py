r"""How wide a transition is: a logistic curve through size means, and the profile of its width.

    y(x) = a + b F((x - m) / w),  F(z) = 1 / (1 + exp(-z)),  x = log10 of the scale,

rising (an accuracy) or falling (a target NLL). W = 2 ln 9 w is the width from 10 to 90 % in
decades; of a power law y ~ N^-c, the tail of a curve whose upper plateau is not seen, it is
2 ln 9 / (c ln 10). The curve is that of the mean over seeds: seeds that leap at different sizes
make a wide one.

Weighted least squares, the profile of W by `widths`; inside the interval of W lies every W with

    RSS(W) - RSS <= phi F(.95; 1, S - 4),  phi = max(1, RSS / (S - 4), RSS_rise / (S_rise - 2))

(Bates and Watts 1988, section 6.1), S sizes, S_rise of them between 2 and 98 % of the height: on
the plateaus a size that is off its place does not show. Without seeds variances are equal and
unknown, and phi is the larger of the last two.

Legend: S sizes, Q data sets, V widths.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from saltus.emerge.means import Means
from saltus.emerge.widths import NUM_WIDTHS, PER_WIDTH, Grid, Profile, make_grid, profile_of

Array = NDArray[np.float64]

NUM_PARAMETERS = 4
MIN_SIZES = NUM_PARAMETERS + 1
RISE = 0.02  # of the height: sizes from here to 1 less it are on the rise
NUM_NEAR = 33  # widths between the neighbours of the best
ROUNDS = 4  # of ever finer grids, until a quarter of one lies inside the interval


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


def scatter_of(grid: Grid, y: Array, weights: Array, means: Means) -> tuple[Profile, Array]:
    """Return the profile of data sets y, weights (Q, S), and phi (Q,).

    The sizes on the rise are those of each data set's best curve.
    """
    profile = profile_of(grid, y, weights, means)
    each, row = np.arange(len(y)), profile.rss.argmin(axis=1)
    least, location, base, height = (
        part[each, row][:, None]
        for part in (profile.rss, profile.location, profile.base, profile.height)
    )
    rise = special.expit((grid.x - location) * PER_WIDTH / grid.widths[row][:, None])
    fitted = base + height * (rise if means.rising else 1 - rise)
    on_rise = (rise >= RISE) & (rise <= 1 - RISE)
    off = np.where(on_rise, weights * (y - fitted) ** 2, 0.0).sum(axis=1)
    spare = on_rise.sum(axis=1) - 2
    per_rise = np.divide(off, spare, out=np.zeros(len(y)), where=spare > 0)
    phi = np.maximum(least[:, 0] / (means.x.size - NUM_PARAMETERS), per_rise)
    return profile, np.maximum(phi, 1.0 if means.known else 1e-300)


def cutoff(num_sizes: int, level: float = 0.95) -> float:
    """Return F(level; 1, S - 4)."""
    return float(stats.f.ppf(level, 1, num_sizes - NUM_PARAMETERS))


def width_interval(widths: Array, profile: Array, limit: float) -> tuple[float, float | None]:
    """Return the outermost widths (V,) whose profile (V,) is within `limit` of its least.

    Ends are interpolated in log W; the low one is 0 and the high one None where the profile does
    not rise to the limit on the grid.
    """
    excess = profile - profile.min() - limit
    inside = np.flatnonzero(excess <= 0)
    logs = np.log(widths)

    def crossing(i: int, j: int) -> float:
        share = excess[i] / (excess[i] - excess[j])
        return float(np.exp(logs[i] + share * (logs[j] - logs[i])))

    first, last = int(inside[0]), int(inside[-1])
    low = 0.0 if first == 0 else crossing(first, first - 1)
    high = None if last == len(logs) - 1 else crossing(last, last + 1)
    return low, high


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
        row = int(profile.argmin())
        inside = np.flatnonzero(profile - profile[row] <= found.phi * cutoff(num))
        if left == 1 or inside.size > NUM_WIDTHS // 4:
            break
        first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, NUM_WIDTHS - 1)
        grid = make_grid(means.x, grid.widths[first], grid.widths[last])
    near = grid.widths[max(row - 1, 0)], grid.widths[min(row + 1, NUM_WIDTHS - 1)]
    finer = make_grid(means.x, *near, NUM_NEAR)
    between, found = _best(finer, means)
    widths, order = np.unique(np.concatenate([grid.widths, finer.widths]), return_index=True)
    profile = np.concatenate([profile, between])[order]
    low, high = width_interval(widths, profile, found.phi * cutoff(num))
    return replace(found, low=low, high=high)


def _best(grid: Grid, means: Means) -> tuple[Array, Transition]:
    """Return the profile (V,) and the best curve of a grid, its interval still open."""
    profile, phi = scatter_of(grid, means.y[None], 1 / means.variance[None], means)
    row = int(np.argmin(profile.rss[0]))
    base, height = float(profile.base[0, row]), float(profile.height[0, row])
    start, end = (base, base + height) if means.rising else (base + height, base)
    return profile.rss[0], Transition(
        width=float(grid.widths[row]), low=0.0, high=None,
        location=float(profile.location[0, row]), start=start, end=end, phi=float(phi[0]),
        rss=float(profile.rss[0, row]),
    )  # fmt: skip
