"""Means over seeds of each size along a ladder, with variances that know of seeds and of sizes.

Variances come from the seeds: v is the pooled one or, where larger, the size's own, since a size on
the rise scatters most; a mean over R seeds has v (1 + 1/R), as a size may be off its curve by as
much as a seed is, which no number of seeds shows. Legend: C cells (replicas), S sizes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]

ROUNDING = 1e-9  # of the largest mean: means that differ by less are equal


@dataclass(frozen=True, eq=False)
class Means:
    """Means over seeds of each size, and the variance of each mean (S,); `x` is log10, ascending.

    `known` says whether the variances are measured; if not they are 1 and stand for equal ones.
    `ceiling` is the largest value the curve may take (1 of an accuracy), None if there is none.
    """

    x: Array
    y: Array
    variance: Array
    seeds: Array
    known: bool
    rising: bool
    ceiling: float | None


def size_means(
    x: Array, y: Array, *, rising: bool, ceiling: float | None = None, floor: Array | None = None
) -> Means:
    """Summarise replicas, x and y (C,) in any order; `floor` (C,) is a least variance of each y.

    The least variance is what is known beforehand: of an accuracy, that of its items.
    """
    sizes, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(index, y) / counts
    within = np.bincount(index, (y - means[index]) ** 2)
    spare = counts - 1
    known = bool(spare.sum() > 0)
    variance = np.ones(sizes.size)
    if known:
        pooled = within.sum() / spare.sum()
        own = np.divide(within, spare, out=np.zeros(sizes.size), where=spare > 0)
        variance = np.maximum(pooled, own)
    if floor is not None:
        least = np.bincount(index, floor) / counts
        variance = np.maximum(variance, least) if known else least
        known = True
    reach = max(float(np.ptp(means)), ROUNDING * float(np.abs(means).max()), 1e-100)
    smallest = 1e-12 * reach**2
    variance = np.maximum(variance, smallest)
    if known:
        variance = variance * (1 + 1 / counts)
    return Means(sizes, means, variance, counts.astype(float), known, rising, ceiling)


def accuracy_means(scale: ArrayLike, successes: ArrayLike, trials: ArrayLike) -> Means:
    """Summarise exact answers, successes of trials (C,), by size; items set a least variance.

    The variance of a share of n items is taken at (k + 1) / (n + 2): at 0 of n it is not zero.
    """
    hits, total = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    near = (hits + 1) / (total + 2)
    logs = np.log10(np.asarray(scale, dtype=float))
    floor = near * (1 - near) / total
    return size_means(logs, hits / total, rising=True, ceiling=1.0, floor=floor)


def nll_means(scale: ArrayLike, nll: ArrayLike) -> Means:
    """Summarise mean target NLL in nats per answer, (C,), by size."""
    logs = np.log10(np.asarray(scale, dtype=float))
    return size_means(logs, np.asarray(nll, dtype=float), rising=False)


def decline(means: Means) -> tuple[float, float]:
    """Return by how much ability falls with a decade of scale, and the p-value of no fall.

    Ability is y, or -y where y falls as it grows. Of least squares weighted by 1 / variance, one
    sided, t with S - 2 degrees of freedom; p is 1 below three sizes, and of equal means.
    """
    spare = means.x.size - 2
    if spare < 1 or np.ptp(means.y) <= ROUNDING * np.abs(means.y).max():
        return 0.0, 1.0
    weights = 1 / means.variance
    centred = means.x - weights @ means.x / weights.sum()
    lost = means.y * (-1.0 if means.rising else 1.0)
    spread = float(weights @ centred**2)
    slope = float(weights @ (centred * lost)) / spread
    left = lost - weights @ lost / weights.sum() - slope * centred
    error = np.sqrt(float(weights @ left**2) / spare / spread)
    p = float(stats.t.sf(slope / error, spare)) if error > 0 else float(slope <= 0)
    return slope, p


def seed_variance(means: Means) -> Array:
    """Return the variance of one seed of each size (S,), or the common one of sizes without."""
    if not means.known:
        return means.variance
    return np.asarray(means.variance / (1 + 1 / means.seeds))


def draw_means(
    means: Means, expected: Array, spread: Array, num: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return means and their variances (num, S) of tables drawn about `expected`.

    `expected` and `spread`, the standard deviation of a seed, are (S,) or (num, S); a size is off
    by as much as a seed, and variances are estimated as in `size_means`.
    """
    shape = (num, means.x.size)
    size = spread * rng.standard_normal(shape)
    if not means.known:
        return expected + size, np.ones(shape)
    counts, spare = means.seeds, means.seeds - 1
    seed = spread / np.sqrt(counts) * rng.standard_normal(shape)
    own = np.broadcast_to(spread**2, shape)
    if spare.any():
        own = np.where(spare > 0, own * rng.chisquare(np.maximum(spare, 1), shape), 0)
        pooled = own.sum(axis=1, keepdims=True) / spare.sum()
        own = np.maximum(own / np.maximum(spare, 1), pooled)
    return expected + size + seed, own * (1 + 1 / counts)
