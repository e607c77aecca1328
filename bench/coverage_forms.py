"""Coverage of the jackknife's intervals of other forms: writes bench/coverage_forms.csv.

    python bench/coverage_forms.py [--ladders 200] [--forms kaplan,outer] [--sizes 8,5]

Ladders (`ladders`), with and without misfit of the sizes, are drawn from one form and fitted by the
same form; the 95 % intervals of its parameters, of the law and of one new replica at four times the
largest size and twice the longest horizon are held against the truth. The delete-one-size jackknife
takes its quantile from t on sizes - 3 whatever the form: this shows whether that is enough.

`boundary` is the share of ladders whose fit rests on a bound. An interval that cannot be given
counts as a miss; `refused` is their share. `plus_minus` is 1.96 binomial standard errors: 0 where
all were inside, of which n ladders say no more than 1 - 3/n.

The table at hand is of three runs: 400 ladders of Kaplan's law, 100 of the outer exponent's, 200 of
the others.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import common
import numpy as np
from ladders import NOISE, Hit, held, simulate, tally

from saltus.law.forms import FORMS, Form, PowerLaw
from saltus.law.jackknife import jackknife
from saltus.law.solve import fit

TRUTHS: dict[str, tuple[Form, dict[str, float]]] = {
    "kaplan": (
        FORMS["kaplan"], {"N_c": 1e12, "D_c": 3e9, "alpha_N": 0.08, "alpha_D": 0.16},
    ),
    "outer": (
        FORMS["outer"],
        {"E": 1.7, "A": 400.0, "B": 9e4, "alpha": 0.62, "beta": 0.84, "gamma": 0.5},
    ),
    "over-training": (FORMS["over-training"], {"E": 1.7, "a": 40.0, "b": 150.0, "eta": 0.18}),
    "power in C": (PowerLaw("C"), {"E": 1.7, "A": 100.0, "alpha": 0.15}),
    "power in N": (PowerLaw("N"), {"E": 1.7, "A": 20.0, "alpha": 0.31}),
}  # fmt: skip
OUT = common.ROOT / "bench" / "coverage_forms.csv"
CODE = ("saltus.law.jackknife", "saltus.law.forms")

Held = tuple[list[Hit], bool, bool]  # hits, whether the fit is on a bound, a refit unconverged


def ladder(job: tuple[str, int, float, int]) -> Held:
    """Simulate one ladder and hold every interval against the truth."""
    name, num_sizes, misfit, number = job
    form, truth = TRUTHS[name]
    drawn = simulate(form, truth, num_sizes, misfit, [21, num_sizes, int(misfit > 0), number])
    fitted = fit(form, drawn.table, drawn.loss)
    errors = jackknife(fitted, drawn.table, drawn.loss, drawn.sizes, drawn.replicas)
    assert errors is not None
    hits = list(held(errors, truth, drawn))
    return hits, bool(fitted.certificate.bounds_hit), errors.unconverged > 0


def rows_of(
    name: str, num_sizes: int, misfit: float, tried: list[Held]
) -> Iterator[dict[str, Any]]:
    """Return a design's rows of the table."""
    shares = {
        "boundary": f"{np.mean([bound for _, bound, _ in tried]):.3f}",
        "unconverged": f"{np.mean([short for _, _, short in tried]):.3f}",
    }
    for i, (quantity, _, _) in enumerate(tried[0][0]):
        found = tally([hits[i][1:] for hits, _, _ in tried])
        design = {"form": name, "sizes": num_sizes, "size_misfit": str(misfit)}
        yield {**design, "quantity": quantity, **found, **shares, "ladders": len(tried)}


def main() -> None:
    """Run all designs and write the table."""
    parser = argparse.ArgumentParser(description="Coverage of the jackknife, form by form.")
    parser.add_argument("--ladders", type=int, default=200)
    parser.add_argument("--forms", default=",".join(TRUTHS))
    parser.add_argument("--sizes", default="8")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    marks = common.provenance(__file__, *CODE)
    rows: list[dict[str, Any]] = []
    for name in given.forms.split(","):
        for num_sizes in map(int, given.sizes.split(",")):
            for misfit in (0.0, NOISE):
                begun = time.perf_counter()
                jobs = [(name, num_sizes, misfit, i) for i in range(given.ladders)]
                with multiprocessing.Pool(given.processes) as pool:
                    tried = pool.map(ladder, jobs, chunksize=4)
                for row in rows_of(name, num_sizes, misfit, tried):
                    print(*row.values(), sep="\t")
                    rows.append(row | marks)
                print(f"{time.perf_counter() - begun:.0f} s", flush=True)
                common.write_csv(given.out, rows)


if __name__ == "__main__":
    main()
