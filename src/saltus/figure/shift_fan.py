"""Is confidence kept under shift? Over-confidence by kind and severity, one line per size.

Tokens: byte noise of growing severity, and domains never trained on. Answers: the kinds of
arithmetic that training did not show. The temperature is that of validation in distribution.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saltus.figure import style, words
from saltus.figure.reliability import LEVELS
from saltus.figure.tables import Tables

KINDS = {
    "token": ("noise", "domain"),
    "answer": ("phrasing", "all_carries", "longer", "out_of_range"),
}
NAMES = {
    "noise": "noise", "domain": "other\ndomain", "phrasing": "other\nphrasing",
    "all_carries": "all\ncarries", "longer": "longer", "out_of_range": "out of\nrange",
}  # fmt: skip
UNSHIFTED = "no\nshift"
BY_TEMPERATURE = {False: "as trained", True: "after temperature"}


def places(tables: Tables, level: str) -> list[tuple[str | None, int]]:
    """Return the (shift, severity) pairs of a level in the order they are drawn."""
    rows = tables.calibration_sizes
    rows = rows[(rows["level"] == level) & rows["shift"].notna()]
    found = {(str(shift), int(severity)) for shift, severity in zip(
        rows["shift"], rows["severity"], strict=True)}  # fmt: skip
    known = [kind for kind in KINDS[level] if any(kind == each for each, _ in found)]
    ordered = sorted(found, key=lambda each: (known.index(each[0]), each[1]))
    return [(None, 0), *ordered] if ordered else []


def levels(tables: Tables) -> list[str]:
    """Return the levels that were asked under a shift, tokens first."""
    return [level for level in LEVELS if places(tables, level)]


def name_of_shift(shift: str | None, severity: int) -> str:
    """Return what a shift is called in a sentence."""
    if shift is None:
        return "no shift"
    name = NAMES.get(shift, shift).replace("\n", " ")
    return f"{name} {severity}" if shift == "noise" else name


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: a row per level, as trained and after temperature."""
    shown = levels(tables)
    if not shown:
        return style.blank("nothing was asked under a shift")
    figure = style.canvas(0.6 + 3.0 * len(shown))
    keys = [(level, tempered) for level in shown for tempered in BY_TEMPERATURE]
    made = style.panels(figure, keys, len(BY_TEMPERATURE), sharex=False, sharey=False)
    for (level, tempered), axes in made.items():
        _panel(axes, tables, level, tempered)
        style.subtitle(axes, LEVELS[level], BY_TEMPERATURE[tempered])
        if not tempered:
            axes.set_ylabel("over-confidence\n(mean confidence − accuracy)")
    for level in shown:
        pair = [made[level, tempered] for tempered in BY_TEMPERATURE]
        ends = [end for axes in pair for end in axes.get_ylim()]
        for axes in pair:
            axes.set_ylim(min(ends), max(ends))
    rows = tables.calibration_sizes
    style.size_legend(figure, tables, sample=f"median n = {words.count(rows['n'].median())}")
    return figure


def cell(tables: Tables, size: str, level: str, tempered: bool) -> pd.DataFrame:
    """Return the rows of one size and level in the order they are drawn, with their `place`."""
    rows = tables.calibration_sizes
    rows = rows[
        (rows["size"] == size) & (rows["level"] == level)
        & (rows["tempered"].astype(bool) == tempered) & rows["overconfidence"].notna()
    ]  # fmt: skip
    order = {pair: place for place, pair in enumerate(places(tables, level))}
    pairs = [
        (None if pd.isna(shift) else str(shift), int(severity))
        for shift, severity in zip(rows["shift"], rows["severity"], strict=True)
    ]
    return rows.assign(place=[order[pair] for pair in pairs]).sort_values("place")


def _panel(axes: Axes, tables: Tables, level: str, tempered: bool) -> None:
    palette, sizes = style.colours(tables), tables.sizes()
    axes.axhline(0, color=style.SOFT, linewidth=1, zorder=1)
    for index, size in enumerate(sizes):
        rows = cell(tables, size, level, tempered)
        at = rows["place"].to_numpy(float) + 0.4 * ((index + 0.5) / len(sizes) - 0.5)
        gap = rows["overconfidence"].to_numpy(float)
        axes.vlines(at, rows["overconfidence_low"], rows["overconfidence_high"],
                    color=palette[size], linewidth=1.2, alpha=0.6, zorder=2)  # fmt: skip
        joined = (rows["shift"].isna() | (rows["shift"] == "noise")).to_numpy(bool)
        axes.plot(at[joined], gap[joined], color=palette[size], linewidth=1,
                  zorder=3)  # fmt: skip
        axes.plot(at, gap, "o", color=palette[size], markersize=4.2,
                  markeredgecolor="white", markeredgewidth=0.5, zorder=4)  # fmt: skip
    shown = places(tables, level)
    labels = [
        UNSHIFTED if shift is None
        else f"noise\n{severity}" if shift == "noise"
        else NAMES.get(shift, shift)
        for shift, severity in shown
    ]  # fmt: skip
    axes.set_xticks(range(len(shown)), labels)


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the largest size's gaps."""
    shown = levels(tables)
    if not shown:
        return "Nothing was asked under a shift."
    parts = [
        "Mean confidence minus accuracy at the largest horizon, seeds pooled, with 95 % intervals "
        "over documents or problems. Noise: so many bytes of the text replaced (1, 2, 4, 8 and "
        "16 %). The temperature was fitted in distribution and is reused."
    ]
    largest = tables.sizes()[-1]
    for level in shown:
        for tempered, words_of in BY_TEMPERATURE.items():
            rows = cell(tables, largest, level, tempered)
            if len(rows) < 2:
                continue
            first = rows.iloc[0]
            worst = rows.iloc[int(rows["overconfidence"].to_numpy(float).argmax())]
            kind = None if pd.isna(worst["shift"]) else str(worst["shift"])
            name = name_of_shift(kind, int(worst["severity"]))
            ends = [worst["overconfidence_low"], worst["overconfidence_high"]]
            parts.append(
                f"{LEVELS[level].capitalize()}, {words_of}: {first['overconfidence']:+.3f} "
                f"without a shift, at most {words.with_interval(worst['overconfidence'], ends)} "
                f"({name}) at {largest}.".replace("-0.", "−0.")
            )
    return " ".join(parts)
