"""Intervals of the curve's location, middle and width: by profile, or by leaving sizes out.

Profile: the parameter is held, everything else refitted, and the interval is where the deviance
2 (max l - max l given the parameter) stays below a cutoff. Jackknife: where one replica gives
several cells (a trunk at its horizons), cells are not independent and the likelihood knows too
much; whole sizes are left out instead.

An end is None where the data do not close it within what was tried.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from saltus.emerge.cells import Cells
from saltus.emerge.psychometric import (
    DECADES,
    CurveFit,
    bounds,
    fit_curve,
    log_likelihood,
    parameters_of,
    polish,
    spread_locations,
    starts,
)
from saltus.law.ends import DeleteOne

FloatArray = NDArray[np.float64]
Ends = tuple[float | None, float | None]

_LOCATION, _LOG_WIDTH = 0, 1
_MAX_GRID = 33
_WIDTH_GRID = 25
_BISECTIONS = 7


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of location and middle (log10 of the scale) and of the width (decades)."""

    location: Ends
    middle: Ends
    width: Ends


def profiled(cells: Cells, fit: CurveFit, cutoff: float) -> Intervals:
    """Profile-likelihood intervals: where the deviance is below `cutoff`."""
    location = location_interval(cells, fit, cutoff)
    middle = location
    if fit.middle != fit.location:
        halfway = replace(cells, level=None)
        middle = location_interval(halfway, replace(fit, location=fit.middle), cutoff)
    return Intervals(location, middle, width_interval(cells, fit, cutoff))


def left_out(cells: Cells, fit: CurveFit, size: NDArray[np.int64]) -> Intervals:
    """Delete-one-size jackknife intervals, t with S - 1 degrees of freedom.

    size: (C,), which of S sizes a cell belongs to. Location, middle and log width are refitted
    without each size in turn, from the same rules; S must be at least 3.
    """
    labels = np.unique(size)
    refits = [fit_curve(cells.where(size != label)) for label in labels]
    rule = DeleteOne(labels.size - 1)

    def inside(centre: float, values: list[float], low: float, high: float) -> Ends:
        lower, upper = (float(end) for end in rule.ends(np.array(centre), np.array(values)))
        return (lower if lower > low else None, upper if upper < high else None)

    tried = float(cells.sizes[0]), float(cells.sizes[-1])
    log_widths = [float(np.log(refit.width)) for refit in refits]
    return Intervals(
        location=inside(fit.location, [refit.location for refit in refits], *tried),
        middle=inside(fit.middle, [refit.middle for refit in refits], *tried),
        width=_decades(inside(float(np.log(fit.width)), log_widths, *bounds(cells)[_LOG_WIDTH])),
    )


def _decades(log_width: Ends) -> Ends:
    """Return the ends of the N10-N90 width from those of log w."""
    low, high = (None if end is None else DECADES * float(np.exp(end)) for end in log_width)
    return low, high


def location_interval(cells: Cells, fit: CurveFit, cutoff: float) -> Ends:
    """Profile-likelihood interval of the location (log10 of the scale).

    The profile is walked over the range tried, in steps of half a ladder gap. An end is None where
    the deviance is still below the cutoff at the smallest (largest) size.
    """
    sizes = cells.sizes
    num = min(2 * (sizes.size - 1) + 1, _MAX_GRID)
    grid = np.interp(np.linspace(0, sizes.size - 1, num), np.arange(sizes.size), sizes)
    inside = float(np.clip(fit.location, sizes[0], sizes[-1]))

    def dispersed(location: float) -> FloatArray:
        return starts(cells, np.array([location]))

    return _walked(cells, fit, cutoff, _LOCATION, grid, inside, dispersed)


def width_interval(cells: Cells, fit: CurveFit, cutoff: float) -> Ends:
    """Profile-likelihood interval of the N10-N90 width in decades.

    The low end is None where a step is as likely, the high end where twice the span of all sizes
    is.
    """
    narrowest, widest = bounds(cells)[_LOG_WIDTH]
    grid = np.linspace(narrowest, widest, _WIDTH_GRID)
    locations = spread_locations(cells)

    def dispersed(log_width: float) -> FloatArray:
        return starts(cells, locations, np.array([log_width]))

    inside = float(np.log(fit.width))
    return _decades(_walked(cells, fit, cutoff, _LOG_WIDTH, grid, inside, dispersed))


def _walked(
    cells: Cells,
    fit: CurveFit,
    cutoff: float,
    which: int,
    grid: FloatArray,
    inside: float,
    dispersed: Callable[[float], FloatArray],
) -> Ends:
    """Walk the profile of parameter `which` from `inside` outwards over `grid`, ascending.

    Each point is polished from the best of the dispersed starts and of the neighbour's solution; an
    end is the outermost crossing of the cutoff, refined by bisection.
    """
    at_fit = parameters_of(fit)

    def deviance(value: float, warm: FloatArray) -> tuple[float, FloatArray]:
        tried = np.vstack([dispersed(value), warm])
        tried[-1, which] = value
        found = tried[int(np.argmax(log_likelihood(cells, tried)[0]))]
        parameters, reached, _ = polish(cells, found, which)
        return 2 * (fit.log_likelihood - reached), parameters

    def end(points: FloatArray) -> float | None:
        """Outermost crossing of the cutoff along `points`, which lead away from the estimate."""
        inner, outer = float(at_fit[which]), None
        warm = inner_warm = at_fit
        for point in points:
            excess, warm = deviance(float(point), warm)
            if excess <= cutoff:
                inner, inner_warm, outer = float(point), warm, None
            elif outer is None:
                outer = float(point)
        if outer is None:
            return None
        for _ in range(_BISECTIONS):
            middle = (inner + outer) / 2
            excess, found = deviance(middle, inner_warm)
            if excess <= cutoff:
                inner, inner_warm = middle, found
            else:
                outer = middle
        return (inner + outer) / 2

    return end(grid[grid < inside][::-1]), end(grid[grid > inside])
