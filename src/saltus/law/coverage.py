"""What simulation says of an interval: the share of ladders whose truth it held.

`coverage.csv` is written by bench/coverage.py: ladders of 8 or 5 sizes, 5 seeds and 4 horizons from
a known Chinchilla law, with and without every size being off the law.
"""

import csv
from functools import lru_cache
from importlib import resources
from typing import Any

SIMULATED_FORM = "chinchilla"


@lru_cache
def _rows() -> tuple[dict[str, str], ...]:
    text = resources.files("saltus.law").joinpath("coverage.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def coverage_of(form: str, kind: str, num_sizes: int) -> dict[str, Any] | None:
    """Return the simulated coverage nearest to a design, by quantity; None where none was made.

    `kind` is the kind of interval. `plain` is without misfit of sizes, `misfit` with it.
    """
    rows = [row for row in _rows() if row["method"] == kind]
    if form != SIMULATED_FORM or not rows:
        return None
    sizes = min({int(row["sizes"]) for row in rows}, key=lambda size: abs(size - num_sizes))
    chosen = [row for row in rows if int(row["sizes"]) == sizes]
    quantities: dict[str, dict[str, float | None]] = {}
    for row in chosen:
        key = "misfit" if float(row["size_misfit"]) > 0 else "plain"
        held = quantities.setdefault(row["quantity"], {"plain": None, "misfit": None})
        held[key] = float(row["coverage"])
    return {
        "design": f"{sizes} sizes, 5 seeds, 4 horizons",
        "ladders": min(int(row["ladders"]) for row in chosen),
        "quantities": quantities,
    }
