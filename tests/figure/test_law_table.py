"""The figure of anybody's table: every row, readable ticks, curves at a stated U."""

from pathlib import Path

import numpy as np
import pytest
from law_tables import answer, table
from matplotlib.figure import Figure

from saltus.figure import law_table, style
from saltus.law.doubt import doubt_of
from saltus.law.forms import FORMS, PowerLaw
from saltus.law.solve import fit
from saltus.law.table import read_rows

FITS = {"status": "none seen", "ratio": 1.0}


def test_the_figure_says_where_unique_tokens_are_held() -> None:
    frame = table(5, noise=0.003).assign(U=lambda rows: np.minimum(rows["D"], 2e10))
    rows = read_rows(frame, FORMS["data-constrained"])
    fitted = fit(FORMS["data-constrained"], rows.variables, rows.loss, starts=8)
    figure = law_table.draw(
        rows, fitted, doubt_of(fitted, rows, "bootstrap", num=100, seed=0), FITS
    )
    top = figure.axes[0]
    assert any("curves at U = 20B, its median" in text.get_text() for text in top.texts)
    x, y = top.lines[0].get_data()
    held = {"N": x, "D": np.full(len(x), 1e9), "U": np.full(len(x), 2e10)}
    assert y == pytest.approx(fitted.predict(held))


def test_a_misfit_stands_under_the_figure_and_a_short_axis_has_ticks() -> None:
    rows = read_rows(table(5, noise=0.003), FORMS["chinchilla"])
    fitted = fit(FORMS["chinchilla"], rows.variables, rows.loss)
    doubt = doubt_of(fitted, rows, "bootstrap", num=100, seed=0)
    off = {"status": "does not fit", "ratio": 2.54}
    top, below, *_ = law_table.draw(rows, fitted, doubt, off).axes
    assert any("it leaves 2.5 times the scatter" in text.get_text() for text in below.texts)
    low, high = top.get_ylim()
    assert sum(low <= tick <= high for tick in top.get_yticks()) >= 3
    axes = Figure().add_subplot()
    for low, high, what in ((2.6, 4.8, ""), (1e6, 1.1e6, ""), (9.7e17, 2e18, "power")):
        style.log_axis(axes.xaxis, low, high, what=what)
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        told = [axes.xaxis.get_major_formatter()(tick) for tick in ticks]
        assert len(set(told)) == len(told)
    assert style._power(9.7e17) == "$10^{18}$"


def test_compute_has_decades_for_ticks() -> None:
    frame = table(5, noise=0.003).assign(C=lambda rows: 6 * rows["N"] * rows["D"])
    rows = read_rows(frame, PowerLaw("C"))
    fitted = fit(PowerLaw("C"), rows.variables, rows.loss)
    figure = law_table.draw(
        rows, fitted, doubt_of(fitted, rows, "bootstrap", num=100, seed=0), FITS
    )
    below = figure.axes[1].xaxis
    told = [below.get_major_formatter()(value) for value in (1e17, 1e20)]
    assert told == ["$10^{17}$", "$10^{20}$"]


def test_the_figure_shows_every_row(tmp_path: Path) -> None:
    frame = table(noise=0.003)
    picture = tmp_path / "law.svg"
    answer(tmp_path, frame, "--figure", str(picture))
    text = picture.read_text()
    assert "parameters N" in text
    assert "law above the loss (%)" in text
    assert text.count("<use ") >= 2 * 64
