"""What clusters of rows (documents, problems) add to the noise of gaps.

Rows of a cluster err alike. Inside a bin that multiplies the variance of its gap; across bins a
cluster is off in one direction, so that the mean gap scatters more than its bins do by themselves,
and an error of one sign with it. With r the rows' gaps less the means of their bins, n rows, K
clusters k and bins j,

    effect = K / (K - 1) · Σ_kj (Σ r in k and j)² / Σ r²                (Kish 1965), 1 at least
    common² = (K / (K - 1) · Σ_k (Σ r in k)² - effect · Σ r²) / n²      0 at least

the first part of which is the cluster-robust variance of the mean gap (Liang and Zeger 1986).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saltus.calibrate.cells import Cells
from saltus.calibrate.resampling import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Clustering:
    """What clusters add to the noise of independent rows, by default nothing.

    `effect` multiplies the variance of a bin's gap (Kish 1965), 1 at least. `common` is the
    standard deviation of a shift that all bins share, beyond that: with both, the mean gap has
    its cluster-robust variance.
    """

    effect: float = 1.0
    common: float = 0.0


ALONE = Clustering()


def clustering_of(
    cells: Cells, group: IntArray, num_groups: int, correct: FloatArray, confidence: FloatArray
) -> Clustering:
    """Return what clusters add to rows (n,) of groups `group` (n,), numbered below `num_groups`.

    Nothing if there is one group alone, of which no variance can be told.
    """
    bins = cells.mass_bin[cells.cell]
    gap = correct - confidence
    count = np.bincount(bins).astype(np.float64)
    mean = np.bincount(bins, gap) / np.maximum(count, 1)
    off = gap - mean[bins]
    alone = float((off**2).sum())
    if alone <= 0 or num_groups < 2:
        return ALONE
    few = num_groups / (num_groups - 1)
    effect = max(1.0, float((group_sums(group, off, num_groups, bins) ** 2).sum()) / alone * few)
    whole = float((group_sums(group, off, num_groups) ** 2).sum()) * few
    return Clustering(effect, float(np.sqrt(max(0.0, whole - effect * alone))) / gap.size)
