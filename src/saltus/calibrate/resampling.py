"""Cluster bootstrap of what is signed: gap, Brier, NLL, squared l2 error, areas under risk.

Whole clusters (documents, items) are drawn with replacement by multinomial weights on sums, never
by copying rows: a draw costs as much for a million rows as for a thousand. Percentiles, but of the
squared l2 error moved to its estimate: its own noise comes a second time with every resample.
Never for absolute errors (`inversion`). Coverage: docs/statistics.md.

Legend: K groups, Q draws, J bins.
"""

import numpy as np
from numpy.typing import NDArray

from saltus.calibrate.cells import Cells
from saltus.calibrate.errors import Interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEVEL = 0.95
RISK_BINS = 256  # groups of equal mass that a resampled risk curve is made of


def resampling_weights(num_groups: int, draws: int, rng: np.random.Generator) -> FloatArray:
    """Multinomial weights, (draws, num_groups): how often each group is drawn."""
    share = np.full(num_groups, 1 / num_groups)
    return rng.multinomial(num_groups, share, draws).astype(np.float64)


def group_sums(
    group: IntArray, values: FloatArray, num_groups: int, bins: IntArray | None = None
) -> FloatArray:
    """Sum values (n,) by group, (K,), or by group and bin, (K, J)."""
    if bins is None:
        return np.bincount(group, values, num_groups).astype(np.float64)
    num_bins = int(bins.max()) + 1
    sums = np.bincount(group * num_bins + bins, values, num_groups * num_bins)
    return sums.reshape(num_groups, num_bins).astype(np.float64)


def interval(draws: FloatArray, estimate: float | None = None) -> Interval:
    """Return the central 95 % of draws (Q,), moved so that their mean is `estimate` if given."""
    if not np.isfinite(draws).all():
        return Interval(float("nan"), float("nan"))
    moved = draws if estimate is None else draws + (estimate - draws.mean())
    low, high = np.quantile(moved, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def mean_draws(
    values: FloatArray, group: IntArray, weights: FloatArray, num_groups: int
) -> FloatArray:
    """Return resampled means (Q, M) of the M columns of values (n, M)."""
    count = weights @ group_sums(group, np.ones(len(values)), num_groups)
    sums = np.stack([group_sums(group, column, num_groups) for column in values.T], axis=1)
    return np.asarray((weights @ sums) / count[:, None])


def l2_draws(
    cells: Cells, group: IntArray, weights: FloatArray, correct: FloatArray, confidence: FloatArray
) -> FloatArray:
    """Return resampled debiased squared l2 errors (Q,) in the bins of equal mass."""
    bins = cells.mass_bin[cells.cell]
    num = weights.shape[1]
    count, hits, total = (
        weights @ group_sums(group, values, num, bins)
        for values in (np.ones_like(correct), correct, confidence)
    )
    held = np.maximum(count, 2)
    rate, mean = hits / held, total / held
    noise = rate * (1 - rate) / (held - 1)
    share = count / count.sum(axis=1, keepdims=True)
    return np.asarray((share * ((rate - mean) ** 2 - noise)).sum(axis=1))


def risk_draws(
    confidence: FloatArray, correct: FloatArray, group: IntArray, weights: FloatArray
) -> FloatArray:
    """Return resampled (AURC, excess AURC, AUGRC), (Q, 3).

    Rows are gathered in 256 groups of equal mass by confidence, within which ties are averaged.
    """
    order = np.argsort(-confidence, kind="stable")
    bins = np.empty(confidence.size, dtype=np.int64)
    bins[order] = np.arange(confidence.size) * RISK_BINS // confidence.size
    num = weights.shape[1]
    count = weights @ group_sums(group, np.ones_like(correct), num, bins)
    wrong = weights @ group_sums(group, 1 - correct, num, bins)
    total = count.sum(axis=1, keepdims=True)
    before, errors = np.cumsum(count, axis=1) - count, np.cumsum(wrong, axis=1) - wrong
    inside = np.where(count > 0, wrong / np.maximum(count, 1), 0)
    # Mean risk over k of a bin: errors so far over rows so far, at its middle.
    middle = before + (count + 1) / 2
    risk = (errors + inside * (count + 1) / 2) / np.maximum(middle, 1)
    aurc = (count * risk).sum(axis=1) / total[:, 0]
    augrc = (count * risk * middle).sum(axis=1) / total[:, 0] ** 2
    failing = wrong.sum(axis=1) / total[:, 0]
    best = failing + (1 - failing) * np.log(np.maximum(1 - failing, 1e-12))
    return np.stack([aurc, aurc - best, augrc], axis=1)
