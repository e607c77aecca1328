"""Loading: what was written comes back; what is missing is said in one line."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated import simulate, write

from saltus.emerge.scores import wilson
from saltus.errors import TableError
from saltus.figure import rates
from saltus.figure.spread import accuracy_interval, combined, dodge, mean_interval
from saltus.figure.tables import load_tables
from saltus.files import read_table, write_json, write_table


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(simulate(num_sizes=3, num_seeds=2, horizons=(65_536,), tasks=("add_2",)), tmp_path)
    return tmp_path


def test_tables_come_back(directory: Path) -> None:
    tables = load_tables(directory)
    assert tables.sizes() == ["s0", "s1", "s2"] and tables.horizons() == [65_536]
    assert tables.rates is not None and tables.law("chinchilla") is not None
    again = simulate(num_sizes=3, num_seeds=2, horizons=(65_536,), tasks=("add_2",))
    pd.testing.assert_frame_equal(tables.runs, again.runs)


def test_a_missing_table_is_named(directory: Path) -> None:
    (directory / "tables" / "scores.parquet").unlink()
    with pytest.raises(TableError, match=r"scores\.parquet: missing") as caught:
        load_tables(directory)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named(directory: Path) -> None:
    path = directory / "tables" / "scores.parquet"
    write_table(path, read_table(path).drop(columns=["target_nll"]))
    with pytest.raises(TableError, match="lacks the column target_nll"):
        load_tables(directory)


def test_a_broken_document_is_named(directory: Path) -> None:
    (directory / "laws.json").write_text("{")
    with pytest.raises(TableError, match=r"laws\.json: not JSON"):
        load_tables(directory)
    (directory / "laws.json").write_text("[]")
    with pytest.raises(TableError, match="expected an object"):
        load_tables(directory)


def test_rates_are_optional_but_whole(directory: Path) -> None:
    (directory / "tables" / "rates.parquet").unlink()
    with pytest.raises(TableError, match=r"rates\.parquet"):
        load_tables(directory)
    (directory / "rates.json").unlink()
    assert load_tables(directory).rates is None


def test_accuracy_interval_is_never_narrower_than_the_items() -> None:
    rows = pd.DataFrame({"exact_match": [0.0, 0.0], "successes": [0, 0], "items": [300, 300]})
    assert accuracy_interval(rows) == pytest.approx(tuple(map(float, wilson(0, 600))))
    rows = pd.DataFrame({"exact_match": [0.1, 0.9], "successes": [30, 270], "items": [300, 300]})
    assert accuracy_interval(rows) == (0.0, 1.0)


def test_mean_interval_is_students() -> None:
    values = [1.0, 2.0, 4.0]
    theirs = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx(theirs)
    assert np.isnan(mean_interval([1.0])).all()


def test_half_widths_of_independent_errors_add_in_quadrature() -> None:
    unknown = (math.nan, math.nan)
    assert combined(1.0, (0.7, 1.3), (0.6, 1.4)) == pytest.approx((0.5, 1.5))
    assert combined(1.0, (0.9, 1.3), unknown) == pytest.approx((0.9, 1.3))
    assert combined(0.0, (0.1, 0.3), (-0.1, 0.1)) == pytest.approx((-0.1, np.hypot(0.3, 0.1)))
    assert np.isnan(combined(1.0, unknown, unknown)).all()


def test_dodge_keeps_the_middle_and_spans_what_it_says() -> None:
    moved = dodge(pd.Series([100.0] * 3), pd.Series([0, 1, 2]), 0.1)
    assert np.log10(moved) == pytest.approx([1.95, 2.0, 2.05])


def test_a_rule_takes_its_rows_from_the_runs(directory: Path) -> None:
    written = read_table(directory / "tables" / "runs.parquet")
    runs = written[written["rate_factor"] == 1.0].reset_index(drop=True)
    per_size = runs.drop_duplicates("size")[["size", "params_nonembedding"]]
    per_size = per_size.assign(best_rate=[0.006, 0.004, None], in_rule=[True, True, False],
                               reason=["", "", "at the edge"], rule_cost_percent=0.2)  # fmt: skip
    write_table(directory / "tables" / "rates.parquet", per_size)
    rule = {"status": "fitted", "coefficient": 0.005, "reference": 3000.0, "exponent": -0.3,
            "intervals": None}  # fmt: skip
    write_json(directory / "rates.json", rule)
    tables = load_tables(directory)
    pd.testing.assert_frame_equal(tables.runs, runs)
    assert tables.rates_rows is not None and len(tables.rates_rows) == 3 * len(runs)
    assert rates.draw(tables).axes
    caption = rates.caption(tables)
    assert "e = −0.300" in caption and "s2" in caption and "0.20 %" in caption


@pytest.mark.parametrize("seed_scatter", [0.0, 0.02, 0.1])
def test_intervals_for_other_seeds_and_items_cover_the_truth(seed_scatter: float) -> None:
    """Five seeds answer the same 400 items: scatter of seeds, of items, and of both together."""
    rng = np.random.default_rng(5)
    inside, draws = 0, 2000
    for _ in range(draws):
        seeds, items = seed_scatter * rng.normal(size=(5, 1)), 0.4 * rng.normal(size=400)
        gaps = seeds + items + 0.3 * rng.normal(size=(5, 400))
        half = 1.96 * stats.sem(gaps.mean(0))
        low, high = combined(
            gaps.mean(), (gaps.mean() - half, gaps.mean() + half), mean_interval(gaps.mean(1))
        )
        inside += low < 0 < high
    assert 0.94 < inside / draws < 0.995
