"""What the approaches to compute-optimal training answer, and how numbers become that answer.

A statistic here is one vector: a, b, then log N* at each of c budgets, then log D* at each.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saltus.law.allocation import Cost
from saltus.law.intervals import LARGEST_LOG
from saltus.law.path import Parabola, Point
from saltus.law.verdict import Verdict

Array = NDArray[np.float64]
Interval = tuple[float, float]
Ends = tuple[Array, Array]  # low and high


@dataclass(frozen=True)
class Optimum:
    """N* and D* at one budget of compute, with their intervals if there are any.

    `extrapolated` says that the budget lies beyond the compute of the approach's points; for a law,
    that the budget, N* or D* lies beyond those of the table.
    """

    flops: float
    params: float
    params_interval: Interval | None
    tokens: float
    tokens_interval: Interval | None
    extrapolated: bool


@dataclass(frozen=True)
class Approach:
    """One approach's answer: N* proportional to C^a, D* to C^b.

    `status` is `fitted` or `refused`, with a `reason`; `interval_reason` says why a fitted one has
    no interval. `a_on_law` is the a that the approach gives on the table's own sizes and horizons
    with the losses of the fitted law and no noise: its difference from the law's own a is bias.
    """

    status: str
    reason: str
    a: float | None = None
    b: float | None = None
    interval: Interval | None = None
    interval_b: Interval | None = None
    interval_method: str | None = None
    interval_reason: str = ""
    points: tuple[Point, ...] = ()
    optimum: tuple[Optimum, ...] = ()
    parabolas: tuple[Parabola, ...] = ()
    a_on_law: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The approaches, the cost of compute that they share, and the verdict.

    `sizes_without_curve` of the `sizes` have one horizon and serve the law alone.
    """

    envelope: Approach
    isoflop: Approach
    parametric: Approach
    cost: Cost
    sizes: int
    sizes_without_curve: int
    verdict: Verdict

    @property
    def approaches(self) -> dict[str, Approach]:
        """The approaches by the names of the JSON."""
        return {name: getattr(self, name) for name in ("envelope", "isoflop", "parametric")}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; only `isoflop` has `parabolas`."""
        entries = {name: _plain(asdict(each)) for name, each in self.approaches.items()}
        del entries["envelope"]["parabolas"], entries["parametric"]["parabolas"]
        return {
            "approaches": entries,
            "compute": asdict(self.cost),
            "sizes": self.sizes,
            "sizes_without_curve": self.sizes_without_curve,
            "verdict": asdict(self.verdict),
        }


def _plain(value: Any) -> Any:
    """Return dictionaries and tuples as JSON knows them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def exponent_intervals(ends: Ends | None) -> tuple[Interval | None, Interval | None]:
    """Return the intervals of a and of b, the first two of a statistic's ends (low, high)."""
    if ends is None:
        return None, None
    low, high = ends
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def optima(
    budgets: Array, centre: Array, ends: Ends | None, extrapolated: NDArray[np.bool_]
) -> tuple[Optimum, ...]:
    """Return the optimum at each budget (c,), from a statistic and its ends, (2 + 2c,) each."""
    num = len(budgets)

    def around(index: int) -> Interval | None:
        if ends is None:
            return None
        low, high = (np.clip(end[index], -LARGEST_LOG, LARGEST_LOG) for end in ends)
        return float(np.exp(low)), float(np.exp(high))

    return tuple(
        Optimum(
            float(budgets[i]),
            float(np.exp(centre[2 + i])),
            around(2 + i),
            float(np.exp(centre[2 + num + i])),
            around(2 + num + i),
            bool(extrapolated[i]),
        )
        for i in range(num)
    )
