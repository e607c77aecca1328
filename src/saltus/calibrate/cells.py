"""Predictions gathered in cells of confidence: all that any error of calibration needs, and small.

A cell is a 960th of [0, 1], cut again where a bin of equal mass ends, so that every bin of either
kind is whole cells. A million predictions become about a thousand rows; nothing is lost to the
binned errors, and the smooth one is exact to a cell's width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.calibrate.errors import NUM_BINS, equal_mass_bins, equal_width_bins, pair
from saltus.calibrate.smooth import NUM_CELLS

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_GROUPS = 2000  # clusters beyond are gathered at random into so many


@dataclass(frozen=True, eq=False)
class Cells:
    """Sums of the C cells that hold a row, by rising confidence.

    count, confidence (sum), hits: (C,); width_bin, mass_bin, grid: the bin of either kind and the
    960th that each cell lies in, (C,); cell: that of each row (n,).
    """

    count: FloatArray
    confidence: FloatArray
    hits: FloatArray
    width_bin: IntArray
    mass_bin: IntArray
    grid: IntArray
    cell: IntArray

    @property
    def rows(self) -> float:
        """Number of predictions."""
        return float(self.count.sum())

    @property
    def residuals(self) -> FloatArray:
        """Sums of (y - c) / n by cell, (C,)."""
        return (self.hits - self.confidence) / self.rows

    def gather(self, values: FloatArray, bins: IntArray) -> FloatArray:
        """Sum values (..., C) over the cells of each bin, (..., bins.max() + 1)."""
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        sums = np.zeros((*values.shape[:-1], int(bins.max()) + 1))
        sums[..., bins[starts]] = np.add.reduceat(values, starts, axis=-1)
        return sums

    def on_grid(self, values: FloatArray) -> FloatArray:
        """Sum values (..., C) over the 960ths, (..., 960), empty ones 0."""
        sums = np.zeros((*values.shape[:-1], NUM_CELLS))
        found = self.gather(values, self.grid)
        sums[..., : found.shape[-1]] = found
        return sums


def gather(confidence: ArrayLike, correct: ArrayLike) -> Cells:
    """Return the cells of (n,) confidences and correctness; raises ValueError as `pair`."""
    conf, right = pair(confidence, correct)
    grid = np.minimum((conf * NUM_CELLS).astype(np.int64), NUM_CELLS - 1)
    width, mass = equal_width_bins(conf), equal_mass_bins(conf)
    # Of three cuts of one line any order of (width, grid, mass) is that of confidence.
    key = (width * NUM_CELLS + grid) * (NUM_BINS + 1) + mass
    found = np.bincount(key, minlength=1)
    held = np.flatnonzero(found)
    place = np.zeros(found.size, dtype=np.int64)
    place[held] = np.arange(held.size)
    cell = place[key]
    return Cells(
        count=found[held].astype(np.float64),
        confidence=np.bincount(cell, conf).astype(np.float64),
        hits=np.bincount(cell, right).astype(np.float64),
        width_bin=held // (NUM_BINS + 1) // NUM_CELLS,
        mass_bin=held % (NUM_BINS + 1),
        grid=held // (NUM_BINS + 1) % NUM_CELLS,
        cell=cell,
    )


def groups_of(cluster: ArrayLike | None, num_rows: int, seed: int = 0) -> tuple[IntArray, int]:
    """Return the resampled group of each row (n,) and their number, at most 2,000.

    Rows are independent if `cluster` is None. More clusters are gathered at random, which bounds
    the cost and leaves the variance unchanged in expectation.
    """
    if cluster is None:
        index, found = np.arange(num_rows), num_rows
    else:
        labels, index = np.unique(np.asarray(cluster), return_inverse=True)
        found = labels.size
    if found > MAX_GROUPS:
        index = (np.random.default_rng(seed).permutation(found) % MAX_GROUPS)[index]
        found = MAX_GROUPS
    return index.astype(np.int64), found
