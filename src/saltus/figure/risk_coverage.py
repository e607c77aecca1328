"""What is gained by answering less? Error rate among the most confident, one line per size."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.reliability import LEVELS
from saltus.figure.tables import Tables


def levels(tables: Tables) -> list[str]:
    """Return the levels that were measured, tokens first."""
    return [level for level in LEVELS if (tables.risk_curves["level"] == level).any()]


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: a panel per level; dashed, what a blind choice of answers risks."""
    shown = levels(tables)
    if not shown:
        return style.blank("no confidences were recorded")
    figure = style.canvas(4.0)
    made = style.panels(figure, shown, len(shown))
    palette = style.colours(tables)
    for level, axes in made.items():
        rows = tables.risk_curves
        rows = rows[(rows["level"] == level) & ~rows["tempered"].astype(bool)]
        for size in tables.sizes():
            curve = rows[rows["size"] == size].sort_values("coverage")
            if curve.empty:
                continue
            axes.plot(curve["coverage"], curve["risk"], color=palette[size], linewidth=1.6)
            axes.axhline(float(curve["risk"].iloc[-1]), color=palette[size], linewidth=0.7,
                         linestyle=(0, (1, 2)), zorder=1)  # fmt: skip
        style.subtitle(axes, LEVELS[level], "the most confident first")
        style.share_axis(axes)
        axes.set_xlim(0, 1.02)
        axes.set_xlabel("share answered")
        if level == shown[0]:
            axes.set_ylabel("error rate of these")
    blind = Line2D([], [], color=style.SOFT, linewidth=0.9, linestyle=(0, (1, 2)),
                   label="answers chosen blindly")  # fmt: skip
    style.size_legend(figure, tables, [blind])
    return figure


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the excess area of the smallest and largest size."""
    shown = levels(tables)
    if not shown:
        return "No confidences were recorded."
    parts = [
        "Error rate if only the most confident answers are given, at the largest horizon, seeds "
        "pooled, ties averaged. A line below its dotted one: confidence tells right from wrong."
    ]
    rows = tables.calibration_sizes
    rows = rows[rows["shift"].isna() & ~rows["tempered"].astype(bool)]
    for level in shown:
        told = []
        found = rows[(rows["level"] == level) & rows["excess_aurc"].notna()]
        found = found.sort_values("params_nonembedding")
        for _, row in found.iloc[[0, -1]].drop_duplicates("size").iterrows():
            ends = [row["excess_aurc_low"], row["excess_aurc_high"]]
            told.append(f"{words.with_interval(row['excess_aurc'], ends)} at {row['size']}")
        parts.append(
            f"{LEVELS[level].capitalize()}: excess area over a perfect order {words.listed(told)}."
        )
    return " ".join(parts)
