"""Coverage of the jackknife's intervals of other forms: writes bench/coverage_forms.csv.

    python bench/coverage_forms.py [--ladders 200] [--forms kaplan,outer] [--sizes 8,5]

Ladders as in coverage.py: sizes x 5 seeds x 4 horizons, seed noise of 1 % of the loss, and with
misfit every size off the law by as much. Each is drawn from one form and fitted by the same form;
the 95 % intervals of its parameters, of the law and of one new replica at four times the largest
size and twice the longest horizon are held against the truth. The delete-one-size jackknife takes
its quantile from t on sizes - 3 whatever the form: this shows whether that is enough.

`boundary` is the share of ladders whose fit rests on a bound. An interval that cannot be given
counts as a miss; `refused` is their share. `plus_minus` is 1.96 binomial standard errors: 0 where
all were inside, of which n ladders say no more than 1 - 3/n.

The table at hand is of three runs: 400 ladders of Kaplan's law, 100 of the outer exponent's, 200 of
the others.
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
from coverage import BEYOND, HORIZONS, NOISE, SEEDS

from saltus.law.forms import FORMS, Form, PowerLaw
from saltus.law.intervals import jackknife
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
HEADER = (
    "form", "sizes", "size_misfit", "quantity", "coverage", "plus_minus", "median_width",
    "refused", "boundary", "unconverged", "ladders",
)  # fmt: skip

Hit = tuple[str, bool | None, float]  # quantity, inside (None: refused), width
Held = tuple[list[Hit], bool, bool]  # hits, whether the fit is on a bound, a refit unconverged


def with_compute(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return N, D and C = 6 N D."""
    return {**table, "C": 6.0 * table["N"] * table["D"]}


def ladder(job: tuple[str, int, float, int]) -> Held:
    """Simulate one ladder and hold every interval against the truth."""
    name, num_sizes, misfit, number = job
    form, truth = TRUTHS[name]
    generator = np.random.default_rng([21, num_sizes, int(misfit > 0), number])
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
    new = float(form.predict(truth, with_compute(BEYOND))[0])
    actual = new * float(np.exp(generator.normal(0, np.hypot(NOISE, misfit))))
    fitted = fit(form, table, loss)
    errors = jackknife(fitted, table, loss, [str(s) for s in size], list(replica))
    assert errors is not None

    def hits() -> Iterator[Hit]:
        for quantity, ends in errors.parameter_intervals().items():
            inside = None if ends is None else ends[0] <= truth[quantity] <= ends[1]
            yield quantity, inside, np.nan if ends is None else ends[1] - ends[0]
        for quantity, (low, high), value in (
            ("law beyond the ladder", errors.band(with_compute(BEYOND)), new),
            (
                "new replica beyond the ladder",
                errors.prediction_interval(with_compute(BEYOND)),
                actual,
            ),
        ):
            yield quantity, bool(low[0] <= value <= high[0]), float(high[0] - low[0])

    return list(hits()), bool(fitted.certificate.bounds_hit), errors.unconverged > 0


def rows_of(name: str, num_sizes: int, misfit: float, held: list[Held]) -> Iterator[list[object]]:
    """Return a design's rows of the table."""
    boundary = float(np.mean([bound for _, bound, _ in held]))
    unconverged = float(np.mean([short for _, _, short in held]))
    for i, (quantity, _, _) in enumerate(held[0][0]):
        found = [hits[i] for hits, _, _ in held]
        share = float(np.mean([bool(inside) for _, inside, _ in found]))
        refused = float(np.mean([inside is None for _, inside, _ in found]))
        widths = [width for _, _, width in found if np.isfinite(width)]
        error = 1.96 * np.sqrt(share * (1 - share) / len(found))
        yield [
            name, num_sizes, misfit, quantity, f"{share:.3f}", f"{error:.3f}",
            f"{np.median(widths):.4g}" if widths else "", f"{refused:.3f}", f"{boundary:.3f}",
            f"{unconverged:.3f}", len(found),
        ]  # fmt: skip


def main() -> None:
    """Run all designs and write the table."""
    parser = argparse.ArgumentParser(description="Coverage of the jackknife, form by form.")
    parser.add_argument("--ladders", type=int, default=200)
    parser.add_argument("--forms", default=",".join(TRUTHS))
    parser.add_argument("--sizes", default="8")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    rows: list[list[object]] = []
    for name in given.forms.split(","):
        for num_sizes in map(int, given.sizes.split(",")):
            for misfit in (0.0, NOISE):
                begun = time.perf_counter()
                jobs = [(name, num_sizes, misfit, i) for i in range(given.ladders)]
                with multiprocessing.Pool(given.processes) as pool:
                    held = pool.map(ladder, jobs, chunksize=4)
                made = list(rows_of(name, num_sizes, misfit, held))
                for row in made:
                    print(*row, sep="\t")
                print(f"{time.perf_counter() - begun:.0f} s", flush=True)
                rows += made
                with given.out.open("w", newline="") as stream:
                    csv.writer(stream, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    main()
