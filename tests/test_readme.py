"""The README quotes the reference run: what it says of it stands in that run's tables."""

import re
from pathlib import Path

import pytest

from saltus.figure import words
from saltus.figure.calibration_size import doubt, ends
from saltus.figure.tables import Tables, load_tables
from saltus.files import sha256_of
from saltus.report.answers import by_seed

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference" / "laptop"


@pytest.fixture(scope="module")
def reference() -> Tables:
    if not REFERENCE.exists():
        pytest.skip("no reference run is published in this checkout")
    return load_tables(REFERENCE)


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_every_threshold_is_quoted_as_the_table_has_it(reference: Tables, readme: str) -> None:
    rows = reference.thresholds[reference.thresholds["axis"] == "params_nonembedding"]
    assert len(rows) >= 5
    for row in rows.to_dict(orient="records"):
        name = words.task(row["task"], row["arm"])
        assert f"| {name} | {row['label']} |" in readme


def test_the_law_is_quoted_as_it_was_fitted(reference: Tables, readme: str) -> None:
    law = reference.laws["chinchilla"]
    for name, sign in (("alpha", "α"), ("beta", "β")):
        assert f"{sign} = {words.parameter(law, name)}" in readme
    held = reference.laws["heldout"]
    assert words.percent(held["mean_absolute_error_percent"], 1) in readme
    assert words.percent(law["residuals"]["rms_percent"], 1) in readme


def test_the_prediction_is_told_as_it_came_out(reference: Tables, readme: str) -> None:
    """The form, who is inside, and that the file held to the largest size is the one published."""
    told = " ".join(readme.split())
    held = reference.laws["heldout"]
    rows = held["rows"]
    assert rows and held["form"] == "kaplan" and "Kaplan's form does better" in told
    inside = [row["low"] <= row["actual"] <= row["high"] for row in rows]
    assert [row["inside"] for row in rows] == inside
    assert all(inside) == ("every run inside its interval" in told)
    assert held["inside_share"] == sum(inside) / len(rows)
    assert held["prediction_sha256"] == sha256_of(REFERENCE / "prediction.json")
    assert held["baseline_error_percent"] / held["mean_absolute_error_percent"] == pytest.approx(
        2.0, abs=0.1
    )
    assert "errs by twice that" in told


def test_the_baseline_and_the_doubts_are_those_of_the_tables(
    reference: Tables, readme: str
) -> None:
    held = reference.laws["heldout"]
    assert f"({words.percent(held['baseline_error_percent'], 1)})" in readme
    told = " ".join(readme.split())
    for level, tempered in (("token", False), ("answer", False), ("answer", True)):
        last = ends(reference, level, tempered)[-1]
        gap = last["overconfidence"]
        quoted = f"{gap:.3f} [{last['low']:.3f}, {last['high']:.3f}]".replace("-", "−")
        assert quoted in told, quoted
    rows = reference.calibration_sizes
    rows = rows[(rows["shift"] == "out_of_range") & ~rows["tempered"].astype(bool)]
    rows = rows.sort_values("params_nonembedding")
    for _, row in rows.iloc[[0, -1]].iterrows():
        low, high = doubt(row, by_seed(reference, row))
        assert f"by {row['overconfidence']:.3f} [{low:.3f}, {high:.3f}]" in told
    assert f"right in {row['accuracy'] * row['n']:.0f} of {row['n']:,.0f}." in told


def test_files_that_the_readme_shows_exist(readme: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_seeds_of_the_arms_study_are_quoted(readme: str) -> None:
    scores = load_tables(ROOT / "results" / "reference" / "arms").scores
    last = scores[(scores["horizon"] == scores["horizon"].max()) & (scores["arm"] == "plain")]
    last = last[last["params_nonembedding"] > 13_000]
    learnt = last["exact_match"] >= 0.5
    right, other = (last.loc[each, "exact_match"].median() for each in (learnt, ~learnt))
    told = " ".join(readme.split())
    assert f"of {len(last)} networks of 14k to 56k parameters {learnt.sum()} had learnt" in told
    assert f"(median right {right:.2f}), eleven had not ({other:.2f})".replace("0.", ".") in told
    assert (~learnt).sum() == 11
    *smaller, largest = learnt.groupby(last["params_nonembedding"]).sum()
    assert f"{', '.join(map(str, smaller))} and {largest} of eight had" in told
