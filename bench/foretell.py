"""How often foretold thresholds and accuracies hold the truth: writes bench/foretell.csv.

    python bench/foretell.py --ladders 200

A ladder has 8 sizes over 2.5 decades, 5 seeds and 5 horizons. Its nats per answer are a power of
size, times lognormal deviations of sizes and of seeds, times more at a shorter horizon; accuracy is
a logistic of them. The lowest 5, 6 or 7 sizes are used. The truth is the size at
which accuracy, averaged over seeds, crosses one half on the law itself.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
from scipy import special, stats

from saltus.emerge.foretell import Foretelling, foretell
from saltus.emerge.roads import Ladder, Refusal, two_step

SIZES = np.round(10 ** np.linspace(2.7, 5.2, 8))
HORIZONS = np.array([1.0, 2, 4, 8, 16]) * 1e5
MIDDLE, STEEPNESS, FLOOR = 1.8, 1.8, 0.01


@dataclass(frozen=True)
class Truth:
    """log nats = level - slope log N, whose half point lies at `params`; scatter of log nats.

    With a `plateau` in nats no size does worse, 1/nats = 1/plateau + 1/power: the law fitted is
    then wrong in its form, since the truth falls late and fast.
    """

    params: float
    slope: float = 0.33
    size_sd: float = 0.0
    seed_sd: float = 0.1
    plateau: float = np.inf

    def log_nats(self, params: np.ndarray) -> np.ndarray:
        at_half = np.log(MIDDLE) + self.slope * np.log(self.params)
        power = at_half - self.slope * np.log(params)
        return -np.logaddexp(-power, -np.log(self.plateau))

    def accuracy(self, params: np.ndarray) -> np.ndarray:
        """Mean over seeds at the longest horizon, on the law."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(41)
        nats = np.exp(self.log_nats(params)[:, None] + self.seed_sd * nodes)
        return _link(nats) @ weights / weights.sum()

    def threshold(self) -> float:
        """Where `accuracy` crosses one half, in parameters."""
        grid = np.linspace(1, 8, 7001)
        return float(10 ** np.interp(0.5, self.accuracy(10**grid), grid))


def _link(nats: np.ndarray) -> np.ndarray:
    return FLOOR + (1 - FLOOR) * special.expit(-STEEPNESS * (nats - MIDDLE))


def simulate(truth: Truth, seed: int, num_seeds: int = 5, items: int = 300) -> Ladder:
    """One ladder of 8 sizes x `num_seeds` x 5 horizons."""
    rng = np.random.default_rng(seed)
    size, replica, horizon = np.meshgrid(
        np.arange(SIZES.size), np.arange(num_seeds), np.arange(HORIZONS.size), indexing="ij"
    )
    off = truth.size_sd * rng.normal(size=SIZES.size)[size]
    apart = truth.seed_sd * rng.normal(size=size.shape[:2])[size, replica]
    short = 0.4 * (HORIZONS.size - 1 - horizon)
    log_nats = truth.log_nats(SIZES)[size] + off + apart + short
    nats = np.exp(log_nats).ravel()
    return Ladder(
        params=SIZES[size].ravel(),
        horizon=HORIZONS[horizon].ravel(),
        target_loss=nats,
        text_loss=(2 + 0.4 * np.exp(log_nats)).ravel(),
        successes=rng.binomial(items, _link(nats)).astype(float),
        trials=np.full(nats.size, float(items)),
        guess=FLOOR,
    )


def measure(truth: Truth, num_sizes: int, ladders: int, first: int = 0) -> dict[str, float | None]:
    """Coverage of the threshold and of the next size's mean accuracy, and how wide they are."""
    at = truth.threshold()
    held, widths, inside, errors, misses, refused, open_ends = [], [], [], [], [], 0, 0
    for seed in range(first, first + ladders):
        ladder = simulate(truth, seed)
        seen = ladder.keep(ladder.params <= SIZES[num_sizes - 1])
        made: Foretelling | Refusal = foretell(two_step, seen, SIZES[num_sizes:])
        if isinstance(made, Refusal) or made.reason:
            refused += 1
            continue
        low = -np.inf if made.log_low is None else made.log_low
        high = np.inf if made.log_high is None else made.log_high
        held.append(low <= np.log10(at) <= high)
        open_ends += not np.isfinite(high - low)
        widths.append(high - low)
        found = made.log_range[1] if made.log_threshold is None else made.log_threshold
        errors.append(found - np.log10(at))
        shown = ladder.longest.means()[num_sizes:]
        inside.append((made.low <= shown) & (shown <= made.high))
        misses.append(made.predicted - shown)
    return {
        "sizes_used": num_sizes,
        "size_sd": truth.size_sd,
        "seed_sd": truth.seed_sd,
        "plateau": truth.plateau if np.isfinite(truth.plateau) else None,
        "decades_beyond": float(np.log10(at / SIZES[num_sizes - 1])),
        "ladders": ladders,
        "refused": refused,
        "threshold_covered": float(np.mean(held)),
        "monte_carlo_error": float(stats.sem(np.array(held, float))),
        "open": open_ends,
        "median_width_decades": float(np.median(widths)),
        "threshold_bias_decades": float(np.mean(errors)),
        "threshold_rms_decades": float(np.sqrt(np.mean(np.square(errors)))),
        "accuracy_inside": float(np.mean(inside)),
        "accuracy_rms": float(np.sqrt(np.mean(np.square(misses)))),
    }


def main() -> None:
    """Print one JSON line per design and write them as a table."""
    parser = argparse.ArgumentParser(description="Coverage of foretold thresholds and accuracies.")
    parser.add_argument("--ladders", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    marks = common.provenance(__file__, "saltus.emerge.foretell", "saltus.emerge.roads")
    rows = []
    for num_sizes in (5, 6, 7):
        place = float(SIZES[num_sizes - 1] * 10**0.3)
        for size_sd, plateau in ((0.0, np.inf), (0.1, np.inf), (0.2, np.inf), (0.1, 5.0)):
            slope = 0.33 if np.isinf(plateau) else 0.6
            truth = Truth(place, slope=slope, size_sd=size_sd, plateau=plateau)
            row = measure(truth, num_sizes, given.ladders)
            print(json.dumps(row), flush=True)
            rows.append(row | marks)
            common.write_csv(given.out, rows)


if __name__ == "__main__":
    main()
