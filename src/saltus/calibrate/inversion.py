"""Intervals of absolute errors by test inversion, and what a calibrated model would show.

An absolute error is a sum of absolute values, T = sum_j |m_j|, of the signed gaps of bins or of the
smoothed residual. Noise adds to it where the truth is near 0, so no bootstrap of it covers. Here

    m_j = a s_j + e_j

with e drawn at the model's own confidences, s a shape of miscalibration, and a its size. A size is
kept if the observed T lies within the central 95 % of its distribution and, of bins, the sum of
squares of m within 99 %. What the shape is, is not known, so the interval is of all sizes that any
of four shapes keeps: the observed gaps, the same less one and two standard errors of noise, and
equal gaps. The more evenly a gap is spread the less noise adds to T; the four reach from there to
few bins.

Binned errors are of the population gaps in these very bins. Coverage: docs/statistics.md.

Legend: Q draws, J bins or grid cells, C cells of confidence, A sizes tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saltus.calibrate.cells import Cells
from saltus.calibrate.clusters import ALONE, Clustering
from saltus.calibrate.errors import Interval
from saltus.calibrate.smooth import NUM_CELLS, smooth, smooth_errors

FloatArray = NDArray[np.float64]

DRAWS = 400
BINNED = ("ece", "ece_equal_mass")
FEW_DRAWS = 25  # of a floor that is averaged over runs
LEVEL = 0.95
CONSISTENT = 0.005  # of the sum of squares, on either side
THRESHOLDS = (0.0, 1.0, 2.0)  # standard errors of noise taken off the observed gaps
NUM_SIZES = 33
PASSES = 2  # the second between the ends and what is outside of them
_TINY = 1e-300


@dataclass(frozen=True)
class AbsoluteErrors:
    """Absolute errors by name, with the interval and the floor of each.

    A floor is the mean of a perfectly calibrated model with these very confidences.
    """

    errors: dict[str, float]
    intervals: dict[str, Interval]
    floors: dict[str, float]


def run_errors(
    cells: Cells, clustering: Clustering = ALONE, *, draws: int = DRAWS, seed: int = 0
) -> AbsoluteErrors:
    """Return all three errors of `cells` and their floors, and the interval of `ece` alone.

    Intervals have what `clustering` adds, floors are of independent rows.
    """
    width = _width(cells)
    null, noise = _both_noises(cells, width, clustering, draws, seed)
    found = _binned(cells, null, noise, inverted=("ece",))
    found.errors["smooth_ece"], found.floors["smooth_ece"] = _smooth(cells, null[:FEW_DRAWS])
    return found


def absolute_errors(
    cells: Cells, clustering: Clustering = ALONE, *, draws: int = DRAWS, seed: int = 0
) -> AbsoluteErrors:
    """Return all three errors of `cells` with their intervals and floors."""
    width = _width(cells)
    null, noise = _both_noises(cells, width, clustering, draws, seed)
    binned = _binned(cells, null, noise)
    on_grid = cells.on_grid(cells.residuals)
    value, floor = _smooth(cells, null[: draws // 4])
    step = _step(width)
    field, spread = smooth(on_grid, width), smooth(cells.on_grid(noise), width)
    shapes = _shapes(field, spread, _mass(cells, width))
    seen = [_thinned(smooth(shape, width), step) for shape in shapes]
    kept = _kept_shapes(_thinned(field, step), _thinned(spread, step), seen, consistent=False)
    # What is seen of a shape is smoothed; how large it is, is its own smooth error.
    raw = {id(after): before for before, after in zip(shapes, seen, strict=True)}
    ends = [size * raw[id(shape)] for shape, sizes in kept for size in sizes]
    found = _hull(smooth_errors(np.stack(ends)).tolist() if ends else [])
    return AbsoluteErrors(
        {**binned.errors, "smooth_ece": value},
        {**binned.intervals, "smooth_ece": found, "over_error": _over(cells, noise)},
        {**binned.floors, "smooth_ece": floor},
    )


def _over(cells: Cells, noise: FloatArray) -> Interval:
    """Return the interval of OE: only gaps below 0 are as large as is tried, others as seen."""
    bins = cells.width_bin
    gaps, scatter = cells.gather(cells.residuals, bins), cells.gather(noise, bins)
    count = cells.gather(cells.count, bins)
    weight = cells.gather(cells.confidence, bins) / np.maximum(count, 1)
    tried = [*_shapes(gaps, scatter, count / cells.rows), -count / cells.rows]
    values = []
    for shape in tried:
        over = np.minimum(shape, 0)
        if over.any():
            shift = scatter + np.maximum(shape, 0)
            ends = _kept(over, shift, float(weight @ np.maximum(-gaps, 0)), None, weight)
            values += [size * float(weight @ -over) for size in ends or ()]
    return _hull(values)


def _smooth(cells: Cells, null: FloatArray) -> tuple[float, float]:
    """Return the smooth error and its floor, the mean over draws of a calibrated model."""
    fields = np.concatenate([cells.residuals[None], null])
    found = smooth_errors(cells.on_grid(fields))
    return float(found[0]), float(found[1:].mean())


def _binned(
    cells: Cells, null: FloatArray, noise: FloatArray, inverted: Sequence[str] = BINNED
) -> AbsoluteErrors:
    """Return the binned errors and floors, and the intervals of those `inverted`."""
    found = AbsoluteErrors({}, {}, {})
    for name, bins in zip(BINNED, (cells.width_bin, cells.mass_bin), strict=True):
        gaps = cells.gather(cells.residuals, bins)
        found.errors[name] = float(np.abs(gaps).sum())
        found.floors[name] = float(np.abs(cells.gather(null, bins)).sum(axis=-1).mean())
        if name not in inverted:
            continue
        scatter = cells.gather(noise, bins)
        share = cells.gather(cells.count, bins) / cells.rows
        kept = _kept_shapes(gaps, scatter, _shapes(gaps, scatter, share))
        # A shape of bins is as large as its sum.
        values = [size * float(np.abs(shape).sum()) for shape, ends in kept for size in ends]
        found.intervals[name] = _hull(values)
    return found


def _width(cells: Cells) -> float:
    """Return the smooth error, the bandwidth at which the residual is read; a cell at least."""
    residuals = cells.on_grid(cells.residuals)
    return max(float(smooth_errors(residuals[None])[0]), 1 / NUM_CELLS)


def _mass(cells: Cells, width: float) -> FloatArray:
    return np.maximum(smooth(cells.on_grid(cells.count) / cells.rows, width), _TINY)


def _both_noises(
    cells: Cells, width: float, clustering: Clustering, draws: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Draw sums of (y - p) / n by cell, (Q, C): of a calibrated model, and of the one at hand."""
    rng = np.random.default_rng(seed)
    calm = cells.confidence / cells.count
    off = smooth(cells.on_grid(cells.residuals), width) / _mass(cells, width)
    rate = np.clip(calm + off[cells.grid], 0, 1)
    null = _noise(cells, np.clip(calm, 0, 1), draws, rng)
    noise = np.sqrt(clustering.effect) * _noise(cells, rate, draws, rng)
    if clustering.common > 0:
        shift = clustering.common * rng.standard_normal(draws)
        noise += np.outer(shift, cells.count / cells.rows)
    return null, noise


