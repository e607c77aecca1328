"""Simulated ladders of sizes from a known law, and how often its intervals hold the truth.

A ladder is sizes x 5 seeds x 4 horizons (64-fold). Seed noise is 1 % of the loss: half of its
variance common to the horizons of a (size, seed) replica, half of each row. With misfit, every size
is off the law by a further draw of that standard deviation, common to its seeds.

Legend: `n` row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saltus.law.forms import Form
from saltus.law.intervals import Intervals

Array = NDArray[np.float64]

NOISE = 0.01
SEEDS, HORIZONS = 5, 4
BEYOND_LADDER = ("law beyond the ladder", "new replica beyond the ladder")

Hit = tuple[str, bool | None, float]  # quantity, inside (None: refused), width


def with_compute(table: Mapping[str, Array]) -> dict[str, Array]:
    """Return N, D and C = 6 N D."""
    return {**table, "C": 6.0 * table["N"] * table["D"]}


BEYOND = with_compute({"N": np.array([12e6]), "D": np.array([128e6])})
"""Four times the largest size and twice the longest horizon."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """`table` of N, D, C and `loss` (n,), labelled; `new` and `actual` at `BEYOND`.

    `new` is the law's own loss there, `actual` that of one new replica.
    """

    table: dict[str, Array]
    loss: Array
    sizes: list[str]
    replicas: list[int]
    new: float
    actual: float


def simulate(
    form: Form, truth: Mapping[str, float], num_sizes: int, misfit: float, seed: Sequence[int]
) -> Ladder:
    """Draw one ladder of the law."""
    generator = np.random.default_rng(seed)
    size = np.repeat(np.arange(num_sizes), SEEDS * HORIZONS)
    replica = np.repeat(np.arange(num_sizes * SEEDS), HORIZONS)
    table = with_compute(
        {
            "N": np.geomspace(1e4, 3e6, num_sizes)[size],
            "D": np.tile(np.geomspace(1e6, 64e6, HORIZONS), num_sizes * SEEDS),
        }
    )
    part = NOISE / np.sqrt(2)
    noise = generator.normal(0, part, num_sizes * SEEDS)[replica]
    noise = noise + generator.normal(0, part, len(size))
    noise = noise + generator.normal(0, misfit, num_sizes)[size]
    loss = form.predict(truth, table) * np.exp(noise)
    new = float(form.predict(truth, BEYOND)[0])
    actual = new * float(np.exp(generator.normal(0, np.hypot(NOISE, misfit))))
    return Ladder(table, loss, [str(each) for each in size], list(replica), new, actual)


def held(
    errors: Intervals, truth: Mapping[str, float], ladder: Ladder, exponent: float | None = None
) -> Iterator[Hit]:
    """Hold every interval against the truth; that of the allocation if its `exponent` is given."""
    intervals = errors.parameter_intervals()
    known = dict(truth)
    if exponent is not None:
        intervals, known = (
            {**intervals, "a": errors.allocation_interval()},
            {**known, "a": exponent},
        )
    for name, ends in intervals.items():
        inside = None if ends is None else ends[0] <= known[name] <= ends[1]
        yield name, inside, np.nan if ends is None else ends[1] - ends[0]
    for name, (low, high), value in (
        (BEYOND_LADDER[0], errors.band(BEYOND), ladder.new),
        (BEYOND_LADDER[1], errors.prediction_interval(BEYOND), ladder.actual),
    ):
        yield name, bool(low[0] <= value <= high[0]), float(high[0] - low[0])


def tally(hits: Sequence[tuple[bool | None, float]]) -> dict[str, str]:
    """Return coverage, 1.96 binomial standard errors, median width and the share refused.

    An interval that cannot be given counts as a miss.
    """
    share = float(np.mean([bool(inside) for inside, _ in hits]))
    widths = [width for _, width in hits if np.isfinite(width)]
    return {
        "coverage": f"{share:.3f}",
        "plus_minus": f"{1.96 * np.sqrt(share * (1 - share) / len(hits)):.3f}",
        "median_width": f"{np.median(widths):.4g}" if widths else "",
        "refused": f"{np.mean([inside is None for inside, _ in hits]):.3f}",
    }
