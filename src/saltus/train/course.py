"""How a branch went so far: its curve, and its time.

Legend: R replica, B row.
"""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from saltus.data.batches import ARITHMETIC, Batches
from saltus.train.optimizer import OptimizerState
from saltus.train.schedule import Branch
from saltus.train.state import Snapshot

CURVE_POINTS = 200


def is_curve_point(step: int, branch: Branch) -> bool:
    """Tell whether the curve has a point after `step` steps.

    On the trunk, which knows no end, `CURVE_POINTS` to `2 · CURVE_POINTS` points stand in every
    doubling of steps; on an anneal they are evenly spaced and its end is one.
    """
    if branch.horizon is None:
        return step % (1 << max(0, (step // CURVE_POINTS).bit_length() - 1)) == 0
    every = max(1, (branch.end - branch.start) // CURVE_POINTS)
    return (step - branch.start) % every == 0 or step == branch.end


class Point(NamedTuple):
    """What a point of the curve is made of, on the device: a step's losses, and who lives after."""

    step: int
    row_losses: Tensor  # (R, B)
    alive: Tensor  # (R,) bool


class Course:
    """What became of a branch since `start`."""

    def __init__(self, start: Snapshot, branch: Branch, batches: Batches) -> None:
        self._branch, self._batches = branch, batches
        self._is_arithmetic = torch.tensor([name == ARITHMETIC for name in batches.names])
        self._began = time.monotonic() - start.seconds
        self._points: list[Point] = []
        self._rows = [start.curve]

    def note(
        self,
        step: int,
        row_losses: Tensor,  # (R, B)
        alive: Tensor,  # (R,)
    ) -> None:
        """Hear that `step` steps are done; waits for no device."""
        if is_curve_point(step, self._branch):
            self._points.append(Point(step, row_losses.clone(), alive.clone()))

    def at(self, step: int, held: OptimizerState) -> Snapshot:
        """Return where the branch stands; waits for the device."""
        self._rows.extend(self._row(point) for point in self._points)
        self._points.clear()
        if held.parameters.is_cuda:
            torch.cuda.synchronize(held.parameters.device)
        return Snapshot(step, held, torch.cat(self._rows), time.monotonic() - self._began)

    def _row(self, point: Point) -> Tensor:
        """Return a row (1, 1 + 4R) of the curve; see `Snapshot`. Sources without rows are NaN."""
        losses = point.row_losses.cpu()
        chosen = self._is_arithmetic[torch.from_numpy(self._batches.sources(point.step - 1))]
        by_source = [(losses * of).sum(1) / of.sum() for of in (~chosen, chosen)]
        columns = [losses.mean(1), *by_source, point.alive.cpu().float()]
        row = torch.stack(columns, 1).float().flatten()
        return torch.cat([torch.tensor([float(point.step)]), row])[None]
