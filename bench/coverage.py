"""Coverage of the delete-one-size jackknife, by simulation: writes bench/coverage.csv.

    python bench/coverage.py [ladders]

A ladder is 8 or 5 sizes x 5 seeds x 4 horizons (64-fold) from a known law. Seed noise is 1 % of the
loss: half of its variance common to the horizons of a (size, seed) replica, half of each row.
With misfit, every size is off the law by a further draw of the same standard deviation, common to
its seeds. Each 95 % interval is held against the truth: the parameters, a = beta / (alpha + beta),
and one new replica at four times the largest size and at twice the longest horizon.
About three minutes on one core for 1,000 ladders of each of the four kinds.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np

from saltus.law.forms import Chinchilla
from saltus.law.intervals import allocation_exponent, jackknife
from saltus.law.solve import fit

TRUTH = {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42}
NOISE = 0.01


def simulate(num_ladders: int, sizes: int, misfit: float, seed: int) -> dict[str, list[float]]:
    """Return, per quantity, the share covered, the median width and the number of ladders."""
    form = Chinchilla()
    generator = np.random.default_rng(seed)
    seeds, horizons = 5, 4
    size = np.repeat(np.arange(sizes), seeds * horizons)
    replica = np.repeat(np.arange(sizes * seeds), horizons)
    table = {
        "N": np.geomspace(1e4, 3e6, sizes)[size],
        "D": np.tile(np.geomspace(1e6, 64e6, horizons), sizes * seeds),
    }
    new = {"N": np.array([12e6]), "D": np.array([128e6])}
    clean, clean_new = np.log(form.predict(TRUTH, table)), np.log(form.predict(TRUTH, new))
    part = NOISE / np.sqrt(2)
    inside: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}

    def record(name: str, interval: tuple[float, float] | None, truth: float) -> None:
        if interval is None:  # on its bound: no interval, counted as a miss
            inside.setdefault(name, []).append(False)
            return
        inside.setdefault(name, []).append(interval[0] <= truth <= interval[1])
        widths.setdefault(name, []).append(interval[1] - interval[0])

    for _ in range(num_ladders):
        noise = generator.normal(0, part, sizes * seeds)[replica]
        noise = noise + generator.normal(0, part, len(size))
        noise = noise + generator.normal(0, misfit, sizes)[size]
        loss = np.exp(clean + noise)
        fitted = fit(form, table, loss, starts=6)
        errors = jackknife(fitted, table, loss, [str(s) for s in size], list(replica))
        assert errors is not None
        for name, interval in errors.parameter_intervals().items():
            record(name, interval, TRUTH[name])
        exponent = float(allocation_exponent(TRUTH["alpha"], TRUTH["beta"]))
        record("a", errors.allocation_interval(), exponent)
        low, high = errors.band(new)
        record("law beyond the ladder", (low[0], high[0]), float(np.exp(clean_new[0])))
        low, high = errors.prediction_interval(new)
        spread = np.hypot(NOISE, misfit)
        actual = float(np.exp(clean_new[0] + generator.normal(0, spread)))
        record("new replica beyond the ladder", (low[0], high[0]), actual)
    return {
        name: [float(np.mean(hits)), float(np.median(widths.get(name, [np.nan]))), float(len(hits))]
        for name, hits in inside.items()
    }


def main() -> None:
    """Run both kinds and write the table beside this file."""
    num_ladders = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    path = Path(__file__).with_suffix(".csv")
    rows = []
    for sizes, misfit in ((8, 0.0), (8, NOISE), (5, 0.0), (5, NOISE)):
        begun = time.perf_counter()
        for name, (share, width, num) in simulate(num_ladders, sizes, misfit, seed=20).items():
            error = 1.96 * np.sqrt(share * (1 - share) / num)
            row = [sizes, misfit, name, f"{share:.3f}", f"{error:.3f}", f"{width:.4g}", int(num)]
            rows.append(row)
            print(*row, sep="\t")
        print(f"{sizes} sizes, misfit {misfit}: {time.perf_counter() - begun:.0f} s", flush=True)
    header = ["sizes", "size_misfit", "quantity", "coverage", "plus_minus", "median_width"]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*header, "ladders"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
