"""Coverage of the intervals of calibration: writes src/saltus/calibrate/coverage.csv.

    python bench/calibration.py [--tables 200] [--processes 2]

Tables of 300 or 2,000 predictions whose true rates are known, measured as `saltus calibration`
measures anybody's. Confidences are uniform, mostly high (Beta(8, 2)) or mostly low (Beta(1, 6)).
The rate at a confidence c is c less a shape of miscalibration: none; over-confidence by .05 or .3;
a wave of .15; .2 in one bin of fifteen; a tilt about one half by .1. Clusters are 100 of 20 rows
whose log-odds stand off by a normal .5; an error's truth is then of the rates over all clusters.

Binned errors are held against the gaps of the rates in the table's own bins, the smooth error
against that of the rates at the table's confidences, all others against the population.

A ladder (`sizes`) has 8 sizes over 2.5 decades, 5 seeds each: accuracy rises along a logistic
curve, confidence along the same one `lag` decades away, and both are off by a normal .01 per seed
and, with `misfit`, by .03 per size. Its slope is of over-confidence; its truth, that of the curves
at these very sizes, as its lag's truth is `lag`.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import common
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from saltus.calibrate.cells import gather
from saltus.calibrate.errors import PROBABILITY_CLIP
from saltus.calibrate.measure import measure
from saltus.calibrate.scaling import lag_of, slope_of
from saltus.calibrate.smooth import smooth_errors

Array = NDArray[np.float64]

CONFIDENCES = {"uniform": (1, 1), "high": (8, 2), "low": (1, 6)}
SHAPES: dict[str, Callable[[Array], Array]] = {
    "over": np.ones_like,
    "wave": lambda c: np.sin(4 * np.pi * c),
    "bin": lambda c: ((c >= 0.6) & (c < 2 / 3)).astype(float),
    "tilt": lambda c: 2 * c - 1,
}
TRUTHS = (
    ("over", 0.0), ("over", 0.05), ("over", 0.3), ("wave", 0.15), ("bin", 0.2), ("tilt", 0.1),
)  # fmt: skip
DESIGNS = ((300, 0), (2000, 0), (2000, 100))
CLUSTER_SD = 0.5
POPULATION = 200_000
LADDERS = tuple((lag, misfit) for lag in (-0.3, 0.0, 0.3) for misfit in (0.0, 0.03))
LADDERS_PER_TABLE = 5  # they cost little
OUT = common.ROOT / "src" / "saltus" / "calibrate" / "coverage.csv"

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


def rates(confidence: Array, shape: str, size: float, clustered: bool) -> Array:
    """Return the true rates (n,) at confidences, over all clusters."""
    rate = np.clip(confidence - size * SHAPES[shape](confidence), 0, 1)
    if not clustered:
        return rate
    off = special.expit(special.logit(rate)[:, None] + CLUSTER_SD * _NODES)
    return np.asarray(off @ _WEIGHTS / _WEIGHTS.sum())


def population(name: str, shape: str, size: float, clustered: bool) -> dict[str, float]:
    """Return what the errors that are not of a table's bins are in the population."""
    middle = (np.arange(POPULATION) + 0.5) / POPULATION
    conf = np.asarray(stats.beta(*CONFIDENCES[name]).ppf(middle))
    rate = rates(conf, shape, size, clustered)
    clipped = np.clip(conf, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    wrong = (1 - rate)[::-1]  # the most confident first
    share = np.arange(1, POPULATION + 1)
    aurc = float((np.cumsum(wrong) / share).mean())
    failing = float(wrong.mean())
    return {
        "overconfidence": float((conf - rate).mean()),
        "brier": float((conf**2 - 2 * conf * rate + rate).mean()),
        "nll": float(-(rate * np.log(clipped) + (1 - rate) * np.log1p(-clipped)).mean()),
        "accuracy": float(rate.mean()),
        "aurc": aurc,
        "excess_aurc": aurc - (failing + (1 - failing) * np.log1p(-failing)),
        "augrc": float((np.cumsum(wrong) / POPULATION).mean()),
    }


def table(job: tuple[str, str, float, int, int, int]) -> dict[str, tuple[bool, float]]:
    """Simulate one table; return whether each interval held its truth, and how wide it was."""
    name, shape, size, num, clusters, number = job
    key = [list(CONFIDENCES).index(name), list(SHAPES).index(shape), round(1000 * size)]
    rng = np.random.default_rng([71, *key, num, clusters, number])
    conf = rng.beta(*CONFIDENCES[name], num)
    cluster = np.repeat(np.arange(clusters), num // clusters) if clusters else None
    chance = np.clip(conf - size * SHAPES[shape](conf), 0, 1)
    if cluster is not None:
        chance = special.expit(special.logit(chance) + rng.normal(0, CLUSTER_SD, clusters)[cluster])
    correct = (rng.random(num) < chance).astype(float)
    found = measure(conf, correct, cluster, seed=number)
    cells = gather(conf, correct)
    rate = rates(conf, shape, size, clusters > 0)
    gaps = (np.bincount(cells.cell, rate) - cells.confidence) / num
    shares = cells.gather(cells.count, cells.mass_bin) / num
    mass, width = (cells.gather(gaps, bins) for bins in (cells.mass_bin, cells.width_bin))
    held = np.maximum(cells.gather(cells.count, cells.width_bin), 1)
    means = cells.gather(cells.confidence, cells.width_bin) / held
    truth = TRUTH_OF[name, shape, size, clusters > 0] | {
        "ece": float(np.abs(width).sum()),
        "over_error": float(means @ np.maximum(-width, 0)),
        "ece_equal_mass": float(np.abs(mass).sum()),
        "smooth_ece": float(smooth_errors(cells.on_grid(gaps)[None])[0]),
        "l2_squared_debiased": float((mass**2 / shares).sum()),
    }
    return {
        quantity: (
            found.intervals[quantity].low - 1e-9 <= value <= found.intervals[quantity].high + 1e-9,
            found.intervals[quantity].high - found.intervals[quantity].low,
        )
        for quantity, value in truth.items()
    }


TRUTH_OF = {
    (name, shape, size, clustered): population(name, shape, size, clustered)
    for name in CONFIDENCES for shape, size in TRUTHS for clustered in (False, True)
}  # fmt: skip


def ladder(job: tuple[float, float, int]) -> dict[str, tuple[bool, float]]:
    """Simulate one ladder; whether the slope's and the lag's interval held. Absent: refused."""
    lag, misfit, number = job
    rng = np.random.default_rng([72, round(10 * lag) + 9, round(1000 * misfit), number])
    x = np.linspace(3, 5.5, 8)
    curves = np.stack([special.expit((x - 4.2) / 0.25), special.expit((x - 4.2 - lag) / 0.25)])
    seen = np.repeat((curves + rng.normal(0, misfit, curves.shape))[:, :, None], 5, axis=2)
    accuracy, confidence = seen + rng.normal(0, 0.01, seen.shape)
    rows = pd.DataFrame(
        {
            "size": np.repeat([f"s{i}" for i in range(x.size)], 5),
            "horizon": 1,
            "params_nonembedding": np.repeat(10**x, 5),
            "accuracy": accuracy.ravel(),
            "confidence": confidence.ravel(),
        }
    ).assign(overconfidence=lambda table: table["confidence"] - table["accuracy"])
    slope = slope_of(rows, "params_nonembedding", "overconfidence", logarithmic=True)
    truths = {"slope": (slope, float(np.polyfit(x, curves[1] - curves[0], 1)[0]))}
    truths["lag"] = (lag_of(rows), lag)
    return {
        name: (found["low"] <= truth <= found["high"], found["high"] - found["low"])
        for name, (found, truth) in truths.items() if found["low"] is not None
    }  # fmt: skip


def rows_of(
    about: dict[str, object], found: list[dict[str, tuple[bool, float]]]
) -> list[dict[str, object]]:
    """Return one row per quantity: tables measured, coverage, median width."""
    rows = []
    for quantity in sorted({name for each in found for name in each}):
        held = np.array([each[quantity] for each in found if quantity in each], dtype=float)
        told = {"quantity": quantity, "tables": len(held), "refused": len(found) - len(held)}
        share, wide = held[:, 0].mean(), np.median(held[:, 1])
        rows.append(about | told | {"coverage": f"{share:.3f}", "median_width": f"{wide:.4f}"})
    return rows


def main() -> None:
    """Run all designs and write the table."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals of calibration.")
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    marks = common.provenance(__file__, "saltus.calibrate.measure", "saltus.calibrate.scaling")
    rows: list[dict[str, object]] = []
    with multiprocessing.Pool(given.processes) as pool:
        for lag, misfit in LADDERS:
            jobs = [(lag, misfit, i) for i in range(LADDERS_PER_TABLE * given.tables)]
            about = {"design": "sizes", "truth": f"lag {lag:g}", "size": misfit, "n": 8,
                     "clusters": 8}  # fmt: skip
            rows += rows_of(about, pool.map(ladder, jobs, chunksize=8))
        for num, clusters in DESIGNS:
            for name in CONFIDENCES:
                for shape, size in TRUTHS:
                    tables = [(name, shape, size, num, clusters, i) for i in range(given.tables)]
                    about = {"design": name, "truth": shape, "size": size, "n": num,
                             "clusters": clusters or num}  # fmt: skip
                    found = rows_of(about, pool.map(table, tables, chunksize=4))
                    print(*(f"{row['quantity']} {row['coverage']}" for row in found), flush=True)
                    rows += found
                    common.write_csv(given.out, [row | marks for row in rows])


if __name__ == "__main__":
    main()
