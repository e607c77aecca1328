"""Verdicts on simulated abilities whose truth is known: writes src/saltus/emerge/verdict.csv.

    python bench/verdicts.py [--tables 20] [--processes 2]

A table is a ladder of sizes over 2.5 decades with seeds. The target's NLL falls from 5 to .4 nats
along a logistic curve centred anywhere in the middle half of the ladder; each seed, and each size
as a whole, stands elsewhere on the curve by a normal number of decades (`scatter`, of either), and
a seed's NLL is off by .05 nats besides. This is not the noise that the verdict assumes. Exact
answers are 300 trials at the accuracy that a link gives: gentle, or steep for the truth
`metric-induced`. Truths (width of a seed's own NLL curve): sharp .15 and .25 decades, smooth 1 and
1.5, metric-induced 1.5, and `near` .6, which no such design tells but none may call sharp.

For each truth and design: the share of tables whose power analysis calls the design sufficient, and
among those, and among the others, the shares decided, right, wrongly called sharp, and wrong.
"""

import argparse
import multiprocessing
import os
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import common
import numpy as np
from scipy import special

from saltus.emerge.means import accuracy_means, nll_means
from saltus.emerge.power import SUFFICIENT, noise_of, power_at
from saltus.emerge.verdict import W0, judge, settle
from saltus.emerge.widths import PER_WIDTH

TRUTHS = (
    ("sharp", 0.15),
    ("sharp", 0.25),
    ("smooth", 1.0),
    ("smooth", 1.5),
    ("metric-induced", 1.5),
    ("near", 0.6),
)
DESIGNS = ((8, 5), (12, 5), (16, 5), (24, 5), (16, 1))
# What may be said of it: the accuracy of a curve .6 wide may itself be narrower than w0.
RIGHT = {"near": ("smooth", "metric-induced")}
SCATTER = (0.02, 0.05, 0.1)
START, END, OFF, TRIALS, DECADES = 5.0, 0.4, 0.05, 300, 2.5
GENTLE, STEEP = 0.8, 0.12  # nats of NLL over which the accuracy rises by a factor e in odds
DRAWS = 199  # of p-values and of power
OUT = common.ROOT / "src" / "saltus" / "emerge" / "verdict.csv"


def table(job: tuple[str, float, int, int, float, int]) -> tuple[str, bool]:
    """Simulate one table; return its verdict and whether its design is called sufficient."""
    truth, width, sizes, seeds, scatter, number = job
    key = [33, sizes, seeds, round(1000 * scatter), len(truth), round(1000 * width), number]
    rng = np.random.default_rng(key)
    x = np.linspace(3, 3 + DECADES, sizes)
    middle = rng.uniform(x[0] + DECADES / 4, x[-1] - DECADES / 4)
    place = x[:, None] + rng.normal(0, scatter, (sizes, 1)) + rng.normal(0, scatter, (sizes, seeds))
    fallen = special.expit((place - middle) * PER_WIDTH / width)
    nll = START + (END - START) * fallen + rng.normal(0, OFF, fallen.shape)
    nll = np.maximum(nll, 0)
    steep = STEEP if truth == "metric-induced" else GENTLE
    chance = special.expit(((START + END) / 2 - nll) / steep)
    hits = rng.binomial(TRIALS, chance)
    scale = np.repeat(10**x, seeds)
    means = nll_means(scale, nll.ravel())
    accuracy = accuracy_means(scale, hits.ravel(), np.full(scale.size, TRIALS))
    found = judge(means, accuracy, draws=DRAWS)
    powers = [power_at(each, noise_of(each), W0, draws=DRAWS) for each in (means, accuracy)]
    return settle([found])[0].verdict, min(map(min, powers)) >= SUFFICIENT


def main() -> None:
    """Run all designs and write the table."""
    parser = argparse.ArgumentParser(description="Verdicts on simulated abilities.")
    parser.add_argument("--tables", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    header = (
        "truth", "width", "sizes", "seeds", "scatter", "design", "tables", "decided", "right",
        "false_sharp",
    )  # fmt: skip
    marks = common.provenance(__file__, "saltus.emerge.verdict")
    rows = []
    with multiprocessing.Pool(given.processes) as pool:
        for truth, width in TRUTHS:
            for sizes, seeds in DESIGNS:
                for scatter in SCATTER:
                    jobs = [(truth, width, sizes, seeds, scatter, i) for i in range(given.tables)]
                    found = pool.map(table, jobs, chunksize=4)
                    for design in ("sufficient", "insufficient"):
                        words = [w for w, enough in found if enough == (design == "sufficient")]
                        decided = [word for word in words if word != "undecided"]
                        right = sum(word in RIGHT.get(truth, (truth,)) for word in decided)
                        sharp = 0 if truth == "sharp" else decided.count("sharp")
                        if words:
                            row = [truth, width, sizes, seeds, scatter, design, len(words)]
                            row += [len(decided), right, sharp]
                            print(*row, sep="\t", flush=True)
                            rows.append(dict(zip(header, row, strict=True)) | marks)
                    common.write_csv(given.out, rows)


if __name__ == "__main__":
    main()
