"""The learning rate: warm-up, constant trunk, decay to a horizon. No torch."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Branch:
    """A run of steps [start, end): the trunk, or the anneal of one horizon."""

    horizon: int | None
    start: int
    end: int

    @property
    def name(self) -> str:
        """Return the name of the branch's files."""
        return "trunk" if self.horizon is None else f"anneal-{self.horizon}"


def rate_factor(step: int, branch: Branch, warmup_steps: int) -> float:
    """Return what the peak rate is multiplied by at `step` of `branch`.

    Linear warm-up; on an anneal 1 - √t (Hägele et al. 2024, §4), with t at the middle of the step,
    so that the last step still moves.
    """
    warm = min(1.0, (step + 1) / warmup_steps)
    if branch.horizon is None:
        return warm
    progress = (step - branch.start + 0.5) / (branch.end - branch.start)
    return warm * (1.0 - math.sqrt(progress))
