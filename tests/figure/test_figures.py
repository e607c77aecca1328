"""Figures: what is drawn equals the tables, colours agree, bytes repeat, captions carry numbers."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from simulated import TRUTH, loss_of, simulate

from saltus.calibrate.scaling import summarise_scaling
from saltus.errors import TableError
from saltus.figure import (
    accuracy_size,
    calibration_scale,
    calibration_size,
    compute_envelope,
    confidence_lead,
    law_fit,
    loss_curves,
    other_models,
    rates,
    reliability,
    seed_spread,
    style,
    threshold_atlas,
    tokens_to_learn,
    words,
)
from saltus.figure.catalogue import FIGURES, available, draw_all
from saltus.figure.names import NAMES, drawn_names
from saltus.figure.tables import Tables
from saltus.law.allocation import Cost, compute_optimal


@pytest.fixture(scope="module")
def tables() -> Tables:
    return simulate(num_sizes=5, num_seeds=3, horizons=(524_288, 2_097_152),
                    tasks=("chain_2", "add_2", "mul_2x1"))  # fmt: skip


@pytest.fixture(scope="module")
def small() -> Tables:
    return simulate(num_sizes=3, num_seeds=2, horizons=(65_536, 262_144), tasks=("add_2",),
                    diverged=(), fitted=False, rates=False)  # fmt: skip


def altered(tables: Tables, **laws: dict[str, Any]) -> Tables:
    """Return the tables with some entries of their laws changed."""
    changed = {name: {**tables.laws[name], **entry} for name, entry in laws.items()}
    return replace(tables, laws={**tables.laws, **changed})


def drawn(axes: matplotlib.axes.Axes) -> np.ndarray:
    """Return the y values of every line of a panel."""
    return np.concatenate([np.atleast_1d(line.get_ydata()) for line in axes.get_lines()])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_panels_and_a_caption_of_few_sentences(tables: Tables, name: str) -> None:
    figure = FIGURES[name].draw(tables)
    assert isinstance(figure, Figure) and figure.axes
    caption = FIGURES[name].caption(tables)
    assert caption.endswith(".") and "nan" not in caption and 60 < len(caption) < 1300


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "rates"])
def test_too_few_sizes_are_drawn_all_the_same(small: Tables, name: str) -> None:
    assert FIGURES[name].draw(small).axes
    assert "nan" not in FIGURES[name].caption(small)


def test_number_of_panels_follows_the_tables(tables: Tables) -> None:
    assert len(accuracy_size.draw(tables).axes) == 2 * 3
    assert len(seed_spread.draw(tables).axes) == 4
    assert len(reliability.draw(tables).axes) == 2 * 5
    assert len(law_fit.draw(tables).axes) == 2


def test_law_fit_draws_every_run_and_every_residual(tables: Tables) -> None:
    top, below = law_fit.draw(tables).axes
    points = [line for line in top.get_lines() if str(line.get_gid()).startswith("data-")]
    shown = np.sort(np.concatenate([line.get_ydata() for line in points]))
    assert np.array_equal(shown, np.sort(tables.finished()["loss_text"]))
    residuals = [row["residual_percent"] for row in tables.laws["fitted"]]
    assert np.isin(residuals, drawn(below)).all()


def test_law_lines_are_the_law(tables: Tables) -> None:
    top = law_fit.draw(tables).axes[0]
    size = tables.sizes()[0]
    colour = to_rgb(style.colours(tables)[size])
    (line,) = (
        line for line in top.get_lines()
        if line.get_linewidth() == 1.5 and to_rgb(line.get_color()) == colour
        and len(line.get_xdata()) == 60
    )  # fmt: skip
    tokens = np.asarray(line.get_xdata())
    assert np.allclose(line.get_ydata(), loss_of(tables.count(size, "params_total"), tokens))
    assert str(tables.refusal("kaplan")) == "not fitted"


def test_a_refused_law_is_said_in_the_panel(small: Tables) -> None:
    figure = law_fit.draw(small)
    assert len(figure.axes) == 1
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert any("too few sizes" in text for text in texts)
    assert "too few sizes" in law_fit.caption(small)


def test_accuracy_panels_show_every_replica(tables: Tables) -> None:
    rows = tables.at_largest(tables.scores)
    panels = accuracy_size.draw(tables).axes
    for (task, arm), left, right in zip(tables.tasks(), panels[::2], panels[1::2], strict=True):
        cell = rows[(rows["task"] == task) & (rows["arm"] == arm)]
        assert np.isin(cell["exact_match"], drawn(left)).all()
        assert np.isin(cell["target_nll"], drawn(right)).all()
        assert right.get_title(loc="left") == accuracy_size.verdict_word(tables, task, arm)


def test_thresholds_are_lines_inside_and_arrows_outside(tables: Tables) -> None:
    left = accuracy_size.draw(tables).axes[::2]
    for (task, arm), axes in zip(tables.tasks(), left, strict=True):
        row = accuracy_size.threshold(tables, task, arm)
        assert row is not None
        arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None) is not None]
        upright = [line for line in axes.get_lines() if list(line.get_ydata()) == [0, 1]
                   and to_rgb(line.get_color()) == to_rgb(style.THRESHOLD)]  # fmt: skip
        inside = row["status"] == "crossed"
        assert (len(upright), len(arrows)) == ((1, 0) if inside else (0, 1))
        if inside:
            assert upright[0].get_xdata()[0] == row["estimate"]


def test_a_task_without_a_threshold_or_a_finished_run_is_drawn(tables: Tables) -> None:
    values = {name: getattr(tables, name) for name in Tables.__dataclass_fields__}
    values["thresholds"] = tables.thresholds.iloc[:0]
    values["scores"] = tables.scores[tables.scores["horizon"] < max(tables.horizons())]
    bare = Tables(**values)
    assert len(accuracy_size.draw(bare).axes) == 2 * 3
    assert "No task" in accuracy_size.caption(bare)


def test_empty_tables_are_remarks_not_errors(tables: Tables) -> None:
    values = {name: getattr(tables, name) for name in Tables.__dataclass_fields__}
    for name in ("curves", "scores", "thresholds", "calibration", "reliability"):
        values[name] = getattr(tables, name).iloc[:0]
    values["runs"] = tables.runs.assign(status="diverged", loss_text=np.nan)
    values["laws"], values["rates"] = {}, None
    bare = Tables(**values)
    for name in available(bare):
        assert FIGURES[name].draw(bare).axes
        assert FIGURES[name].caption(bare)


def test_one_colour_per_size_in_every_figure(tables: Tables) -> None:
    palette = style.colours(tables)
    assert list(palette) == ["s0", "s1", "s2", "s3", "s4"] and len(set(palette.values())) == 5
    light = [sum(colour) for colour in palette.values()]
    assert light == sorted(light, reverse=True)
    for name, entry in FIGURES.items():
        legend = entry.draw(tables).legends[0]
        shown = {
            text.get_text().split()[0]: to_rgb(handle.get_color())
            for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
            if text.get_text().split("   ")[0] in palette
        }
        assert shown, name
        assert all(np.allclose(palette[size], colour) for size, colour in shown.items()), name


def test_a_diverged_size_keeps_its_colour(tables: Tables) -> None:
    gone = tables.runs["size"].eq("s2")
    values = {name: getattr(tables, name) for name in Tables.__dataclass_fields__}
    values["runs"] = tables.runs.assign(
        status=tables.runs["status"].where(~gone, "diverged"),
        loss_text=tables.runs["loss_text"].where(~gone),
    )
    assert style.colours(Tables(**values)) == style.colours(tables)


def test_two_draws_give_identical_bytes(tables: Tables, tmp_path: Path) -> None:
    for name in ("law-fit", "compute-envelope"):
        first = draw_all(tables, tmp_path / "one", [name])
        second = draw_all(tables, tmp_path / "two", [name])
        for left, right in zip(first, second, strict=True):
            assert left.read_bytes() == right.read_bytes()
        assert b"<dc:date>" not in first[0].read_bytes()
    assert sorted(path.suffix for path in first) == [".png", ".svg"]
    assert not list(tmp_path.rglob("*.part"))


def test_drawing_leaves_no_state_behind(tables: Tables) -> None:
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    law_fit.draw(tables)
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


def test_captions_carry_the_numbers(tables: Tables) -> None:
    caption = law_fit.caption(tables)
    assert "α = 0.310 [0.270, 0.350]" in caption and "β = 0.42 [0.37, 0.47]" in caption
    assert "27 runs" in caption or f"{len(tables.finished())} runs" in caption
    assert "a = 0.58 [0.53, 0.63]" in compute_envelope.caption(tables)
    labels = tables.thresholds["label"]
    assert all(label in accuracy_size.caption(tables) for label in labels)
    assert "−0.33 [−0.45, −0.21]" in rates.caption(tables)


def test_optimal_size_minimises_the_law() -> None:
    flops, unit = 1e12, 6.4
    best = float(compute_optimal(TRUTH, flops, Cost(unit))[0])
    sizes = best * np.array([0.9, 1.0, 1.1])
    losses = loss_of(sizes, flops / (unit * sizes))
    assert losses[1] < losses[0] and losses[1] < losses[2]


def test_smooth_keeps_a_constant_and_its_range() -> None:
    rows = pd.DataFrame({"seed": [0, 1] * 50, "tokens": np.repeat(np.arange(1, 51), 2) * 100,
                         "loss_text": [2.0, 3.0] * 50})  # fmt: skip
    line = loss_curves.smooth(rows, "loss_text", 10)
    assert np.allclose(line["loss"], 2.5) and np.allclose(line["low"], 2) and len(line) <= 10
    assert np.allclose(line["high"], 3)


def test_seed_spread_recovers_a_known_deviation() -> None:
    wide = simulate(num_sizes=6, num_seeds=20, horizons=(524_288,), tasks=("add_2",), diverged=())
    assert 0.5 < seed_spread.deviation_within(wide) < 0.85  # .6 % and .3 % in quadrature: .67 %


def test_signed_gap_weighs_bins() -> None:
    rows = pd.DataFrame({"confidence": [0.2, 0.8, np.nan], "accuracy": [0.1, 0.8, np.nan],
                         "n": [30, 10, 0]})  # fmt: skip
    assert reliability.signed_gap(rows) == pytest.approx(0.075)


def test_unknown_names_and_absent_sweeps_are_one_line(small: Tables, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="did you mean 'law-fit'"):
        draw_all(small, tmp_path, ["law-fot"])
    with pytest.raises(TableError, match="swept no learning rates"):
        draw_all(small, tmp_path, ["rates"])
    assert "rates" not in available(small)


def test_figures_never_import_torch() -> None:
    code = (
        "import saltus.figure.catalogue, saltus.report.render, sys; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_words() -> None:
    assert [words.count(n) for n in (148_224, 2_097_152, 999.6, 1_800, None, np.inf)] == [
        "148k", "2.1M", "1k", "1.8k", "–", "∞"]  # fmt: skip
    assert words.with_interval(0.31, [0.27, 0.35]) == "0.310 [0.270, 0.350]"
    assert words.with_interval(0.31, None) == "0.310"
    assert words.with_interval(3e103, [-4, 2e104]) == "3.0 × 10¹⁰³ [−4, 2.0 × 10¹⁰⁴]"
    assert words.with_interval(None, [0, 1]) == "–"
    assert words.bracket([0.1, None], 2) == "[0.10, ∞]"
    assert words.power(1.23e13) == "1.2 × 10¹³" and words.power(9.99e9) == "1.0 × 10¹⁰"
    assert words.task("mul_2x1", "reversed") == "2×1-digit product, reversed"
    assert words.listed(["a", "b", "c"]) == "a, b and c" and words.listed([]) == ""
    wide = {"width": 1.23, "low": 0.0, "high": None, "start": 4.0, "end": 1.0}
    assert words.width(wide, 2.5) == "1.2 decades [0, > 2.5]"
    assert words.width({**wide, "high": 13.0}, 2.5) == words.width(wide, 2.5)
    assert words.width({**wide, "high": 2.0}, 2.5) == "1.2 decades [0, 2]"
    assert words.width({**wide, "end": 4.0}, 2.5).startswith("no transition")
    assert words.width({**wide, "width": 4.0}, 2.5).startswith("> 2.5 decades")
    assert words.listed(["a", "b, reversed", "c"]) == "a; b, reversed; and c"


@pytest.mark.parametrize("num", range(1, 20))
def test_columns_leave_fewer_than_a_row_empty(num: int) -> None:
    columns = style.columns_for(num)
    assert 1 <= columns <= 4 and -num % columns < columns


def test_the_band_is_the_laws_own_and_absent_without_one(tables: Tables) -> None:
    def bands(of: Tables) -> list[str]:
        top = law_fit.draw(of).axes[0]
        return [str(c.get_gid()) for c in top.collections if str(c.get_gid()).startswith("band-")]

    assert bands(tables) == [f"band-{size}" for size in tables.sizes()]
    bare = altered(tables, chinchilla={"band": None})
    assert bands(bare) == []
    for of, expected in ((tables, True), (bare, False)):
        texts = [text.get_text() for text in law_fit.draw(of).legends[0].get_texts()]
        assert ("95 % of the law" in texts) == expected


def test_runs_below_the_cut_off_are_hollow_beside_the_envelope(tables: Tables) -> None:
    law = {"range": {"tokens": [2_097_152, 2_097_152]}}
    cut = altered(tables, chinchilla=law)
    assert "(hollow) are part of neither" in compute_envelope.caption(cut)
    assert "hollow" not in compute_envelope.caption(tables)
    runs = cut.finished()
    lines = compute_envelope.draw(cut).axes[0].get_lines()
    hollow = [line for line in lines if str(line.get_gid()).startswith("unused-run-")]
    shown = np.sort(np.concatenate([line.get_ydata() for line in hollow]))
    assert np.array_equal(shown, np.sort(runs.loc[runs["tokens"] < 2_097_152, "loss_text"]))
    assert all(line.get_markerfacecolor() == "none" for line in hollow)


def test_a_parameter_on_its_bound_has_words_and_no_interval(tables: Tables) -> None:
    bound = {"certificate": {"status": "boundary", "bounds_hit": ["E"]},
             "intervals": {"E": None, "alpha": [0.2, 0.4]}}  # fmt: skip
    cut = altered(tables, chinchilla=bound, envelope=bound)
    told = "E cannot be told from 0 (certificate: boundary)"
    assert told in law_fit.caption(cut) and told in compute_envelope.caption(cut)
    assert "that of a pure power" in compute_envelope.caption(cut)
    assert words.bounded(cut.laws["chinchilla"]) == ""
    flat = {"certificate": {"status": "boundary", "bounds_hit": ["beta"]}}
    cannot = altered(tables, chinchilla=flat)
    assert "cannot be told, since its β rests on a bound" in compute_envelope.caption(cannot)
    panel = compute_envelope.draw(cannot).axes[1]
    assert any("cannot be told" in text.get_text() for text in panel.texts)
    assert not [line for line in panel.get_lines() if line.get_gid() == "best"]
    for figure in (law_fit.draw(cut), compute_envelope.draw(cut)):
        assert any(told in text.get_text() for text in figure.axes[0].texts)
    steep = {"parameters": {"alpha": 4.0}, "certificate": bound["certificate"]}
    steep["certificate"] = {"status": "boundary", "bounds_hit": ["alpha"]}
    assert words.quantity(steep, "alpha", "α").startswith("α cannot be told from 4.00")


def test_captions_set_the_law_beside_its_baseline_its_noise_and_its_cut_off(
    tables: Tables,
) -> None:
    caption = law_fit.caption(tables)
    assert "less than repeating the next smaller size's loss (4.20 %)" in caption
    assert "from every horizon α = 0.31" in caption and "from 1M tokens α = 0.33" in caption
    worse = altered(tables, heldout={"baseline_error_percent": 0.01},
                    chinchilla={"residuals": {"rms_percent": 2.1, "max_percent": 5.0},
                                "lack_of_fit": {"status": "does not fit", "seed_percent": 1.0,
                                                "ratio": 2.1}, "sensitivity": []})  # fmt: skip
    caption = law_fit.caption(worse)
    assert "misses its loss by" in caption and "(0.01 %)" in caption
    assert "2.10 %" in caption and "1.00 %" in caption and "2.1 times" in caption
    assert "every horizon" not in caption
    unsure = altered(tables, heldout={"certificate": {"status": "boundary", "bounds_hit": ["E"]}})
    assert "so that is no prediction" in law_fit.caption(unsure)
    alone = altered(tables, heldout={"baseline_error_percent": None})
    assert "no baseline" in law_fit.caption(alone)


@pytest.mark.parametrize(
    ("status", "label"), [("undecided", "undecided [14k, > 149k]"), ("not monotone", "")]
)
def test_a_threshold_that_is_none_is_told_with_its_reason(
    tables: Tables, status: str, label: str
) -> None:
    rows = tables.thresholds.assign(status=status, label=label or None, estimate=np.nan,
                                    low=1.4e4, high=np.inf, reason="why")  # fmt: skip
    vague = replace(tables, thresholds=rows)
    figure = accuracy_size.draw(vague)
    assert any((label or status) in text.get_text() for text in figure.axes[0].texts)
    assert f"{label or status} (why)" in accuracy_size.caption(vague)


def test_captions_say_what_bars_and_divergence_mean(tables: Tables) -> None:
    assert "lower bound of the doubt" in reliability.caption(tables)
    lost = simulate(num_sizes=3, num_seeds=2, horizons=(65_536, 262_144), tasks=("add_2",),
                    diverged=(("s2", 1),), rates=False)  # fmt: skip
    assert "2 runs diverged and were frozen at their last finite step" in loss_curves.caption(lost)


def test_a_rate_is_marked_at_the_loss_that_its_cost_is_charged_at() -> None:
    """Between rates the loss is blended: a chord lies above a loss that curves upwards."""
    log_rates = np.log([0.001, 0.002, 0.004, 0.008, 0.016])
    means = pd.Series(3 + 0.05 * (log_rates - log_rates[2]) ** 2, index=np.exp(log_rates))
    at = float(np.mean(log_rates[:2]))
    height = rates._height(means, None, float(np.exp(at)))
    assert height == pytest.approx(3 + 0.05 * (at - log_rates[2]) ** 2, abs=1e-12)
    assert height < float(np.interp(at, log_rates, means)) - 1e-3
    assert np.isnan(rates._height(means, None, 0.02))


def test_what_is_declared_is_what_is_drawn(tables: Tables) -> None:
    """The workflow declares its outputs by `names`, without Matplotlib."""
    assert tuple(FIGURES) == NAMES
    captions = Path(__file__).parents[2] / "workflow" / "report"
    assert {path.stem for path in captions.glob("*.rst")} == set(NAMES)
    assert available(tables) == drawn_names(swept=True) == list(NAMES)
    unswept = replace(tables, rates=None)
    assert available(unswept) == drawn_names(swept=False) == [n for n in NAMES if n != "rates"]


def crossing_tables(tables: Tables) -> Tables:
    """Return the tables with answers whose accuracy passes .4 at s3, confidence at s4."""
    sizes = tables.sizes()
    rows = tables.calibration[tables.calibration["level"] == "answer"]
    place = rows["size"].map({size: index for index, size in enumerate(sizes)}).to_numpy(float)
    rows = rows.assign(accuracy=0.2 * place, confidence=0.2 * np.maximum(place - 1, 0))
    return replace(tables, calibration=rows, scaling=summarise_scaling(rows, tables.runs))


def test_the_lag_that_is_drawn_is_that_of_the_table(tables: Tables) -> None:
    made = crossing_tables(tables)
    found = confidence_lead.lag_at(made, "answer")
    assert found["half"] == pytest.approx(0.4) and found["lag"] > 0
    counts = [tables.count(size) for size in tables.sizes()]
    assert found["accuracy_at"] == pytest.approx(counts[2])
    assert found["confidence_at"] == pytest.approx(counts[3])
    figure = confidence_lead.draw(made)
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "|"]
    assert [float(np.ravel(mark.get_xdata())[0]) for mark in marks] == pytest.approx(
        [counts[2], counts[3]]
    )
    caption = confidence_lead.caption(made)
    said = "after accuracy" if found["low"] > 0 else "Neither for certain"
    assert said in caption and "whole answers, pooled" in caption


def test_calibration_by_size_draws_its_errors_with_their_ends(tables: Tables) -> None:
    figure = calibration_size.draw(tables)
    rows = calibration_size.pooled_at(tables, "token", False)
    panel = figure.axes[2]  # below the signed panels
    ends = np.array(panel.collections[0].get_segments())[:, :, 1]
    assert ends == pytest.approx(rows[["ece_low", "ece_high"]].to_numpy())
    assert rows["floor_ece"].to_list() in [list(line.get_ydata()) for line in panel.get_lines()]


def test_slopes_are_told_with_their_interval_or_their_reason(tables: Tables) -> None:
    found = calibration_scale.slope_at(tables, "token", "flops_exact", "overconfidence")
    assert found["low"] < found["slope"] < found["high"]
    assert "per decade" in calibration_scale.slope_told(found, "decade")
    few = {"slope": None, "low": None, "high": None, "reason": "3 sizes; it needs 4"}
    assert calibration_scale.slope_told(few, "nat") == "3 sizes; it needs 4"


def test_other_models_stand_where_their_tables_say(tables: Tables) -> None:
    task, arm = tables.tasks()[0]
    about = {"run": "gpt", "params_nonembedding": 8.5e7}
    scores = pd.DataFrame([{**about, "task": task, "arm": arm, "exact_match": 0.31}])
    levels = [{**about, "level": level, "tempered": False, "overconfidence": 0.2,
               "overconfidence_low": 0.1, "overconfidence_high": 0.3}
              for level in ("token", "answer")]  # fmt: skip
    figure = other_models.draw(tables, scores, pd.DataFrame(levels))
    found = [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for axes in figure.axes for line in axes.get_lines()
        if line.get_marker() == "D" and len(line.get_xdata())
    ]  # fmt: skip
    assert found == [(8.5e7, 0.31), (8.5e7, 0.2), (8.5e7, 0.2)]
    assert all(axes.get_xlim()[1] > 8.5e7 for axes in figure.axes)
    assert sum(text.get_text() == "gpt" for axes in figure.axes for text in axes.texts) == 3


def test_a_laws_scale_holds_what_it_predicts_and_bears_equal_losses(tables: Tables) -> None:
    rows = [{**row, "predicted": row["predicted"] + 2.0} for row in tables.laws["heldout"]["rows"]]
    wrong = altered(tables, heldout={"rows": rows})
    low, high = law_fit.draw(wrong).axes[0].get_ylim()
    assert low < tables.finished()["loss_text"].min()
    assert high > max(row["predicted"] for row in rows)
    one = replace(tables, runs=tables.runs.assign(loss_text=3.0))
    low, high = law_fit.draw(altered(one, heldout={"rows": []})).axes[0].get_ylim()
    assert low < 3.0 < high


def test_one_size_and_one_horizon_are_drawn_without_a_complaint(tmp_path: Path) -> None:
    alone = simulate(
        num_sizes=1, num_seeds=1, horizons=(1_048_576,), diverged=(), fitted=False, rates=False
    )
    draw_all(alone, tmp_path)
    atlas = threshold_atlas.draw(alone).axes[0]
    low, high = atlas.get_xlim()
    assert high > 3 * low
    assert tokens_to_learn.draw(alone).axes[0].texts[0].get_text() == "one horizon was trained"
