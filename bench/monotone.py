"""How often a monotone truth is called "not monotone": ladders of 8 sizes x 5 seeds x 300 items.

    python bench/monotone.py [ladders]

Truths are logistic in log10 of the size (widths .1 to .8 decades, plateaus as named); seeds scatter
normally on the logit. Prints the share of ladders tested and the share rejected at 5 %. With 1,500
ladders the Monte Carlo error is at most .006.
"""

import sys
from dataclasses import dataclass

import numpy as np
from scipy import special

from saltus.emerge.cells import cells_of
from saltus.emerge.monotone import largest_fall

LOG_SIZES = np.linspace(3, 5.2, 8)
SEEDS, ITEMS, GUESS, LEVEL = 5, 300, 0.03, 0.5


@dataclass(frozen=True)
class Truth:
    """Seeds scatter by `deviation`, but by `outlier` at one size; accuracy ends at `plateau`."""

    deviation: float
    plateau: float = 1.0
    outlier: float | None = None


TRUTHS = {
    "to 1; seeds 1": Truth(1),
    "to 1; seeds 3": Truth(3),
    "plateau .6; seeds 1": Truth(1, 0.6),
    "plateau .6; seeds 3": Truth(3, 0.6),
    "plateau .5; seeds 1": Truth(1, 0.5),
    "plateau .8; seeds .3, one size 3": Truth(0.3, 0.8, 3),
    "to 1; seeds .3, one size 3": Truth(0.3, 1.0, 3),
}


def rates(truth: Truth, ladders: int) -> tuple[float, float]:
    """Return the shares of simulated ladders that were tested and that were rejected."""
    tested = rejected = 0
    for ladder in range(ladders):
        generator = np.random.default_rng([ladder, *np.float64(truth.deviation).tobytes()])
        middle = generator.uniform(LOG_SIZES[1], LOG_SIZES[-2])
        width = generator.choice([0.1, 0.2, 0.4, 0.8])
        deviations = np.full(len(LOG_SIZES), truth.deviation)
        if truth.outlier is not None:
            deviations[generator.integers(len(LOG_SIZES))] = truth.outlier
        logit = np.minimum((LOG_SIZES - middle) / width, special.logit(truth.plateau))
        logit = np.repeat(logit, SEEDS)
        logit += np.repeat(deviations, SEEDS) * generator.normal(size=len(logit))
        trials = np.full(len(logit), ITEMS)
        successes = generator.binomial(trials, special.expit(logit))
        cells = cells_of(np.repeat(10**LOG_SIZES, SEEDS), successes, trials, GUESS, LEVEL)[0]
        fall = largest_fall(cells, 0.1, 0, draws=499)
        tested += fall is not None
        rejected += fall is not None and fall.p_value < 0.05
    return tested / ladders, rejected / ladders


def main() -> None:
    """Print one line per truth."""
    ladders = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    for name, truth in TRUTHS.items():
        tested, rejected = rates(truth, ladders)
        print(f"{name:34} tested {tested:.3f}  rejected {rejected:.3f}", flush=True)


if __name__ == "__main__":
    main()
