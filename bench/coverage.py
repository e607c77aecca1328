"""Coverage of every interval of a law, by simulation: writes src/saltus/law/coverage.csv.

    python bench/coverage.py [--ladders 1000] [--beside 1000] [--processes 2]

Ladders (`ladders`) are of 8 or 5 sizes, with and without misfit of the sizes. Each 95 %
interval is held against the truth: the parameters, a = beta / (alpha + beta), the law and one new
replica at four times the largest size and twice the longest horizon.

The jackknife and the bootstraps (200 resamples) are of the default fit, Huber's loss with
delta = .001; the profile is of squares, with components of scatter, and needs no ends: the truth is
inside where its statistic is below the limit. Bootstraps and profile are tried on 8 sizes only, and
on the first `--beside` ladders.
An interval that cannot be given counts as a miss; `refused` is their share.
"""

import argparse
import multiprocessing
import os
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import common
import numpy as np
from ladders import BEYOND_LADDER, NOISE, Hit, Ladder, held, simulate, tally
from scipy import stats

from saltus.law.bootstrap import bootstrap
from saltus.law.components import NoScatterError
from saltus.law.criterion import Criterion
from saltus.law.forms import Chinchilla
from saltus.law.intervals import allocation_exponent
from saltus.law.jackknife import jackknife
from saltus.law.likelihood import ALLOCATION, NoLikelihoodError, likelihood
from saltus.law.solve import fit

TRUTH = {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42}
EXPONENT = float(allocation_exponent(TRUTH["alpha"], TRUTH["beta"]))
RESAMPLES = 200
DESIGNS = ((8, 0.0), (8, NOISE), (5, 0.0), (5, NOISE))
BOOTSTRAPS = ("rows", "replicas within size", "the law")
CODE = ("saltus.law.jackknife", "saltus.law.bootstrap", "saltus.law.likelihood")
OUT = common.ROOT / "src" / "saltus" / "law" / "coverage.csv"


def ladder(job: tuple[int, float, int, bool]) -> list[tuple[str, Hit]]:
    """Simulate one ladder and hold every method's intervals against the truth."""
    num_sizes, misfit, number, beside = job
    form = Chinchilla()
    drawn = simulate(form, TRUTH, num_sizes, misfit, [20, num_sizes, int(misfit > 0), number])
    table, loss, sizes, replicas = drawn.table, drawn.loss, drawn.sizes, drawn.replicas
    fitted = fit(form, table, loss)
    errors = jackknife(fitted, table, loss, sizes, replicas)
    assert errors is not None
    hits = [("jackknife", hit) for hit in held(errors, TRUTH, drawn, EXPONENT)]
    if not beside:
        return hits
    for what in BOOTSTRAPS:
        try:
            resampled = bootstrap(
                fitted, table, loss, what=what, sizes=sizes, replicas=replicas, num=RESAMPLES,
                seed=number, audit=0.0,
            )  # fmt: skip
        except NoScatterError:
            names = (*TRUTH, "a", *BEYOND_LADDER)
            hits += [(what, (name, None, np.nan)) for name in names]
        else:
            hits += [(what, hit) for hit in held(resampled, TRUTH, drawn, EXPONENT)]
    return hits + [("profile", hit) for hit in _profiled(drawn)]


def _profiled(drawn: Ladder) -> list[Hit]:
    table, loss = drawn.table, drawn.loss
    fitted = fit(Chinchilla(), table, loss, criterion=Criterion("squared"))
    truth = {name: float(np.log(TRUTH[name])) for name in ("E", "A", "B")}
    truth |= {name: TRUTH[name] for name in ("alpha", "beta")}
    truth[ALLOCATION] = EXPONENT
    names = {ALLOCATION: "a"}
    try:
        made = likelihood(fitted, table, loss, sizes=drawn.sizes, replicas=drawn.replicas)
    except NoLikelihoodError:
        return [(names.get(name, name), None, np.nan) for name in truth]
    limit = stats.t.ppf(0.975, made.dof) ** 2

    def inside(name: str, value: float) -> bool | None:
        try:
            statistic, _, converged = made.statistic(name, value, made.theta)
        except NoLikelihoodError:
            return None
        return bool(statistic <= limit) if converged else None

    return [(names.get(name, name), inside(name, value), np.nan) for name, value in truth.items()]


def main() -> None:
    """Run all designs and write the table."""
    parser = argparse.ArgumentParser(description="Coverage of the law's intervals.")
    parser.add_argument("--ladders", type=int, default=1000)
    parser.add_argument("--beside", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    marks = common.provenance(__file__, *CODE)
    rows = []
    for num_sizes, misfit in DESIGNS:
        begun = time.perf_counter()
        beside = given.beside if num_sizes == DESIGNS[0][0] else 0
        jobs = [(num_sizes, misfit, i, i < beside) for i in range(given.ladders)]
        found: dict[tuple[str, str], list[tuple[bool | None, float]]] = {}
        with multiprocessing.Pool(given.processes) as pool:
            for hits in pool.imap_unordered(ladder, jobs, chunksize=4):
                for method, (name, inside, width) in hits:
                    found.setdefault((method, name), []).append((inside, width))
        for (method, name), tried in found.items():
            design = {"method": method, "sizes": num_sizes, "size_misfit": str(misfit)}
            row = {**design, "quantity": name, **tally(tried), "ladders": len(tried)}
            print(*row.values(), sep="\t")
            rows.append(row | marks)
        print(
            f"{num_sizes} sizes, misfit {misfit}: {time.perf_counter() - begun:.0f} s", flush=True
        )
        common.write_csv(given.out, rows)


if __name__ == "__main__":
    main()
