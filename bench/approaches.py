"""Coverage of the intervals of a by envelope and isoFLOP parabolas: writes bench/approaches.csv.

    python bench/approaches.py [--ladders 150] [--processes 2]

A ladder is sizes x horizons from a known law under C = 6 N D, seeds averaged. Its noise, a share of
the loss, is half common to a size and half of each row. Coverage is of the ladders that had an
interval; `no_interval` counts the others, and `mean_a` is over all that had an a.
"""

import argparse
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import common
import numpy as np
import pandas as pd
from ladders import tally

from saltus.law.curves import curves_of, labelled
from saltus.law.forms import Chinchilla
from saltus.law.frontier import frontier
from saltus.law.intervals import allocation_exponent
from saltus.law.isoflop import isoflop
from saltus.law.path import MIN_POINTS, delete_one

NOISES = (0.002, 0.004, 0.008)
ESTIMATORS = {"envelope": frontier, "isoflop": isoflop}
CODE = ("saltus.law.frontier", "saltus.law.isoflop", "saltus.law.path", "saltus.law.forms")


@dataclass(frozen=True)
class Design:
    """A law, and a grid of `sizes` and `horizons` even in log over their ranges."""

    law: dict[str, float]
    sizes: int
    horizons: int
    params: tuple[float, float]
    tokens: tuple[float, float]

    @property
    def exponent(self) -> float:
        """The law's own a."""
        return float(allocation_exponent(self.law["alpha"], self.law["beta"]))


DESIGNS = {
    "alpha = beta": Design(
        {"E": 1.7, "A": 60.0, "B": 150.0, "alpha": 0.37, "beta": 0.37},
        sizes=10, horizons=6, params=(1e4, 5e6), tokens=(1e5, 1e9),
    ),
    "alpha < beta": Design(
        {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
        sizes=8, horizons=5, params=(1e7, 1e10), tokens=(1e9, 1e12),
    ),
}  # fmt: skip


def points_of(design: Design, noise: float, seed: int) -> pd.DataFrame:
    """Draw one ladder: a row per size and horizon."""
    generator = np.random.default_rng(seed)
    n, d = np.meshgrid(
        np.geomspace(*design.params, design.sizes),
        np.geomspace(*design.tokens, design.horizons),
        indexing="ij",
    )
    shift = generator.normal(0, 1, (design.sizes, 1)) + generator.normal(0, 1, n.shape)
    loss = Chinchilla().predict(design.law, {"N": n.ravel(), "D": d.ravel()})
    return pd.DataFrame(
        {
            "size": np.repeat([f"s{i}" for i in range(design.sizes)], design.horizons),
            "params": n.ravel(),
            "tokens": d.ravel(),
            "flops": (6 * n * d).ravel(),
            "loss": loss * np.exp(noise / np.sqrt(2) * shift.ravel()),
        }
    )


def answers(job: tuple[str, float, int]) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """Return a (NaN where refused) and its interval by each approach, on one ladder."""
    name, noise, seed = job
    curves = curves_of(labelled(points_of(DESIGNS[name], noise, seed)))
    found = {}
    for approach, estimate in ESTIMATORS.items():
        path, interval = estimate(curves, MIN_POINTS), None
        if not path.reason:
            ends = delete_one(estimate, curves, path, np.empty(0), 0.95).ends
            interval = None if ends is None else (float(ends[0][0]), float(ends[1][0]))
        found[approach] = (path.a, interval)
    return found


def main() -> None:
    """Run all designs and write the table."""
    parser = argparse.ArgumentParser(description="Coverage of a by envelope and by isoFLOP.")
    parser.add_argument("--ladders", type=int, default=150)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    marks = common.provenance(__file__, *CODE)
    rows: list[dict[str, Any]] = []
    with multiprocessing.Pool(given.processes) as pool:
        for name, design in DESIGNS.items():
            for noise in NOISES:
                jobs = [(name, noise, seed) for seed in range(given.ladders)]
                tried = pool.map(answers, jobs, chunksize=4)
                for approach in ESTIMATORS:
                    a = np.array([each[approach][0] for each in tried])
                    made = [ends for each in tried if (ends := each[approach][1]) is not None]
                    told = tally([(e[0] <= design.exponent <= e[1], e[1] - e[0]) for e in made])
                    rows.append(
                        {
                            "design": name,
                            "sizes": design.sizes,
                            "horizons": design.horizons,
                            "noise": str(noise),
                            "approach": approach,
                            "coverage": told["coverage"],
                            "plus_minus": told["plus_minus"],
                            "median_width": told["median_width"],
                            "no_interval": len(tried) - len(made),
                            "true_a": f"{design.exponent:.4f}",
                            "mean_a": f"{np.nanmean(a):.4f}",
                            "ladders": len(tried),
                        }
                    )
                    print(*rows[-1].values(), sep="\t", flush=True)
                common.write_csv(given.out, [row | marks for row in rows])


if __name__ == "__main__":
    main()
