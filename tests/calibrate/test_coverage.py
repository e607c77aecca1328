"""The committed table of coverage: every interval, every design, and what the docs say of it."""

import re
from pathlib import Path

import numpy as np
import pytest

from saltus.calibrate.coverage import OF_SIZES, coverage_of, rows
from saltus.calibrate.measure import measure

DOCS = Path(__file__).parents[2] / "docs" / "statistics.md"
ABSOLUTE = {"ece", "ece_equal_mass", "smooth_ece", "over_error"}


def test_every_interval_was_simulated_at_every_design() -> None:
    rng = np.random.default_rng(0)
    measured = measure(rng.random(400), (rng.random(400) < 0.5).astype(float))
    for num_rows, clustered in ((300, False), (2000, False), (2000, True)):
        held = coverage_of(num_rows, 100 if clustered else None)
        assert set(held.shares) == set(measured.intervals) and held.reason == ""
    designs = {(row["design"], row["truth"], row["size"], row["n"], row["clusters"])
               for row in rows() if row["design"] != OF_SIZES}  # fmt: skip
    assert len(designs) == 3 * 6 * 3
    assert all(int(row["tables"]) >= 200 for row in rows())


def test_the_nearest_design_is_taken_and_named() -> None:
    assert coverage_of(100, None) == coverage_of(300, None)
    assert coverage_of(10**6, None).design == "2,000 predictions"
    assert coverage_of(300, 40).design == "2,000 predictions in 100 clusters"


def test_of_far_fewer_rows_or_clusters_nothing_is_quoted() -> None:
    for num_rows, clusters, told in ((99, None, "300 predictions"), (5000, 3, "100 clusters")):
        held = coverage_of(num_rows, clusters)
        assert held.shares == {} and f"simulated with {told}" in held.reason


def test_absolute_errors_are_covered_where_a_bootstrap_of_them_is_not() -> None:
    held = [float(row["coverage"]) for row in rows() if row["quantity"] in ABSOLUTE]
    assert min(held) > 0.8 and np.mean(held) > 0.93


def test_the_docs_quote_the_table() -> None:
    said = DOCS.read_text().split("**Coverage.**")[1].split("\n\n")[0]
    ranges = {
        match[1]: (float(match[2]), float(match[3]))
        for match in re.finditer(r"`(\w+)`\s(\.\d+|1\.00)–(\.\d+|1\.00)", said)
    }
    assert set(ranges) == {row["quantity"] for row in rows()}
    for quantity, (low, high) in ranges.items():
        held = [float(row["coverage"]) for row in rows() if row["quantity"] == quantity]
        assert (min(held), max(held)) == pytest.approx((low, high), abs=0.0051), quantity
