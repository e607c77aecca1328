"""A law of any table: losses with the law and its band above, what it leaves over below.

The horizontal axis is the law's first variable; its second, where there is one, is the colour, and
the law is drawn at six of its values. A third, as U, is held at its median, and the figure says so.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

from saltus.figure import style, words
from saltus.law.columns import ROLE_OF, ROLES
from saltus.law.doubt import Doubt
from saltus.law.misfit import NO_FIT
from saltus.law.solve import Fit
from saltus.law.table import Rows

WIDEST_TEXT = 110  # characters of small print on a line
NUM_LINES = 6
GAP = " " * 6
NUM_POINTS = 80
LABELS = {"N": "parameters N", "D": "tokens D", "C": "compute C", "U": "unique tokens U"}
LIGHTEST = 0.86  # of viridis: yellow cannot be seen on white
COUNTED = (1e-3, 1e15)  # beyond, ticks are powers of ten and not `20k` or `1M`
GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "eta": "η", "alpha_N": "α_N", "alpha_D": "α_D"}


@style.themed
def draw(rows: Rows, fitted: Fit, doubt: Doubt, lack: Mapping[str, Any]) -> Figure:
    """Return the figure of checked rows, their fit, its intervals and its `lack_of_fit`."""
    first, *others = fitted.form.variables
    figure = style.canvas(7.0)
    grid = figure.add_gridspec(2, 1, height_ratios=[2.1, 1])
    top = figure.add_subplot(grid[0])
    below = figure.add_subplot(grid[1], sharex=top)
    second = others[0] if others else None
    scale = None
    if second is not None:
        values = rows.variables[second]
        shades = matplotlib.colormaps["viridis"](np.linspace(LIGHTEST, 0.0, 256))
        scale = ScalarMappable(LogNorm(values.min(), values.max()), ListedColormap(shades))
    drawn = _law(top, rows, fitted, doubt, scale)
    _points(top, rows.variables[first], rows.loss, rows, second, scale)
    percent = 100 * np.expm1(fitted.residuals)
    below.axhline(0, color=style.SOFT, linewidth=1)
    _points(below, rows.variables[first], percent, rows, second, scale)
    values = rows.variables[first]
    _ticked(top.xaxis, values, 0.06)
    _ticked(top.yaxis, np.concatenate([rows.loss, drawn]), 0.06)
    top.tick_params(labelbottom=False)
    column = rows.columns["loss"]
    top.set_ylabel("loss" if column == "loss" else f"loss ({column})")
    below.set_ylabel("law above the loss (%)")
    below.set_xlabel(_label(rows, first))
    limit = 1.08 * float(np.max(np.abs(percent))) or 1.0
    below.set_ylim(-limit, limit)
    if scale is not None and second is not None:
        bar = figure.colorbar(
            scale, ax=[top, below], label=_label(rows, second), aspect=40, pad=0.02
        )
        _ticked(bar.ax.yaxis, rows.variables[second], 0.0)
    exponents = [name for name in fitted.form.parameters if name not in fitted.form.log_parameters]
    told = [
        f"{GREEK.get(name, name)} = {fitted.parameters[name]:.3g}{_ends(doubt, name)}"
        for name in exponents
    ]
    told += [
        f"curves at {name} = {words.count(value)}, its median; residuals at each row's own"
        for name, value in _held(rows, others[1:]).items()
    ]
    equation = fitted.form.equation if others else re.sub(r"\bx\b", first, fitted.form.equation)
    style.subtitle(top, equation, _lines(told))
    status = fitted.certificate.status
    foot = f"n = {words.plural(rows.num, 'row')}; certificate: {status}; 95 %: {doubt.method}"
    if lack["status"] == NO_FIT:
        off = f"{lack['ratio']:.2g} times the scatter of repeated rows"
        foot = f"the law does not fit, it leaves {off}; {foot}"
    below.annotate(
        textwrap.fill(foot, WIDEST_TEXT), (0, -0.3), xycoords="axes fraction", va="top",
        fontsize=8, color=style.SOFT,
    )  # fmt: skip
    return figure


def _lines(told: Sequence[str]) -> str:
    """Return entries on as few lines as hold them."""
    lines = [""]
    for each in told:
        longer = lines[-1] + GAP * bool(lines[-1]) + each
        lines = [*lines[:-1], longer] if len(longer) <= WIDEST_TEXT else [*lines, each]
    return "\n".join(lines)


def _label(rows: Rows, name: str) -> str:
    """Return what an axis shows, with its column where that is not plain: its unit is there."""
    label, column = LABELS.get(name, name), rows.columns.get(ROLE_OF[name], name)
    if column not in ROLES[ROLE_OF[name]]:
        return f"{label}, as in column {column}"
    return f"{label} (FLOPs)" if name == "C" else label


def _held(rows: Rows, names: Sequence[str]) -> dict[str, float]:
    """Return the value at which a curve holds each variable that it does not show."""
    return {name: float(np.median(rows.variables[name])) for name in names}


def _ticked(axis: Axis, values: np.ndarray, margin: float) -> None:
    """Make an axis logarithmic over the values, its ticks counts, or powers where those end."""
    low, high = float(values.min()), float(values.max())
    counted = COUNTED[0] <= low and high <= COUNTED[1]
    style.log_axis(axis, low, high, margin, "" if counted else "power")


def _ends(doubt: Doubt, name: str) -> str:
    ends = doubt.parameters.get(name)
    if ends is None or None in ends:
        return ""
    return f" [{ends[0]:.3g}, {ends[1]:.3g}]"


def _points(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    rows: Rows,
    second: str | None,
    scale: ScalarMappable | None,
) -> None:
    colour = style.INK if scale is None or second is None else scale.to_rgba(rows.variables[second])
    axes.scatter(x, y, c=colour, s=16, edgecolors="white", linewidths=0.4, zorder=4)


def _law(
    axes: Axes, rows: Rows, fitted: Fit, doubt: Doubt, scale: ScalarMappable | None
) -> np.ndarray:
    """Draw the law along its first variable, at values of the second that the table has.

    Returns the losses drawn, bands apart.
    """
    first, *others = fitted.form.variables
    x = np.geomspace(rows.variables[first].min(), rows.variables[first].max(), NUM_POINTS)
    levels: list[dict[str, float]] = [{}]
    if others:
        second = np.sort(rows.variables[others[0]])
        places = np.linspace(0, len(second) - 1, NUM_LINES).astype(int)
        chosen = np.unique(second[places])
        rest = _held(rows, others[1:])
        levels = [{others[0]: float(value), **rest} for value in chosen]
    drawn = []
    for level in levels:
        table = {first: x, **{name: np.full(NUM_POINTS, value) for name, value in level.items()}}
        colour = style.INK if scale is None else scale.to_rgba(np.array([level[others[0]]]))[0]
        drawn.append(fitted.predict(table))
        axes.plot(x, drawn[-1], color=colour, linewidth=1.4, zorder=3)
        if doubt.spread is not None:
            low, high = doubt.spread.band(table)
            axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0, zorder=1)
    return np.concatenate(drawn)
