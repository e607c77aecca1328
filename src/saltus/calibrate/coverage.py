"""What simulation says of an interval: the share of tables whose truth it held.

`coverage.csv` is written by bench/calibration.py: tables of 300 and 2,000 predictions, and 2,000 in
100 clusters, of three kinds of confidence and six of miscalibration.
"""

import csv
import math
from functools import lru_cache
from importlib import resources

OF_SIZES = "sizes"  # the design of slopes and lags


@lru_cache
def rows() -> tuple[dict[str, str], ...]:
    """Return the rows of `coverage.csv`."""
    text = resources.files("saltus.calibrate").joinpath("coverage.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def coverage_of(num_rows: int, *, clustered: bool) -> dict[str, tuple[float, float]]:
    """Return the least and the largest simulated coverage of each error over all truths.

    Of the design nearest to `num_rows` predictions, with or without clusters.
    """
    fitting = [
        row for row in rows()
        if row["design"] != OF_SIZES and (row["clusters"] != row["n"]) == clustered
    ]  # fmt: skip
    nearest = min(
        {int(row["n"]) for row in fitting}, key=lambda n: abs(math.log(n) - math.log(num_rows))
    )
    found: dict[str, list[float]] = {}
    for row in fitting:
        if int(row["n"]) == nearest:
            found.setdefault(row["quantity"], []).append(float(row["coverage"]))
    return {name: (min(shares), max(shares)) for name, shares in found.items()}
