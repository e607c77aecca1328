"""The report's tables of confidence: by size, under shift, along scale, and what comes first."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from saltus.figure import words
from saltus.figure.confidence_lead import lag_at, name_of, panels_of
from saltus.figure.reliability import LEVELS
from saltus.figure.shift_fan import KINDS, name_of_shift
from saltus.figure.tables import Tables
from saltus.report.grid import Grid

AXES = {
    "params_nonembedding": "decade of parameters",
    "flops_exact": "decade of compute",
    "loss_text": "nat of text loss",
}
ERRORS = {
    "overconfidence": "over-confidence",
    "ece": "ECE",
    "floor_ece": "its floor",
    "smooth_ece": "smooth ECE",
    "floor_smooth_ece": "its floor",
    "l2_squared_debiased": "ℓ₂², debiased",
    "over_error": "OE",
    "brier": "Brier",
    "nll": "NLL",
    "excess_aurc": "excess AURC",
}


def confidence_grids(tables: Tables) -> list[Grid]:
    """Return the tables of confidence; those without rows are left out by the caller."""
    return [
        by_size(tables), shifted(tables), deltas(tables), lags(tables), slopes(tables),
    ]  # fmt: skip


def by_size(tables: Tables) -> Grid:
    """Return every error of pooled seeds in distribution, with interval and floor."""
    frame = tables.calibration_sizes
    frame = frame[frame["shift"].isna() & frame["ece"].notna()]
    rows = []
    for size in tables.sizes():
        for level in LEVELS:
            here = frame[(frame["size"] == size) & (frame["level"] == level)]
            for _, row in here.sort_values("tempered").iterrows():
                rows.append(
                    (
                        size,
                        LEVELS[level],
                        _temperature(row),
                        f"{row['n']:,.0f}",
                        _told(row, "overconfidence"),
                        *(f"{_told(row, name)}; {row[f'floor_{name}']:.3f}"
                          for name in ("ece", "smooth_ece")),
                        _told(row, "excess_aurc"),
                    )
                )  # fmt: skip
    return Grid(
        "Calibration",
        "calibration_sizes.parquet: overconfidence, ece, smooth_ece, floor_*, excess_aurc",
        ("size", "level", "temperature", "n", "over-confidence", "ECE; its floor",
         "smooth ECE; its floor", "excess AURC"),
        tuple(rows),
        "At the largest horizon, seeds pooled, 95 % intervals over documents or problems. A floor "
        "is the mean error of a perfectly calibrated model with these very confidences; the "
        "intervals of ECE and smooth ECE are of the error without it.",
    )  # fmt: skip


def shifted(tables: Tables) -> Grid:
    """Return over-confidence and smooth ECE under each shift, largest size."""
    frame = tables.calibration_sizes
    largest = tables.sizes()[-1] if tables.sizes() else None
    frame = frame[(frame["size"] == largest) & frame["overconfidence"].notna()]
    rows: list[tuple[str, ...]] = []
    for level, kinds in KINDS.items():
        for tempered in (False, True):
            here = frame[(frame["level"] == level) & (frame["tempered"].astype(bool) == tempered)]
            for kind in kinds:
                for _, row in here[here["shift"] == kind].sort_values("severity").iterrows():
                    rows.append(
                        (
                            LEVELS[level],
                            _temperature(row),
                            name_of_shift(kind, int(row["severity"])),
                            f"{row['n']:,.0f}",
                            _told(row, "overconfidence"),
                            f"{_told(row, 'smooth_ece')}; {row['floor_smooth_ece']:.3f}",
                        )
                    )
    return Grid(
        "Confidence under shift",
        "calibration_sizes.parquet: shift, severity, overconfidence, smooth_ece",
        ("level", "temperature", "shift", "n", "over-confidence", "smooth ECE; its floor"),
        tuple(rows),
        f"The largest size, {largest}, seeds pooled. The fitted temperature is that of validation "
        "text and answers without a shift.",
    )  # fmt: skip


def deltas(tables: Tables) -> Grid:
    """Return what each shift does to every error, largest size."""
    frame = tables.calibration_deltas
    largest = tables.sizes()[-1] if tables.sizes() else None
    names = {"accuracy": "accuracy", **ERRORS}
    rows: list[tuple[str, ...]] = []
    for level, kinds in KINDS.items():
        here = frame[(frame["size"] == largest) & (frame["level"] == level)]
        for tempered in (False, True):
            for kind in kinds:
                cell = here[(here["tempered"].astype(bool) == tempered) & (here["shift"] == kind)]
                for severity, changes in cell.groupby("severity"):
                    found = changes.set_index("error").to_dict("index")
                    rows.append(
                        (
                            LEVELS[level],
                            "fitted" if tempered else "1",
                            name_of_shift(kind, int(str(severity))),
                            _compared(changes),
                            *(_change(found[name]) for name in names),
                        )
                    )
    heads = list(names.values())
    for place, name in enumerate(heads):
        if name == "its floor":
            heads[place] = f"floor of {heads[place - 1]}"
    return Grid(
        "What a shift changes", "calibration_deltas.parquet: delta, low, high",
        ("level", "temperature", "shift", "seeds", *heads), tuple(rows),
        f"The largest size, {largest}: errors under the shift less those without, means over "
        "seeds with 95 % t intervals; seeds that lack one of the two are counted as lost. Fewer "
        "predictions are scored under a shift, which raises floors by themselves.",
    )  # fmt: skip


def lags(tables: Tables) -> Grid:
    """Return how far confidence follows accuracy along size."""
    rows = []
    for level in panels_of(tables):
        for tempered in (False, True):
            found = lag_at(tables, level, tempered)
            if not found:
                continue
            told = words.ABSENT
            if found["lag"] is not None:
                told = f"{found['lag']:.2f}".replace("-", "−")
                told += f" {words.bracket([found['low'], found['high']], 2)}"
            rows.append(
                (
                    name_of(level),
                    "fitted" if tempered else "1",
                    words.plain(found["half"], 2),
                    *(words.count(found[f"{name}_at"]) for name in ("accuracy", "confidence")),
                    told,
                    str(found["reason"]),
                )
            )
    return Grid(
        "Which comes first, being right or being sure?", "calibration.json: lags",
        ("level", "temperature", "half of the accuracy's range", "accuracy there at",
         "confidence there at", "lag (decades of parameters)", "reason"),
        tuple(rows),
        "A negative lag: confidence rises at smaller sizes than accuracy does. 95 % intervals "
        "leave one size out at a time.",
    )  # fmt: skip


def slopes(tables: Tables) -> Grid:
    """Return the slope of every error along parameters, compute and loss."""
    found = {
        (row["level"], row["tempered"], row["error"], row["axis"]): row
        for row in tables.scaling.get("slopes", ())
        if row["level"] in LEVELS
    }
    rows = []
    for level in LEVELS:
        for tempered in (False, True):
            for error, name in ERRORS.items():
                cells = [found.get((level, tempered, error, axis)) for axis in AXES]
                if any(cell is not None for cell in cells):
                    told = [_slope(cell) for cell in cells]
                    rows.append((LEVELS[level], "fitted" if tempered else "1", name, *told))
    return Grid(
        "Calibration along scale", "calibration.json: slopes",
        ("level", "temperature", "error", *(f"per {unit}" for unit in AXES.values())),
        tuple(rows),
        "Straight lines through means of sizes (parameters: largest horizon) or of sizes and "
        "horizons, with 95 % intervals that leave one size out at a time: which way an error goes, "
        "not by which law. An error whose slope is its floor's tells nothing of calibration.",
    )  # fmt: skip


def _told(row: "pd.Series[Any]", name: str) -> str:
    return words.with_interval(row[name], [row[f"{name}_low"], row[f"{name}_high"]])


def _compared(changes: pd.DataFrame) -> str:
    """Return how many seeds were compared, and of how many at most an error is missing."""
    lost = int(changes["num_dropped"].max())
    return f"{int(changes['num_seeds'].max())}" + (f", {lost} lost" if lost else "")


def _change(row: Mapping[Any, Any]) -> str:
    """Return a signed change with its interval."""
    value = words.finite(row["delta"])
    if value != value:
        return words.ABSENT
    told = f"{value:+.3f}".replace("-", "−")
    return f"{told} {words.bracket((row['low'], row['high']), 3)}".rstrip()


def _temperature(row: "pd.Series[Any]") -> str:
    return "fitted" if row["tempered"] else "1"


def _slope(found: Mapping[str, Any] | None) -> str:
    """Return a slope with its interval, or why there is none."""
    if found is None:
        return words.ABSENT
    if found["slope"] is None:
        return str(found["reason"])
    return words.with_interval(found["slope"], [found["low"], found["high"]])
