"""One look for every figure: theme, a colour per size, panels, and deterministic files.

Figures are `matplotlib.figure.Figure` objects without pyplot's state. They are 10 inches wide, so
that 10-point text is readable when a browser shows them 1,000 pixels wide.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, cast

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from saltus.figure import words
from saltus.figure.tables import Tables
from saltus.files import replacing

WIDTH = 10.0  # inches
PNG_DPI = 160
INK = "#23272e"
SOFT = "#5c6470"
FAINT = "#a9b0ba"
PALE = "#e3e6ea"
THRESHOLD = "#c2410c"

Colour = tuple[float, float, float]
Drawn = ParamSpec("Drawn")


def settings() -> dict[str, Any]:
    """Return the matplotlib settings of the house, on top of seaborn's `ticks` style."""
    return {
        **seaborn.axes_style("ticks"),
        **seaborn.plotting_context("paper"),
        "font.family": ["DejaVu Sans"],
        "font.size": 9.5,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlecolor": INK,
        "axes.labelsize": 9.5,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#eef0f2",
        "grid.linewidth": 0.8,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": SOFT,
        "ytick.labelcolor": SOFT,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "xtick.major.width": 0.8,
        "ytick.major.width": 0.8,
        "text.color": INK,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "legend.title_fontsize": 8.5,
        "lines.solid_capstyle": "round",
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "mathtext.default": "regular",
        "svg.hashsalt": "saltus",
        "svg.fonttype": "path",
        "path.simplify": True,
    }


@contextmanager
def theme() -> Iterator[None]:
    """Apply the house's settings inside a block and restore the caller's after it."""
    with matplotlib.rc_context(cast(Any, settings())):
        yield


def themed(draw: Callable[Drawn, Figure]) -> Callable[Drawn, Figure]:
    """Decorate a figure's `draw` so that it runs under `theme`."""

    @functools.wraps(draw)
    def drawn(*given: Drawn.args, **named: Drawn.kwargs) -> Figure:
        with theme():
            return draw(*given, **named)

    return drawn


