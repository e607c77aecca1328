"""Approach 1: at each compute, the size of least loss (Hoffmann et al. 2022, section 3.1).

The best size climbs a staircase, whose steps are the ladder's and not the optimum's: a line through
it is up to .05 too steep in a where a ladder has few steps and its ends cut one. What the curves
do fix is the compute at which the best size changes. There two sizes tie, and since the loss has
one minimum along N at fixed compute, it lies between them; where the loss is symmetric in log N
about it, as it is for near neighbours, it lies at their geometric mean. These are the points.
"""

import numpy as np

from saltus.law.curves import Curves
from saltus.law.path import MIN_POINTS, Path, Point, lines

MIN_STEPS = 3


def frontier(curves: Curves, fewest: int = MIN_POINTS) -> Path:
    """Return the path through the ties of the best size with the next best, along the grid.

    A change counts where both sizes have losses on both sides of it, so that the best size did not
    change for want of a run. The tie is where log losses cross, linear between grid values. A best
    size that is the smallest or largest at hand makes no point by itself: it is only a bound.
    """
    seen = np.isfinite(curves.loss)
    compared = np.flatnonzero(seen.sum(axis=0) >= 2)
    best = {int(g): int(np.nanargmin(curves.loss[:, g])) for g in compared}
    ends = {int(g): np.flatnonzero(seen[:, g])[[0, -1]] for g in compared}
    at_edge = sum(best[g] in ends[g] for g in best)
    points: list[Point] = []
    tied: set[int] = set()
    for g in best:
        if g + 1 not in best or best[g] == best[g + 1]:
            continue
        pair = [best[g], best[g + 1]]
        if not seen[pair, g : g + 2].all():
            continue
        logs = np.log(curves.loss[pair, g : g + 2])  # (old and new, left and right)
        gap = logs[0] - logs[1]
        share = float(gap[0] / (gap[0] - gap[1]))

        def between(values: np.ndarray, share: float = share) -> float:
            return float(np.exp(values[0] + share * (values[1] - values[0])))

        points.append(
            Point(
                between(curves.log_flops[g : g + 2]),
                float(np.exp(curves.log_params[pair].mean())),
                between(curves.log_tokens[pair, g : g + 2].mean(axis=0)),
                between(logs.mean(axis=0)),
            )
        )
        tied |= set(pair)
    found = tuple(points)
    if not len(compared):
        return Path("no compute has losses of 2 sizes")
    if len(found) < fewest or len(tied) < MIN_STEPS:
        return Path(
            f"the best size changes {len(found)} times, among {len(tied)} sizes; {fewest} "
            f"changes among {MIN_STEPS} are needed (it is the smallest or largest size at hand at "
            f"{at_edge} of {len(compared)} values of compute)",
            found,
        )
    a, b, means = lines(found)
    used = frozenset(curves.sizes[index] for index in tied)
    return Path("", found, (), used, a, b, *(float(mean) for mean in means))
