"""Approach 2: at each compute, the vertex of a parabola of loss in log N (Hoffmann 2022, sec. 3.2).

A parabola is the loss only near its minimum, and least squares over sizes that reach further on one
side of it than on the other move its vertex: by up to .015 in a on tables without noise. So the
sizes are those around the lowest loss, as many on either side. What bias is left, where sizes are
unevenly spaced or alpha and beta differ, is measured in `approaches` on losses of the fitted law.
"""

import numpy as np
from numpy.typing import NDArray

from saltus.law.curves import Curves
from saltus.law.path import MIN_POINTS, Parabola, Path, Point, lines

Array = NDArray[np.float64]

MIN_ACROSS = 5


def isoflop(curves: Curves, fewest: int = MIN_POINTS) -> Path:
    """Return the path of the parabolas' vertices over the grid of compute.

    A parabola needs 5 sizes with losses at that compute, the lowest loss with two of them or more
    on either side, convexity, and a vertex between them. Values of compute that lie between the
    same horizons of the same sizes are one distinct point.
    """
    points: list[Point] = []
    parabolas: list[Parabola] = []
    keys: set[tuple[tuple[int, int], ...]] = set()
    used: set[str] = set()
    few = at_edge = no_vertex = 0
    for g, log_flops in enumerate(curves.log_flops):
        seen = np.flatnonzero(np.isfinite(curves.loss[:, g]))
        if len(seen) < MIN_ACROSS:
            few += 1
            continue
        lowest = int(np.argmin(curves.loss[seen, g]))
        reach = min(lowest, len(seen) - 1 - lowest)
        if reach < MIN_ACROSS // 2:
            at_edge += 1
            continue
        here = seen[lowest - reach : lowest + reach + 1]
        x = curves.log_params[here]
        vertex, height, curvature = parabola(x, curves.loss[here, g])
        if not (curvature > 0 and x[0] < vertex < x[-1]):
            no_vertex += 1
            continue
        flops, params = float(np.exp(log_flops)), float(np.exp(vertex))
        tokens = float(np.exp(np.interp(vertex, x, curves.log_tokens[here, g])))
        points.append(Point(flops, params, tokens, height))
        centre = float((vertex - x[0]) / (x[-1] - x[0]))
        parabolas.append(Parabola(flops, params, curvature, len(here), centre))
        keys.add(tuple((int(i), int(curves.segment[i, g])) for i in here))
        used |= {curves.sizes[i] for i in here}
    found, made = tuple(points), tuple(parabolas)
    if len(keys) < fewest:
        return Path(
            f"{len(keys)} distinct parabolas with a vertex inside; {fewest} are needed (of "
            f"{len(curves.log_flops)} values of compute {few} have fewer than {MIN_ACROSS} sizes, "
            f"{at_edge} their lowest loss within one size of the smallest or largest, {no_vertex} "
            "no vertex between them)",
            found,
            made,
        )
    a, b, means = lines(found)
    return Path("", found, made, frozenset(used), a, b, *(float(mean) for mean in means))


def parabola(x: Array, y: Array) -> tuple[float, float, float]:
    """Return vertex, height and second derivative of the least-squares parabola through (x, y)."""
    centre = x.mean()
    z = x - centre
    c, b, a = np.linalg.lstsq(np.stack([np.ones_like(z), z, z * z], axis=1), y, rcond=None)[0]
    if a == 0:
        return float("nan"), float("nan"), 0.0
    vertex = -b / (2 * a)
    return float(centre + vertex), float(c + b * vertex / 2), float(2 * a)
