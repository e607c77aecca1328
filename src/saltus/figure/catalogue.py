"""Every figure by name, and drawing them all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from matplotlib.figure import Figure

from saltus.errors import TableError, nearest
from saltus.figure import (
    accuracy_loss,
    accuracy_size,
    calibration_scale,
    calibration_size,
    compute_envelope,
    confidence_lead,
    law_fit,
    loss_curves,
    rates,
    reliability,
    risk_coverage,
    seed_paths,
    seed_spread,
    shift_fan,
    threshold_atlas,
    tokens_to_learn,
)
from saltus.figure.names import drawn_names
from saltus.figure.style import save
from saltus.figure.tables import Tables


@dataclass(frozen=True)
class Entry:
    """One figure: the question it answers, the tables it reads, how to draw and caption it."""

    title: str
    reads: str
    draw: Callable[[Tables], Figure]
    caption: Callable[[Tables], str]


FIGURES: Mapping[str, Entry] = MappingProxyType({
    "loss-curves": Entry(
        "How the loss falls", "curves.parquet, runs.parquet", loss_curves.draw, loss_curves.caption
    ),
    "law-fit": Entry(
        "Does the loss follow a law?", "runs.parquet, laws.json", law_fit.draw, law_fit.caption
    ),
    "compute-envelope": Entry(
        "The best loss for a budget", "runs.parquet, laws.json",
        compute_envelope.draw, compute_envelope.caption,
    ),
    "accuracy-size": Entry(
        "Where abilities appear", "scores.parquet, thresholds.parquet, emergence.json",
        accuracy_size.draw, accuracy_size.caption,
    ),
    "threshold-atlas": Entry(
        "In which order?", "thresholds.parquet", threshold_atlas.draw, threshold_atlas.caption
    ),
    "tokens-to-learn": Entry(
        "How long does it take?", "thresholds.parquet",
        tokens_to_learn.draw, tokens_to_learn.caption,
    ),
    "accuracy-loss": Entry(
        "Does ability follow loss?", "scores.parquet", accuracy_loss.draw, accuracy_loss.caption
    ),
    "seed-spread": Entry(
        "How far apart are seeds?", "runs.parquet, scores.parquet",
        seed_spread.draw, seed_spread.caption,
    ),
    "seed-paths": Entry(
        "Does every seed learn alike?", "scores.parquet", seed_paths.draw, seed_paths.caption
    ),
    "reliability": Entry(
        "Is confidence reliable?", "reliability.parquet, reliability_curves.parquet",
        reliability.draw, reliability.caption,
    ),
    "calibration-size": Entry(
        "Does calibration change with size?", "calibration.parquet, calibration_sizes.parquet",
        calibration_size.draw, calibration_size.caption,
    ),
    "calibration-scale": Entry(
        "Does calibration follow compute, or loss?", "calibration.parquet, calibration.json",
        calibration_scale.draw, calibration_scale.caption,
    ),
    "confidence-lead": Entry(
        "Which comes first, being right or being sure?", "calibration.parquet, calibration.json",
        confidence_lead.draw, confidence_lead.caption,
    ),
    "shift-fan": Entry(
        "Is confidence kept under shift?", "calibration_sizes.parquet",
        shift_fan.draw, shift_fan.caption,
    ),
    "risk-coverage": Entry(
        "What does answering less gain?", "risk_curves.parquet, calibration_sizes.parquet",
        risk_coverage.draw, risk_coverage.caption,
    ),
    "rates": Entry(
        "Is the learning rate right?", "rates.parquet, rates.json", rates.draw, rates.caption
    ),
})  # fmt: skip
"""The figures by their `names`."""


def available(tables: Tables) -> list[str]:
    """Return the names of the figures that these tables can draw, in the report's order."""
    return drawn_names(swept=tables.rates is not None)


def draw_all(tables: Tables, directory: Path, only: Sequence[str] | None = None) -> list[Path]:
    """Draw the figures, or those named in `only`, as SVG and PNG; return the files written.

    Raises `TableError` on a name that is no figure, or one that these tables cannot draw.
    """
    names = available(tables)
    for name in only or ():
        if name not in FIGURES:
            raise TableError(f"no figure is called '{name}'{nearest(name, FIGURES)}")
        if name not in names:
            raise TableError(f"figure '{name}': this study swept no learning rates")
    written: list[Path] = []
    for name in names if only is None else only:
        written += save(FIGURES[name].draw(tables), directory, name)
    return written
