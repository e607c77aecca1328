"""What simulation says of an interval: the share of tables whose truth it held.

`coverage.csv` is written by bench/calibration.py: tables of 300 and 2,000 predictions, and 2,000 in
100 clusters, of three kinds of confidence and six of miscalibration.
"""

import csv
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources

OF_SIZES = "sizes"  # the design of slopes and lags
FEWER = 3  # times fewer predictions or clusters than simulated: no share is quoted


@lru_cache
def rows() -> tuple[dict[str, str], ...]:
    """Return the rows of `coverage.csv`."""
    text = resources.files("saltus.calibrate").joinpath("coverage.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@dataclass(frozen=True)
class Held:
    """The least and the largest simulated coverage of each error over all truths of one design.

    The design has `num_rows` predictions in `num_clusters`; `reason` says why nothing is quoted.
    """

    num_rows: int
    num_clusters: int
    shares: dict[str, tuple[float, float]]
    reason: str = ""

    @property
    def design(self) -> str:
        """Return the design in words."""
        if self.num_clusters == self.num_rows:
            return f"{self.num_rows:,} predictions"
        return f"{self.num_rows:,} predictions in {self.num_clusters:,} clusters"


def coverage_of(num_rows: int, num_clusters: int | None) -> Held:
    """Return what was simulated nearest to `num_rows` predictions in `num_clusters` (None: none).

    Without shares below a third of the design's rows or clusters: there intervals may hold less.
    """
    clustered = num_clusters is not None
    fitting = [
        row for row in rows()
        if row["design"] != OF_SIZES and (row["clusters"] != row["n"]) == clustered
    ]  # fmt: skip
    nearest = min(
        {int(row["n"]) for row in fitting}, key=lambda n: abs(math.log(n) - math.log(num_rows))
    )
    of_design = [row for row in fitting if int(row["n"]) == nearest]
    clusters = int(of_design[0]["clusters"])
    found: dict[str, list[float]] = {}
    for row in of_design:
        found.setdefault(row["quantity"], []).append(float(row["coverage"]))
    shares = {name: (min(each), max(each)) for name, each in found.items()}
    held = Held(nearest, clusters, shares)
    here = num_rows if num_clusters is None else num_clusters
    if here * FEWER < clusters:
        what = "predictions" if num_clusters is None else "clusters"
        reason = f"simulated with {clusters:,} {what}, not with as few as {here:,}"
        return replace(held, shares={}, reason=reason)
    return held
