"""The report: one file, no network, every figure with words, every answer with its source."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from simulated import simulate

from saltus.errors import TableError
from saltus.figure import words
from saltus.figure.calibration_size import doubt
from saltus.figure.catalogue import FIGURES, available, draw_all
from saltus.figure.seed_spread import deviation_within
from saltus.figure.tables import Tables
from saltus.report.answers import by_seed, headline
from saltus.report.confidence import confidence_grids
from saltus.report.render import raised, render
from saltus.report.sections import grids, laws


class Page(HTMLParser):
    """Collect tags, images, links and text; complain about tags left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.links: list[str] = []
        self.identifiers: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "img":
            self.images.append(values)
        self.links += [values[key] for key in ("href", "src") if key in values]
        self.identifiers += [values["id"]] if "id" in values else []
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def tables() -> Tables:
    return simulate(num_sizes=4, num_seeds=2, horizons=(524_288, 2_097_152),
                    tasks=("add_2", "mul_2x1"))  # fmt: skip


@pytest.fixture(scope="module")
def directory(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    draw_all(tables, folder)
    return folder


@pytest.fixture(scope="module")
def page(tables: Tables, directory: Path) -> str:
    return render(tables, directory)


def test_every_figure_is_embedded_with_its_words(page: str, tables: Tables) -> None:
    parsed = Page(page)
    assert parsed.open == [] and len(parsed.identifiers) == len(set(parsed.identifiers))
    assert len(parsed.images) == len(FIGURES) == len(available(tables))
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in parsed.images)
    assert all(len(image["alt"]) > 60 for image in parsed.images)


def test_nothing_is_fetched(page: str) -> None:
    assert all(link.startswith(("data:", "#")) for link in Page(page).links)
    assert "<script" not in page and "@import" not in page and "http" not in page.split("<main>")[0]


def test_answers_carry_the_laws_numbers(page: str) -> None:
    for number in ("α = 0.310 [0.270, 0.350]", "β = 0.42 [0.37, 0.47]", "a = 0.58 [0.53, 0.63]"):
        assert number in page
    assert "&gt; 14k" in page and "converged" in page and "ab12cd34ef56" in page


def test_every_answer_and_table_names_its_source(tables: Tables) -> None:
    assert all(answer.source for answer in headline(tables))
    made = grids(tables)
    assert [grid.title for grid in made][:2] == ["Sizes", "Laws and their certificates"]
    for grid in made:
        assert ".parquet" in grid.source or ".json" in grid.source
        assert all(len(row) == len(grid.heads) for row in grid.rows)


def test_what_a_law_loses_with_a_size_or_rows_is_told_in_words(tables: Tables) -> None:
    left = {"E": "s4", "alpha": "rows s1-seed0-h65536, s1-seed1-h65536"}
    moved = {"left_out": left, "factors": {"E": 0.9, "alpha": 1.25}, "prediction_percent": 1.5,
             "refits": 4, "unconverged": 1}  # fmt: skip
    law = {**tables.laws["chinchilla"], "certificate": {"leave_one_size_out": moved}}
    made = grids(replace(tables, laws={**tables.laws, "chinchilla": law}))[1]
    (told,) = [row[2] for row in made.rows if row[1] == "certificate: leave one size out"]
    assert told == (
        "E × 0.900 (without s4), alpha × 1.25 (without 2 rows); a prediction by 1.5 % at most; "
        "4 refits, 1 unconverged"
    )


def test_seeds_and_kinds_of_problems_are_told_as_their_tables_have_them(tables: Tables) -> None:
    made = {grid.title: grid for grid in grids(tables)}
    learnt = made["Which seeds learn?"].rows
    assert len(learnt) == len(tables.seeds)
    for row, told in zip(tables.seeds.to_dict("records"), learnt, strict=True):
        assert told[2].split(" [")[0] == f"{row['num_learnt']} of {row['num_seeds']}"
    by = made["Accuracy by carries"]
    assert by.heads[2:] == ("0", "1", "2") and "Accuracy by length" not in made
    cell = tables.at_largest(tables.breakdown)
    task, arm = tables.tasks()[0]
    cell = cell[(cell["task"] == task) & (cell["arm"] == arm) & (cell["size"] == tables.sizes()[0])]
    means = cell.groupby("value")["exact_match"].mean()
    assert [part.split()[0] for part in by.rows[0][2:]] == [f"{mean:.2f}" for mean in means]


