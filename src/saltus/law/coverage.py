"""What simulation says of an interval: the share of ladders whose truth it held.

`coverage.csv` is written by bench/coverage.py: ladders of 8 or 5 sizes, 5 seeds and 4 horizons from
a known Chinchilla law, with and without every size being off the law. It speaks of intervals that
were made as there, and of no others.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from saltus.law.criterion import Criterion
from saltus.law.misfit import NO_FIT
from saltus.law.solve import Fit

SIMULATED_FORM = "chinchilla"
SIMULATED_LOSS = {"profile": Criterion("squared")}  # by method; all others' is the default


@lru_cache
def _rows() -> tuple[dict[str, str], ...]:
    text = resources.files("saltus.law").joinpath("coverage.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def not_simulated(
    fitted: Fit, kind: str, sizes: Sequence[object], replicas: Sequence[object] | None
) -> str:
    """Return why an interval of `kind` has no simulated coverage, or "" where it has.

    `sizes` and `replicas` (n,) label the rows, `replicas` being None where seeds are not known.
    """
    simulated = SIMULATED_LOSS.get(kind, Criterion())
    hit = fitted.certificate.bounds_hit
    if fitted.form.name != SIMULATED_FORM:
        return f"simulated for {SIMULATED_FORM}'s law only"
    if not any(row["method"] == kind for row in _rows()):
        return f"not simulated for {kind}"
    if fitted.criterion != simulated:
        return f"simulated for the {simulated} only"
    if hit:
        return f"simulated for laws inside their bounds; {', '.join(hit)} is on one"
    if replicas is None or len(set(replicas)) <= len(set(sizes)):
        return "simulated for several seeds of each size"
    fewest = min(int(row["sizes"]) for row in _rows() if row["method"] == kind)
    if len(set(sizes)) < fewest:
        return f"simulated with {fewest} sizes, not with as few as {len(set(sizes))}"
    return ""


def withheld(entry: Mapping[str, Any], lack: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of intervals without its coverage where the law does not fit.

    Sizes were simulated as far off the law as a seed is: residuals of 1.4 times the seeds' scatter.
    """
    if entry["coverage"] is None or lack["status"] != NO_FIT:
        return dict(entry)
    reason = f"simulated for laws that fit; this one leaves {lack['ratio']:.2g} times the scatter"
    return {**entry, "coverage": None, "coverage_reason": f"{reason} of repeated rows"}


def coverage_of(kind: str, num_sizes: int) -> dict[str, Any]:
    """Return the simulated coverage nearest to a design, by quantity.

    `kind` is the kind of interval. `plain` is without misfit of sizes, `misfit` with it.
    """
    rows = [row for row in _rows() if row["method"] == kind]
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
