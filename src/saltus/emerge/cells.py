"""Replicas to be fitted: cells in one order, their sizes, and what the means fix of the curve.

Legend: C cells (replicas), S sizes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from saltus.emerge.axis import SIZE, Axis

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MAX_FLOOR = 0.02
_ALIKE = 0.05


@dataclass(frozen=True)
class Cells:
    """Replicas to be fitted, and what the curve holds fixed.

    log_scale, successes, trials: (C,); guess: lower asymptote; level: accuracy at the location, or
    None for the middle of what can be reached; lapse_free: whether the upper asymptote is fitted
    (in [0, .2], and above the level) or 1. rung: (C,) whole numbers, ascending with scale, of the
    cells that count as one size though their scales differ; None: cells of equal scale.
    """

    log_scale: FloatArray
    successes: FloatArray
    trials: FloatArray
    guess: float
    level: float | None = 0.5
    lapse_free: bool = False
    rung: IntArray | None = None

    @property
    def index(self) -> IntArray:
        """Which size each cell belongs to, 0 to S - 1, (C,)."""
        labels = self.log_scale if self.rung is None else self.rung
        return np.unique(labels, return_inverse=True)[1].astype(np.int64)

    @property
    def sizes(self) -> FloatArray:
        """Distinct log10 scales, ascending; of rungs their means, (S,)."""
        if self.rung is None:
            return np.unique(self.log_scale)
        index = self.index
        return np.asarray(np.bincount(index, self.log_scale) / np.bincount(index))

    @property
    def span(self) -> float:
        """Decades between the smallest and the largest size."""
        sizes = self.sizes
        return float(sizes[-1] - sizes[0])

    @property
    def gap(self) -> float:
        """Decades between the two closest sizes, at least a thousandth of the span."""
        return max(float(np.diff(self.sizes).min()), 1e-3 * self.span)

    def position(self, lapse: FloatArray | float) -> FloatArray:
        """F at the location, of the shape of `lapse`."""
        if self.level is None:
            return np.full_like(np.asarray(lapse, dtype=np.float64), 0.5)
        return np.asarray((self.level - self.guess) / (1 - self.guess - lapse), dtype=np.float64)

    def where(self, kept: NDArray[np.bool_]) -> "Cells":
        """Return the cells (C,) that are kept."""
        return replace(
            self,
            log_scale=self.log_scale[kept],
            successes=self.successes[kept],
            trials=self.trials[kept],
            rung=None if self.rung is None else self.rung[kept],
        )


@dataclass(frozen=True)
class Clusters:
    """Which cells hang together where one replica gives several: labels, each (C,).

    place: cells that count as one place of the ladder though their scales differ (a size at a
    horizon); size: what is drawn independently, and left out by the jackknife.
    """

    place: ArrayLike
    size: ArrayLike


def checked(
    scale: ArrayLike, successes: ArrayLike, trials: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return scale, successes and trials as arrays (C,); ValueError says what is impossible."""
    arrays = [np.asarray(values, dtype=np.float64) for values in (scale, successes, trials)]
    scales, hits, total = arrays
    if scales.ndim != 1 or scales.size == 0 or not scales.shape == hits.shape == total.shape:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"scale, successes, trials: found shapes {shapes}, expected one (C,)")
    if not (scales > 0).all():
        raise ValueError("scale: found a value that is not positive")
    if not ((hits >= 0) & (hits <= total) & (total > 0)).all():
        raise ValueError("successes: found a count outside [0, trials], or no trials")
    return scales, hits, total


def cells_of(
    scale: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    guess_rate: float,
    level: float,
    axis: Axis = SIZE,
    clusters: Clusters | None = None,
) -> tuple[Cells, IntArray | None]:
    """Cells in a canonical order, so that the order of rows cannot matter, and their sizes."""
    scales, hits, total = checked(scale, successes, trials)
    log_scale = np.log10(axis.ordered(scales))
    place = size = None
    if clusters is not None:
        index = np.unique(np.asarray(clusters.place), return_inverse=True)[1]
        size = np.unique(np.asarray(clusters.size), return_inverse=True)[1].astype(np.int64)
        if not index.shape == size.shape == log_scale.shape:
            raise ValueError(f"clusters: expected labels of shape {log_scale.shape}")
        centre = np.bincount(index, log_scale) / np.bincount(index)
        place = np.argsort(np.argsort(centre, kind="stable"))[index].astype(np.int64)
    order = np.lexsort((total, hits, axis.ordered(scales)))
    cells = Cells(
        log_scale[order],
        hits[order],
        total[order],
        guess=0.0,
        rung=None if place is None else place[order],
    )
    means = size_means(cells)
    floor = residual_floor(cells)
    cells = replace(
        cells,
        guess=float(min(max(min(guess_rate, means.min()), floor), level)),
        level=level,
        lapse_free=plateau_sizes(cells) >= 2,
    )
    return cells, None if size is None else size[order]


def plateau_sizes(cells: Cells) -> int:
    """How many of the largest sizes lie on the plateau: mean accuracy ≥ .75, within .1 of the best.

    Counted from the largest size down until the first that does not qualify.
    """
    means = size_means(cells)
    qualifies = (means >= 0.75) & (means >= means.max() - 0.1)
    below = np.flatnonzero(~qualifies[::-1])
    return int(below[0]) if below.size else int(means.size)


def residual_floor(cells: Cells) -> float:
    """Accuracy of the smallest sizes where it has not begun to rise, 0 if that is not identified.

    A few answers in a thousand are right by luck without any ability; a logistic curve from 0 would
    have to be wide to reach them. Of the smallest sizes with means up to .02, the last may already
    rise and is left out; the others, at least two, must not differ beyond drawing items (Pearson's
    chi-squared, p > .05). Their mean over replicas is the floor.
    """
    means = size_means(cells)
    above = np.flatnonzero(means > _MAX_FLOOR)
    low = (int(above[0]) if above.size else means.size) - 1
    if low < 2:
        return 0.0
    index = cells.index
    hits = np.bincount(index, cells.successes)[:low]
    trials = np.bincount(index, cells.trials)[:low]
    share = float(hits.sum() / trials.sum())
    if share <= 0:
        return 0.0
    squares = float(((hits - trials * share) ** 2 / (trials * share * (1 - share))).sum())
    return float(means[:low].mean()) if special.chdtrc(low - 1, squares) > _ALIKE else 0.0


def size_means(cells: Cells) -> FloatArray:
    """Mean accuracy of the replicas of each size, every replica counting once, (S,)."""
    index = cells.index
    share = cells.successes / cells.trials
    return np.asarray(np.bincount(index, share) / np.bincount(index))