def test_what_a_shift_changes_is_told_of_every_error_with_its_interval(tables: Tables) -> None:
    made = next(grid for grid in confidence_grids(tables) if grid.title == "What a shift changes")
    assert [row[:3] for row in made.rows] == [
        ("next token", "1", "noise 3"), ("next token", "fitted", "noise 3"),
        ("whole answer", "1", "longer"), ("whole answer", "fitted", "longer"),
    ]  # fmt: skip
    assert set(made.rows[0][4:]) == {"+0.030 [0.027, 0.033]"} and len(made.heads) == 4 + 11
    assert made.heads[7] == "floor of ECE" and made.rows[0][3] == "5"


def test_a_small_study_says_undecided() -> None:
    small = simulate(num_sizes=3, num_seeds=1, horizons=(65_536,), tasks=("add_2",), diverged=(),
                     fitted=False, rates=False)  # fmt: skip
    law, _, _, _, open_ends = headline(small)
    assert law.short == "Undecided" and "too few sizes" in law.details[0]
    assert any("above largest" in detail for detail in open_ends.details)
    assert any(row[2].startswith("too few sizes") for row in grids(small)[1].rows)


def test_a_held_out_size_that_is_missed_is_said(tables: Tables) -> None:
    values = {name: getattr(tables, name) for name in Tables.__dataclass_fields__}
    held = {**tables.laws["heldout"], "inside_share": 0.25}
    values["laws"] = {**tables.laws, "heldout": held}
    assert "misses" in headline(Tables(**values))[0].short


def test_names_are_escaped(tables: Tables, directory: Path) -> None:
    values = {name: getattr(tables, name) for name in Tables.__dataclass_fields__}
    values["study"] = {"name": "<b>bold</b>"}
    assert "<b>bold</b>" not in render(Tables(**values), directory)


def test_a_missing_figure_is_one_line(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"loss-curves\.svg: missing"):
        render(tables, tmp_path)


def changed(tables: Tables, **laws: dict[str, Any]) -> Tables:
    """Return the tables with some entries of their laws changed."""
    found = {name: {**tables.laws[name], **entry} for name, entry in laws.items()}
    return replace(tables, laws={**tables.laws, **found})


def test_a_size_is_predicted_only_below_the_baseline_and_certified(tables: Tables) -> None:
    assert "has not seen is predicted" in headline(tables)[0].short
    worse = headline(changed(tables, heldout={"baseline_error_percent": 0.01}))[0]
    assert "misses" in worse.short and "repeating the next smaller size's loss" in worse.short
    assert "(0.01 %)" in worse.details[-1]
    unsure = {"certificate": {"status": "boundary", "bounds_hit": ["E"]}}
    answer = headline(changed(tables, heldout=unsure))[0]
    assert "predicted" not in answer.short and "boundary" in answer.short


def test_a_lack_of_fit_is_the_answer(tables: Tables) -> None:
    residuals = {"rms_percent": 2.1, "max_percent": 5.0}
    test = {"status": "does not fit", "seed_percent": 1.0, "ratio": 2.1, "p": 0.001}
    entry = {
        "residuals": residuals,
        "lack_of_fit": test,
        "intervals": {"alpha": [0.0, 1.0], "beta": None},
    }
    answer = headline(changed(tables, chinchilla=entry))[0]
    assert answer.short == "Not this one: residuals are 2.1 times the spread of seeds"
    assert any("2.10 %" in detail and "1.00 %" in detail for detail in answer.details)
    entry["lack_of_fit"] = {**test, "status": "misfit", "ratio": 1.4}
    answer = headline(changed(tables, chinchilla=entry))[0]
    assert any("some lack of fit, p = 0.001." in detail for detail in answer.details)
    assert answer.short == "Not certain: α and β may be zero"


def test_the_mean_of_a_size_has_a_standard_error(tables: Tables) -> None:
    (detail,) = (detail for detail in headline(tables)[-1].details if "standard error" in detail)
    within = deviation_within(tables)
    assert f"{within:.2f} %" in detail and f"{within / 2**0.5:.2f} %" in detail
    assert "with 2 seeds that finished" in detail


def test_seeds_that_diverged_lend_a_mean_no_certainty(tables: Tables) -> None:
    """A size that lost a seed has a mean of those that finished, not of all that the study ran."""
    last = max(tables.horizons())
    lost = (tables.runs["size"] == tables.sizes()[0]) & (tables.runs["seed"] == 1)
    runs = tables.runs.assign(
        status=tables.runs["status"].mask(lost & (tables.runs["horizon"] == last), "diverged")
    )
    thinned = replace(tables, runs=runs)
    within = deviation_within(thinned)
    (detail,) = (each for each in headline(thinned)[-1].details if "standard error" in each)
    assert "with 1 to 2 seeds that finished" in detail
    assert f"{within:.2f} % to {within / 2**0.5:.2f} %" in detail


