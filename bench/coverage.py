"""Coverage of every interval of a law, by simulation: writes src/saltus/law/coverage.csv.

    python bench/coverage.py [--ladders 1000] [--beside 1000] [--processes 2]

A ladder is 8 or 5 sizes x 5 seeds x 4 horizons (64-fold) from a known law. Seed noise is 1 % of the
loss: half of its variance common to the horizons of a (size, seed) replica, half of each row.
With misfit, every size is off the law by a further draw of the same standard deviation, common to
its seeds. Each 95 % interval is held against the truth: the parameters, a = beta / (alpha + beta),
the law and one new replica at four times the largest size and twice the longest horizon.

The jackknife and the bootstraps (200 resamples) are of the default fit, Huber's loss with
delta = .001; the profile is of squares, with components of scatter, and needs no ends: the truth is
inside where its statistic is below the limit. Bootstraps and profile are tried on 8 sizes only, and
on the first `--beside` ladders.
An interval that cannot be given counts as a miss; `refused` is their share.
"""

import argparse
import csv
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import common
import numpy as np
from scipy import stats

from saltus.law.bootstrap import bootstrap
from saltus.law.components import NoScatterError
from saltus.law.criterion import Criterion
from saltus.law.forms import Chinchilla
from saltus.law.intervals import Intervals, allocation_exponent, jackknife
from saltus.law.likelihood import NoLikelihoodError, likelihood
from saltus.law.solve import fit

TRUTH = {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42}
NOISE = 0.01
SEEDS, HORIZONS, RESAMPLES = 5, 4, 200
DESIGNS = ((8, 0.0), (8, NOISE), (5, 0.0), (5, NOISE))
BOOTSTRAPS = ("rows", "replicas within size", "the law")
OUT = common.ROOT / "src" / "saltus" / "law" / "coverage.csv"
BEYOND_LADDER = ("law beyond the ladder", "new replica beyond the ladder")
BEYOND = {"N": np.array([12e6]), "D": np.array([128e6])}

Hit = tuple[str, str, bool | None, float]  # method, quantity, inside (None: refused), width


def ladder(job: tuple[int, float, int, bool]) -> list[Hit]:
    """Simulate one ladder and hold every interval against the truth."""
    num_sizes, misfit, number, beside = job
    generator = np.random.default_rng([20, num_sizes, int(misfit > 0), number])
    form = Chinchilla()
    size = np.repeat(np.arange(num_sizes), SEEDS * HORIZONS)
    replica = np.repeat(np.arange(num_sizes * SEEDS), HORIZONS)
    table = {
        "N": np.geomspace(1e4, 3e6, num_sizes)[size],
        "D": np.tile(np.geomspace(1e6, 64e6, HORIZONS), num_sizes * SEEDS),
    }
    part = NOISE / np.sqrt(2)
    noise = generator.normal(0, part, num_sizes * SEEDS)[replica]
    noise = noise + generator.normal(0, part, len(size))
    noise = noise + generator.normal(0, misfit, num_sizes)[size]
    loss = form.predict(TRUTH, table) * np.exp(noise)
    new = float(form.predict(TRUTH, BEYOND)[0])
    actual = new * float(np.exp(generator.normal(0, np.hypot(NOISE, misfit))))
    fitted = fit(form, table, loss)
    sizes, replicas = [str(s) for s in size], list(replica)
    errors = jackknife(fitted, table, loss, sizes, replicas)
    assert errors is not None
    hits = list(_held(errors, "jackknife", new, actual))
    if beside:
        for what in BOOTSTRAPS:
            try:
                drawn = bootstrap(
                    fitted, table, loss, what=what, sizes=sizes, replicas=replicas,
                    num=RESAMPLES, seed=number, audit=0.0,
                )  # fmt: skip
            except NoScatterError:
                hits += [(what, name, None, np.nan) for name in (*TRUTH, "a", *BEYOND_LADDER)]
            else:
                hits += _held(drawn, what, new, actual)
        hits += _profiled(table, loss, sizes, replicas)
    return hits


def _held(errors: Intervals, method: str, new: float, actual: float) -> Iterator[Hit]:
    exponent = float(allocation_exponent(TRUTH["alpha"], TRUTH["beta"]))
    intervals = {**errors.parameter_intervals(), "a": errors.allocation_interval()}
    for name, ends in intervals.items():
        truth = exponent if name == "a" else TRUTH[name]
        inside = None if ends is None else ends[0] <= truth <= ends[1]
        yield method, name, inside, np.nan if ends is None else ends[1] - ends[0]
    for name, (low, high), truth in (
        (BEYOND_LADDER[0], errors.band(BEYOND), new),
        (BEYOND_LADDER[1], errors.prediction_interval(BEYOND), actual),
    ):
        yield method, name, bool(low[0] <= truth <= high[0]), float(high[0] - low[0])


def _profiled(
    table: dict[str, np.ndarray], loss: np.ndarray, sizes: list[str], replicas: list[int]
) -> list[Hit]:
    form = Chinchilla()
    fitted = fit(form, table, loss, criterion=Criterion("squared"))
    truth = {name: float(np.log(TRUTH[name])) for name in ("E", "A", "B")}
    truth |= {name: TRUTH[name] for name in ("alpha", "beta")}
    truth["a"] = float(allocation_exponent(TRUTH["alpha"], TRUTH["beta"]))
    try:
        made = likelihood(fitted, table, loss, sizes=sizes, replicas=replicas)
    except NoLikelihoodError:
        return [("profile", name, None, np.nan) for name in truth]
    limit = stats.t.ppf(0.975, made.dof) ** 2

    def inside(name: str, value: float) -> bool | None:
        try:
            statistic, _, converged = made.statistic(name, value, made.theta)
        except NoLikelihoodError:
            return None
        return bool(statistic <= limit) if converged else None

    return [("profile", name, inside(name, value), np.nan) for name, value in truth.items()]


def main() -> None:
    """Run all designs and write the table."""
    parser = argparse.ArgumentParser(description="Coverage of the law's intervals.")
    parser.add_argument("--ladders", type=int, default=1000)
    parser.add_argument("--beside", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    rows = []
    for num_sizes, misfit in DESIGNS:
        begun = time.perf_counter()
        beside = given.beside if num_sizes == DESIGNS[0][0] else 0
        jobs = [(num_sizes, misfit, i, i < beside) for i in range(given.ladders)]
        found: dict[tuple[str, str], list[tuple[bool | None, float]]] = {}
        with multiprocessing.Pool(given.processes) as pool:
            for hits in pool.imap_unordered(ladder, jobs, chunksize=4):
                for method, name, inside, width in hits:
                    found.setdefault((method, name), []).append((inside, width))
        for (method, name), held in found.items():
            share = float(np.mean([bool(inside) for inside, _ in held]))
            refused = float(np.mean([inside is None for inside, _ in held]))
            widths = [width for _, width in held if np.isfinite(width)]
            error = 1.96 * np.sqrt(share * (1 - share) / len(held))
            width = f"{np.median(widths):.4g}" if widths else ""
            rows.append(
                [method, num_sizes, misfit, name, f"{share:.3f}", f"{error:.3f}", width,
                 f"{refused:.3f}", len(held)]
            )  # fmt: skip
            print(*rows[-1], sep="\t")
        print(
            f"{num_sizes} sizes, misfit {misfit}: {time.perf_counter() - begun:.0f} s", flush=True
        )
        header = ["method", "sizes", "size_misfit", "quantity", "coverage", "plus_minus"]
        with given.out.open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([*header, "median_width", "refused", "ladders"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
