"""The report: answers, figures and tables of one study as a single HTML file without network."""

import base64
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

import saltus
from saltus.errors import TableError
from saltus.figure import words
from saltus.figure.catalogue import FIGURES, available
from saltus.figure.tables import Tables
from saltus.report.answers import headline
from saltus.report.sections import grids, thresholds

EXPONENT = re.compile(r"\^([−-]?(?:alpha|beta|[a-zα-ω]|[0-9]+(?:\.[0-9]+)?))")


def raised(text: str) -> Markup:
    """Return text as HTML, its exponents (`C^a`, `N^−alpha`, `N^0.95`) raised."""
    return Markup(EXPONENT.sub(r"<sup>\1</sup>", str(escape(text))))


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: an SVG as a data URI with its words."""

    name: str
    title: str
    caption: str
    source: str
    alternative: str
    uri: str


def render(tables: Tables, figure_directory: Path) -> str:
    """Return the report of a study as one self-contained HTML page.

    Every figure that `tables` can draw must lie in `figure_directory` as SVG; a missing one raises
    `TableError`. Figures are embedded as images, so that identifiers of two SVGs cannot clash.
    """
    package = resources.files("saltus.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["raised"] = raised
    template = environment.from_string((package / "report.html").read_text("utf-8"))
    ladder = thresholds(tables)
    runs = tables.runs
    return template.render(
        css=(package / "report.css").read_text("utf-8"),
        name=str(tables.study.get("name", "study")),
        description=str(tables.study.get("description", "") or ""),
        facts=[
            (words.plural(len(tables.sizes()), "size"), _span(tables)),
            (words.plural(int(runs["seed"].nunique()), "seed"), ""),
            (
                words.plural(len(tables.horizons()), "horizon"),
                ", ".join(words.count(value) for value in tables.horizons()) + " tokens",
            ),
            (words.plural(len(runs), "run"), f"{tables.num_diverged()} diverged"),
        ],
        answers=headline(tables),
        ladder=[_with_reason(row) for row in ladder.rows if row[1].startswith("parameters")],
        pictures=[_picture(tables, figure_directory, name) for name in available(tables)],
        grids=grids(tables),
        version=saltus.__version__,
    )


def _with_reason(row: tuple[str, ...]) -> tuple[str, ...]:
    """Put a threshold's reason, the row's last cell, beside its status."""
    return (*row[:2], f"{row[2]}: {row[-1]}" if row[-1] else row[2], *row[3:])


def _span(tables: Tables) -> str:
    counts = [words.count(tables.count(size)) for size in tables.sizes()]
    ends = " to ".join(dict.fromkeys((counts[0], counts[-1]))) if counts else "no"
    return f"{ends} parameters without embedding"


def _picture(tables: Tables, directory: Path, name: str) -> Picture:
    path = Path(directory) / f"{name}.svg"
    if not path.is_file():
        raise TableError(f"{path}: missing; draw the figures before the report")
    entry = FIGURES[name]
    caption = entry.caption(tables)
    return Picture(
        name=name,
        title=entry.title,
        caption=caption,
        source=entry.reads,
        alternative=f"{entry.title} {caption}",
        uri="data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii"),
    )
