"""Whether accuracy falls with size in earnest: a fall across the level against chance.

A fall counts if it starts at a mean at or above the level and ends at a later, lower mean that is
not clearly above the level: one whose 95 % interval over replicas reaches below it. The end is an
interval and not the mean itself, so that a mean of exactly the level is judged as one just below.
The interval is Wilson's (1927) at the effective number of answers of over-dispersed replicas,

    n_eff = R / (rho + (1 - rho) / n)    R replicas of n trials, intra-class correlation rho,

which reaches below the level L while the mean is under L + 1.96 sqrt(L (1 - L) / n_eff).

Legend: C cells (replicas), S sizes, P simulated data sets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from saltus.emerge.cells import Cells, size_means

FloatArray = NDArray[np.float64]

_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Fall:
    """The largest fall that counts: from size `start` to size `end` (indices), and its p-value."""

    start: int
    end: int
    p_value: float


def largest_fall(cells: Cells, curve_rho: float, seed: int, draws: int = 1999) -> Fall | None:
    """Largest fall towards or below the level, and how often chance makes one as large.

    The p-value is a parametric bootstrap: replicas are beta-binomial about the closest monotone
    (isotonic) means, with the over-dispersion seen within sizes (moments), or `curve_rho` if no
    size has two replicas. Each data set drawn is searched for its own largest fall, as the data
    are. None if no fall counts.
    """
    level, index = cells.level, cells.index
    assert level is not None, "a fall is one across an absolute level"
    counts = np.bincount(index)
    means = size_means(cells)
    share = cells.successes / cells.trials
    inverse_trials = float((1 / cells.trials).mean())
    rho = _within_sizes(share, means, index, counts, inverse_trials, curve_rho)
    effective = counts / (rho + (1 - rho) * inverse_trials)
    clearly = level + _Z * np.sqrt(level * (1 - level) / effective)
    falls = _falls(means[None, :], level, clearly)[0]
    end = int(falls.argmax())
    if falls[end] <= 0:
        return None
    monotone = optimize.isotonic_regression(means, weights=counts).x[index]
    monotone = np.clip(monotone, 1e-6, 1 - 1e-6)
    concentration = ((1 - rho) / rho)[index]
    rng = np.random.default_rng(seed)
    chance = rng.beta(monotone * concentration, (1 - monotone) * concentration, (draws, share.size))
    drawn = rng.binomial(cells.trials.astype(np.int64), chance) / cells.trials
    member = (index[:, None] == np.arange(counts.size)) / counts
    simulated = _falls(drawn @ member, level, clearly).max(axis=1)
    as_large = int((simulated >= falls[end] - 1e-12).sum())
    return Fall(int(means[:end].argmax()), end, (1 + as_large) / (1 + draws))


def _within_sizes(
    share: FloatArray,
    means: FloatArray,
    index: NDArray[np.int64],
    counts: NDArray[np.int64],
    inverse_trials: float,
    curve_rho: float,
) -> FloatArray:
    """Intra-class correlation of replicas about their size's mean, (S,).

    That pooled over sizes, or the size's own where it is larger: five seeds of which two succeed
    say less about a mean than five that agree, and pooling would hide it.
    """
    binomial = (counts - 1) * means * (1 - means)
    within = np.bincount(index, (share - means[index]) ** 2)
    pooled, own = curve_rho, np.zeros(counts.size)
    if binomial.sum() > 0:
        pooled = (within.sum() / binomial.sum() - inverse_trials) / (1 - inverse_trials)
        ratio = np.divide(within, binomial, out=own, where=binomial > 0)
        own = (ratio - inverse_trials) / (1 - inverse_trials)
    rho: FloatArray = np.clip(np.maximum(pooled, own), 1e-4, 0.98)
    return rho


def _falls(means: FloatArray, level: float, clearly: FloatArray) -> FloatArray:
    """Fall from the running maximum, where that is at/above the level, to each size; (P, S).

    clearly: (S,), the mean from which on a size is clearly above the level. 0 where none counts.
    """
    highest = np.maximum.accumulate(means, axis=1)
    counts = (highest >= level) & (means < clearly)
    return np.where(counts, highest - means, 0.0)
