r"""Compute-optimal sizes read off the curves: the envelope (approach 1) and isoFLOPs (approach 2).

Both end in points (C, N*, D*) and two lines, log N* = log G + a log C and log D* = log H + b log C
(Hoffmann et al. 2022, sections 3.1 and 3.2). What the data cannot say is refused with its reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from saltus.law.curves import Curve, compute_range, curves_of
from saltus.law.intervals import SIZE_PARAMETERS, jackknife_error

Array = NDArray[np.float64]

MIN_POINTS = 5
GRID = 400  # computes at which the envelope is read
LEVELS = 16  # computes at which a parabola is laid
PER_PARABOLA = 5  # sizes


@dataclass(frozen=True, eq=False)
class Frontier:
    """The lines through compute-optimal points; `lines` (2, 2) are (level, slope) of N and of D.

    `points` has columns flops, params, tokens, loss. `lines` is None with a `reason` if refused.
    """

    points: pd.DataFrame
    lines: Array | None
    reason: str

    def optimum(self, flops: float) -> Array:
        """Return log N* and log D* (2,) at a compute."""
        assert self.lines is not None
        return np.asarray(self.lines @ [1.0, np.log(flops)])


def envelope_points(curves: Sequence[Curve]) -> tuple[pd.DataFrame, str]:
    """Return one point per size that is best over some compute, and why others have none.

    At each compute of a fine grid that at least three sizes cover, the best of them reigns. The
    reign of the smallest or largest of those counts for nothing: a better size may lie beyond. A
    size's point is the middle of its reign, in log C.
    """
    reigns: dict[str, list[float]] = {}
    at_edge = 0
    for log_flops in np.linspace(*compute_range(curves), GRID):
        here = [curve for curve in curves if curve.covers(log_flops)]
        if len(here) < 3:
            continue
        best = int(np.argmin([curve.at(log_flops)[0] for curve in here]))
        if best in (0, len(here) - 1):
            at_edge += 1
        else:
            reigns.setdefault(here[best].size, []).append(float(log_flops))
    by_size = {curve.size: curve for curve in curves}
    rows = []
    for size, reign in reigns.items():
        middle = (min(reign) + max(reign)) / 2
        curve = by_size[size]
        log_loss, log_tokens = curve.at(middle)
        rows.append([middle, curve.log_params, log_tokens, log_loss])
    told = (
        f"{len(rows)} sizes are best between smaller and larger ones; the smallest or largest size "
        f"is best at {at_edge} of {GRID} computes"
    )
    return _table(rows), told


def isoflop_points(curves: Sequence[Curve]) -> tuple[pd.DataFrame, str]:
    """Return a parabola's vertex in log N at each compute level, and what became of the others.

    A level needs five sizes that cover it, its lowest loss between others, a parabola that opens
    upwards, and a vertex within the sizes.
    """
    rows = []
    few = edge = 0
    for log_flops in np.linspace(*compute_range(curves), LEVELS):
        here = [curve for curve in curves if curve.covers(log_flops)]
        if len(here) < PER_PARABOLA:
            few += 1
            continue
        x = np.array([curve.log_params for curve in here])
        found = np.array([curve.at(log_flops) for curve in here])
        losses = np.exp(found[:, 0])
        best = int(np.argmin(losses))
        middle = x.mean()
        curvature, slope, level = np.polyfit(x - middle, losses, 2)
        vertex = -slope / (2 * curvature) if curvature > 0 else np.inf
        if best in (0, len(here) - 1) or not x[0] < vertex + middle < x[-1]:
            edge += 1
            continue
        log_tokens = float(np.interp(vertex + middle, x, found[:, 1]))
        lowest = level + slope * vertex + curvature * vertex**2
        rows.append([float(log_flops), vertex + middle, log_tokens, float(np.log(lowest))])
    told = (
        f"{len(rows)} of {LEVELS} computes have a minimum between sizes; at {edge} it lies at the "
        f"edge, at {few} fewer than {PER_PARABOLA} sizes meet"
    )
    return _table(rows), told


def _table(rows: list[list[float]]) -> pd.DataFrame:
    values = np.exp(np.array(rows, dtype=float).reshape(-1, 4))
    return pd.DataFrame(values, columns=["flops", "params", "tokens", "loss"]).sort_values(
        "flops", ignore_index=True
    )


Reader = Callable[[Sequence[Curve]], tuple[pd.DataFrame, str]]
READERS: dict[str, Reader] = {"envelope": envelope_points, "isoflop": isoflop_points}


def frontier(points: pd.DataFrame, approach: str) -> Frontier:
    """Read an approach's points off a table of `curves.mean_points`, and lay the lines."""
    curves = curves_of(points)
    if len(curves) < 3:
        empty = _table([])
        return Frontier(empty, None, f"{len(curves)} sizes have two horizons; a frontier needs 3")
    found, told = READERS[approach](curves)
    if len(found) < MIN_POINTS:
        return Frontier(found, None, f"{told}: fewer than {MIN_POINTS} points")
    design = np.stack([np.ones(len(found)), np.log(found["flops"])], axis=1)
    ends = np.log(found[["params", "tokens"]].to_numpy(dtype=float))
    lines = np.linalg.lstsq(design, ends, rcond=None)[0].T
    return Frontier(found, lines, "")


@dataclass(frozen=True, eq=False)
class FrontierErrors:
    """The frontier without each size in turn: `lines` (S, 2, 2); t on S - 3."""

    whole: Frontier
    lines: Array

    @property
    def quantile(self) -> float:
        """Two-sided 95 % t quantile."""
        return float(stats.t.ppf(0.975, len(self.lines) - SIZE_PARAMETERS))

    @property
    def method(self) -> str:
        """The method, in words."""
        dof = len(self.lines) - SIZE_PARAMETERS
        plural = "" if dof == 1 else "s"
        return f"delete-one-size jackknife, t with {dof} degree{plural} of freedom"

    def slopes(self) -> Array:
        """Return (low, high) of a and of b: (2, 2)."""
        assert self.whole.lines is not None
        half = self.quantile * jackknife_error(self.lines[:, :, 1])
        centre = self.whole.lines[:, 1]
        return np.stack([centre - half, centre + half], axis=1)

    def optimum(self, flops: float) -> Array:
        """Return (low, high) of log N* and of log D* at a compute: (2, 2)."""
        values = self.lines @ np.array([1.0, np.log(flops)])
        half = self.quantile * jackknife_error(values)
        centre = self.whole.optimum(flops)
        return np.stack([centre - half, centre + half], axis=1)


def frontier_errors(
    points: pd.DataFrame, approach: str, whole: Frontier
) -> tuple[FrontierErrors | None, str]:
    """Leave out each size in turn, points and all; None with a reason where that cannot be done."""
    sizes = list(dict.fromkeys(points["size"]))
    if len(sizes) - SIZE_PARAMETERS < 1:
        return None, f"{len(sizes)} sizes leave no degree of freedom for an interval"
    parts = [frontier(points[points["size"] != size], approach) for size in sizes]
    refused = [size for size, part in zip(sizes, parts, strict=True) if part.lines is None]
    if refused:
        return None, f"no interval: without {refused[0]} the data cannot say"
    return FrontierErrors(
        whole, np.stack([part.lines for part in parts if part.lines is not None])
    ), ""