def _hull(values: list[float]) -> Interval:
    """Return the interval of all values kept; [0, 0] of none: less was seen than noise gives."""
    return Interval(min(values), max(values)) if values else Interval(0.0, 0.0)


def _thinned(field: FloatArray, step: int) -> FloatArray:
    """Return every `step`-th of a smoothed field (..., G), scaled to keep its sum."""
    return field[..., step // 2 :: step] * step


def _step(width: float) -> int:
    """Return every how many cells a field smoothed at `width` is read: at least 4 in a width."""
    finest = max(1, int(width * NUM_CELLS / 4))
    return max(step for step in range(1, finest + 1) if NUM_CELLS % step == 0)


def _noise(cells: Cells, rate: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """Draw sums of (y - p) / n by cell, (Q, C), rows right with probability `rate` (C,)."""
    hits = rng.binomial(cells.count.astype(np.int64), rate, (draws, rate.size))
    return (hits - cells.count * rate) / cells.rows


def _shapes(observed: FloatArray, noise: FloatArray, share: FloatArray) -> list[FloatArray]:
    """Return the shapes (J,) of miscalibration that are tried.

    share: (J,), of rows; noise: (Q, J).
    """
    deviation = np.sqrt((noise**2).mean(axis=0))
    size = np.abs(observed)
    shapes = [np.sign(observed) * np.maximum(size - k * deviation, 0) for k in THRESHOLDS]
    shapes.append(np.where(observed < 0, -share, share))
    return [shape for shape in shapes if shape.any()]


def _kept_shapes(
    observed: FloatArray, noise: FloatArray, shapes: list[FloatArray], *, consistent: bool = True
) -> list[tuple[FloatArray, tuple[float, float]]]:
    """Return the shapes of which a size is kept, with the least and the largest of them.

    Those `consistent` in their sum of squares; all, if none is. A shape read off a smoothed field
    and smoothed again is flatter than the truth's, and its squares say nothing.
    """
    total, squares = float(np.abs(observed).sum()), float((observed**2).sum())
    for limit in (squares, None) if consistent else (None,):
        found = [(shape, _kept(shape, noise, total, limit)) for shape in shapes]
        kept = [(shape, ends) for shape, ends in found if ends is not None]
        if kept:
            return kept
    return []


def _kept(
    shape: FloatArray,
    noise: FloatArray,
    total: float,
    squares: float | None,
    over: FloatArray | None = None,
) -> tuple[float, float] | None:
    """Return the least and largest size of one shape that is kept, None if none is.

    `total` is of absolute values, or if `over` is given, of what is below 0 by these weights (J,).
    """
    # Noise takes at most its own sum off the total.
    weight = np.ones(shape.size) if over is None else over
    reach = (total + float((np.abs(noise) @ weight).max())) / float(np.abs(shape) @ weight)
    tail = (1 - LEVEL) / 2
    ends: tuple[float, float] | None = None
    edges = [(0.0, reach)]
    for _ in range(PASSES):
        sizes = np.unique(np.concatenate([np.linspace(*edge, NUM_SIZES) for edge in edges]))
        sums, squared = _sums(sizes, shape, noise, over)
        below = (sums <= total).mean(axis=1)
        inside = (tail <= below) & (below <= 1 - tail)
        if squares is not None:
            smaller = (squared <= squares).mean(axis=1)
            inside &= (smaller >= CONSISTENT) & (smaller <= 1 - CONSISTENT)
        if not inside.any():
            return ends
        first, last = np.flatnonzero(inside)[[0, -1]]
        ends = (float(sizes[first]), float(sizes[last]))
        edges = [
            (float(sizes[max(first - 1, 0)]), ends[0]),
            (ends[1], float(sizes[min(last + 1, sizes.size - 1)])),
        ]
    return ends


def _sums(
    sizes: FloatArray, shape: FloatArray, noise: FloatArray, over: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return sums over bins of |a s + e|, and of its square, (A, Q) each.

    Of `over` * max(-(a s + e), 0) if weights (J,) are given. Bin by bin, so that what is worked on
    stays in the cache however many there are.
    """
    sums, squares = np.zeros((2, sizes.size, len(noise)))
    for place, (gap, drawn) in enumerate(zip(shape, np.ascontiguousarray(noise.T), strict=True)):
        found = np.add.outer(sizes * gap, drawn) if gap else drawn[None]
        squares += found**2
        sums += np.abs(found) if over is None else over[place] * np.maximum(-found, 0)
    return sums, squares