def test_the_cut_off_has_a_grid(tables: Tables) -> None:
    (grid,) = (grid for grid in grids(tables) if "shortest horizon" in grid.title)
    assert [row[0] for row in grid.rows] == ["from every horizon", "from 1M tokens"]


@pytest.mark.parametrize(
    ("status", "one", "several"),
    [
        ("undecided", "has a threshold that", "have thresholds that"),
        ("not monotone", "does not rise", "do not rise"),
        ("above largest", "stays below", "stay below"),
        ("crossed", "is right half", "are right half"),
    ],
)
def test_thresholds_are_told_in_number_and_with_their_reason(
    tables: Tables, directory: Path, status: str, one: str, several: str
) -> None:
    rows = tables.thresholds.assign(status=status, label=f"{status} [14k, > 149k]", reason="why so")
    for frame, sentence in ((rows, several), (rows.iloc[:1], one)):
        told = replace(tables, thresholds=frame)
        (detail,) = headline(told)[1].details
        assert sentence in detail and "([14k, > 149k]; why so)" in detail
    assert f"{status}: why so" in render(replace(tables, thresholds=rows), directory)


def test_the_answer_on_confidence_tells_scale_and_shift(tables: Tables) -> None:
    answer = next(each for each in headline(tables) if each.question == "Is confidence reliable?")
    told = " ".join(answer.details)
    found = next(
        each for each in tables.scaling["slopes"]
        if (each["level"], each["tempered"]) == ("answer", False)
        and (each["axis"], each["error"]) == ("params_nonembedding", "overconfidence")
    )  # fmt: skip
    slope = words.with_interval(found["slope"], [found["low"], found["high"]])
    assert f"A decade of parameters changes it by {slope}." in told
    rows = tables.calibration_sizes
    rows = rows[(rows["size"] == tables.sizes()[-1]) & (rows["level"] == "token")]
    rows = rows[rows["shift"].notna() & ~rows["tempered"].astype(bool)]
    worst = rows.loc[rows["overconfidence"].idxmax()]
    name = "other domain" if worst["shift"] == "domain" else f"noise {worst['severity']}"
    ends = doubt(worst, by_seed(tables, worst))
    assert ends[0] < worst["overconfidence_low"] and ends[1] > worst["overconfidence_high"]
    assert f"{words.with_interval(worst['overconfidence'], ends)} ({worst['size']}, {name})" in told


def test_every_error_stands_beside_its_floor_and_under_every_shift(tables: Tables) -> None:
    by_title = {grid.title: grid for grid in confidence_grids(tables)}
    errors = by_title["Calibration"].rows
    assert len(errors) == 4 * 2 * 2  # sizes, levels, temperatures
    assert all("; 0.0" in row[5] and "; 0.0" in row[6] for row in errors)
    under = by_title["Confidence under shift"].rows
    rows = tables.calibration_sizes
    rows = rows[(rows["size"] == tables.sizes()[-1]) & (rows["level"] == "token")]
    rows = rows[~rows["tempered"].astype(bool)].set_index(["severity", "shift"])
    noisy = rows.loc[(1, "noise")]
    ends = [noisy["overconfidence_low"], noisy["overconfidence_high"]]
    assert under[0][2] == "noise 1"
    assert under[0][4] == words.with_interval(noisy["overconfidence"], ends)
    slopes = by_title["Calibration along scale"].rows
    assert {row[2] for row in slopes} >= {"over-confidence", "smooth ECE", "its floor", "NLL"}
    assert len(by_title["Which comes first, being right or being sure?"].rows) >= 4


def test_exponents_are_raised_and_everything_else_is_escaped() -> None:
    assert raised("A·N^−α, C^a & N^-0.95. <b>") == (
        "A·N<sup>−α</sup>, C<sup>a</sup> &amp; N<sup>-0.95</sup>. &lt;b&gt;"
    )


def test_a_law_on_its_bound_has_no_best_size_in_answer_and_table(tables: Tables) -> None:
    certificate = {"status": "boundary", "bounds_hit": ["beta"]}
    law = {**tables.laws["chinchilla"], "certificate": certificate}
    flat = replace(tables, laws={**tables.laws, "chinchilla": law})
    told = "cannot be told: the law's β rests on a bound"
    assert f"The best size for a budget {told}." in headline(flat)[0].details
    assert ("chinchilla", "allocation a", words.ABSENT, told) in laws(flat).rows