def canvas(height: float) -> Figure:
    """Return an empty figure of the house's width, `height` inches high."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.04)  # type: ignore[call-arg]
    return figure


def colours(tables: Tables) -> dict[str, Colour]:
    """Return one colour per size, light for the smallest, dark for the largest (viridis)."""
    sizes = tables.sizes()
    places = np.linspace(0.86, 0.0, len(sizes)) if len(sizes) > 1 else np.array([0.4])
    viridis = matplotlib.colormaps["viridis"]
    return {
        size: tuple(float(part) for part in viridis(place)[:3])  # type: ignore[misc]
        for size, place in zip(sizes, places, strict=True)
    }


def size_legend(
    figure: Figure,
    tables: Tables,
    extra: Sequence[Any] = (),
    sizes: Sequence[str] | None = None,
    sample: str = "",
) -> None:
    """Put sizes (largest on top), further handles and the sample size right of all panels."""
    palette = colours(tables)
    shown = [size for size in tables.sizes() if sizes is None or size in sizes]
    handles: list[Any] = [
        Line2D([], [], color=palette[size], marker="o", markersize=6, linewidth=2,
               label=f"{size}   {words.count(tables.count(size))}")
        for size in reversed(shown)
    ]  # fmt: skip
    if extra:
        handles += [Line2D([], [], linestyle="none", label=" "), *extra]
    if sample:
        handles += [Line2D([], [], linestyle="none", label=part) for part in (" ", sample)]
    figure.legend(
        handles=handles,
        loc="outside right upper",
        title="size, parameters\nwithout embedding",
        alignment="left",
        handlelength=1.4,
        labelspacing=0.55,
        borderpad=0.2,
    )


def drawn(figure: Figure, handles: Mapping[str, Any]) -> list[Any]:
    """Return the handles of what is in the figure, each under the gid of its artists."""
    found = {artist.get_gid() for artist in figure.findobj()}
    return [handle for gid, handle in handles.items() if gid in found]


def columns_for(num_panels: int, most: int = 4) -> int:
    """Return how many columns leave few empty places in few rows, three at least if needed."""
    if num_panels <= 3:
        return max(num_panels, 1)
    costs = {
        columns: -num_panels % columns + 1.01 * -(-num_panels // columns)
        for columns in range(3, most + 1)
    }
    return min(costs, key=lambda columns: costs[columns])


def panels(
    figure: Figure, keys: Sequence[Any], columns: int, sharex: bool = True, sharey: bool = True
) -> dict[Any, Axes]:
    """Return one panel per key, in rows of `columns`; inner tick labels are hidden."""
    rows = -(-len(keys) // columns)
    grid = figure.add_gridspec(rows, columns)
    made: dict[Any, Axes] = {}
    first: Axes | None = None
    for index, key in enumerate(keys):
        axes = figure.add_subplot(
            grid[index // columns, index % columns],
            sharex=first if sharex else None,
            sharey=first if sharey else None,
        )
        first = first or axes
        made[key] = axes
        if sharex and index + columns < len(keys):
            axes.tick_params(labelbottom=False)
        if sharey and index % columns:
            axes.tick_params(labelleft=False)
    return made


NARROW = 1.25
"""A ratio of ends below which an axis would have no tick to tell them apart."""


def log_axis(axis: Axis, low: float, high: float, margin: float = 0.06, what: str = "") -> None:
    """Make `axis` logarithmic over [low, high] with few, plainly written ticks (`20k`, `1M`).

    A single value, or nearly so, stands amid two octaves.
    """
    axes = axis.axes
    if high < NARROW * low:
        low, high = low / 2, high * 2
    decades = np.log10(high / low)
    limits = (low * 10 ** (-margin * decades), high * 10 ** (margin * decades))
    if isinstance(axis, XAxis):
        axes.set_xscale("log")
        axes.set_xlim(*limits)
    else:
        axes.set_yscale("log")
        axes.set_ylim(*limits)
    steps: tuple[float, ...] = (
        (1.0, 2.0, 5.0) if decades < 1.5 else (1.0, 3.0) if decades < 2.6 else (1.0,)
    )
    if decades < 0.7:
        steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    if what == "power":
        steps = (1.0, 3.0) if decades < 1.5 else (1.0,)
    axis.set_major_locator(LogLocator(10, subs=steps, numticks=12))
    even = [
        tick for tick in MaxNLocator(5).tick_values(low, high) if limits[0] <= tick <= limits[1]
    ]
    if decades < 0.4 and what != "power" and len({words.count(tick) for tick in even}) == len(even):
        axis.set_major_locator(FixedLocator(even))  # so short that even steps look even
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    written = _power if what == "power" else words.count
    axis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))


def horizon_axis(axis: Axis, horizons: Sequence[int]) -> None:
    """Make `axis` logarithmic over the horizons in tokens and tick them when they are few."""
    log_axis(axis, min(horizons) / 1.2, max(horizons) * 1.2)
    if len(horizons) <= 7:
        axis.set_major_locator(FixedLocator(list(horizons)))


def _power(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    mantissa = round(value / 10.0**exponent)
    if mantissa == 10:
        mantissa, exponent = 1, exponent + 1
    return (f"${mantissa}\\times " if mantissa != 1 else "$") + f"10^{{{exponent}}}$"


def share_axis(axes: Axes) -> None:
    """Make the y axis a share between 0 and 1, with room for points that sit on its ends."""
    axes.set_ylim(-0.05, 1.05)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", ".5", "", "1"])


def note(axes: Axes, text: str) -> None:
    """Write a remark in the middle of a panel that has nothing to show."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=SOFT,
        style="italic", wrap=True,
    )  # fmt: skip


def blank(why: str) -> Figure:
    """Return a figure that has nothing to show, and says why."""
    figure = canvas(3.4)
    axes = figure.add_subplot()
    axes.set_axis_off()
    note(axes, why)
    return figure


def subtitle(axes: Axes, title: str, below: str) -> None:
    """Give a panel a bold title and, under it, a line or two in grey."""
    axes.set_title(title or " ", pad=9 + 11 * (1 + below.count("\n")) if below else 6)
    if below:
        lines = axes.annotate(
            below, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
            va="bottom", color=SOFT, fontsize=8.5, annotation_clip=False,
        )  # fmt: skip
        lines.set_in_layout(False)  # the title's pad makes the room; a long line narrows no panel


def save(figure: Figure, directory: Path, name: str) -> list[Path]:
    """Write `name`.svg and `name`.png (160 dpi) whole or not at all; return their paths.

    The SVG carries neither date nor random identifiers: equal figures give equal bytes.
    """
    svg, png = (Path(directory) / f"{name}.{kind}" for kind in ("svg", "png"))
    with theme():
        figure.set_dpi(PNG_DPI)
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
        figure.set_layout_engine("none")
        # The canvases are called themselves: `savefig` would lay everything out again for each.
        raster, vector = cast(Any, FigureCanvasAgg(figure)), cast(Any, FigureCanvasSVG(figure))
        with replacing(png) as temporary:
            raster.print_png(temporary, metadata={"Software": None})
        with replacing(svg) as temporary:
            vector.print_svg(temporary, metadata={"Date": None, "Creator": None})
    return [svg, png]
