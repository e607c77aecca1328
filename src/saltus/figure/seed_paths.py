"""Every seed's way to an ability: exact match against training tokens, a line per seed and size.

Do seeds climb together, or does each leap on its own day? Where single lines are steep and lie
apart, the mean over seeds rises slowly though no model does.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.emerge.scores import wilson
from saltus.figure import style, words
from saltus.figure.tables import Tables

HALF = 0.5


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: a panel per task and arm, thin lines of seeds, bold means of sizes."""
    pairs, horizons = tables.tasks(), tables.horizons()
    columns = style.columns_for(max(len(pairs), 1), 3)
    rows = -(-max(len(pairs), 1) // columns)
    figure = style.canvas(max(0.9 + 2.2 * rows, 3.6))
    made = style.panels(figure, pairs or [("none", "plain")], columns)
    for index, ((task, arm), axes) in enumerate(made.items()):
        if not pairs or len(horizons) < 2:
            style.note(axes, "no task was scored" if not pairs else "one horizon was trained")
            continue
        _panel(axes, tables, task, arm)
        style.subtitle(axes, words.task(task), arm if len(tables.arms()) > 1 else "")
        style.share_axis(axes)
        style.horizon_axis(axes.xaxis, horizons)
        if index % columns == 0:
            axes.set_ylabel("exact match")
        if index + columns >= len(pairs):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("training tokens")
    extra = [
        Line2D([], [], color=style.FAINT, linewidth=0.8, label="one half"),
        Line2D([], [], color=style.SOFT, linewidth=0.8, alpha=0.7, label="a seed"),
        Line2D([], [], color=style.SOFT, linewidth=2, label="mean of a size"),
    ]
    num = tables.scores["run"].nunique()
    style.size_legend(figure, tables, extra, sample=f"n = {words.plural(num, 'run')}")
    return figure


def _panel(axes: Axes, tables: Tables, task: str, arm: str) -> None:
    palette = style.colours(tables)
    rows = tables.scores
    rows = rows[(rows["task"] == task) & (rows["arm"] == arm) & rows["exact_match"].notna()]
    axes.axhline(HALF, color=style.FAINT, linewidth=0.8, zorder=1)
    for size in tables.sizes():
        cell = rows[rows["size"] == size].sort_values("horizon")
        for _, path in cell.groupby("seed"):
            axes.plot(path["horizon"], path["exact_match"], color=palette[size], linewidth=0.8,
                      alpha=0.7, marker="o", markersize=2.2, zorder=3)  # fmt: skip
        means = cell.groupby("horizon")["exact_match"].mean()
        axes.plot(means.index, means, color=palette[size], linewidth=2, zorder=2)
    if rows.empty:
        style.note(axes, "never scored")


def caption(tables: Tables) -> str:
    """Return what the figure shows, with how many seeds pass one half by task."""
    pairs, horizons = tables.tasks(), tables.horizons()
    if not pairs or len(horizons) < 2:
        return "No task was scored at two horizons."
    rows = tables.scores.dropna(subset=["exact_match"])
    told = []
    for task, arm in pairs:
        cell = rows[(rows["task"] == task) & (rows["arm"] == arm)]
        best = cell.groupby(["size", "seed"])["exact_match"].max()
        num = int((best >= HALF).sum())
        ends = [float(each) for each in wilson(float(num), float(len(best)))]
        share = f"{num / len(best):.2f} {words.bracket(ends, 2)}" if len(best) else words.ABSENT
        told.append(f"{words.task(task, arm)} {num} of {len(best)}, {share}")
    return (
        f"Exact match of every seed at {len(horizons)} horizons from "
        f"{words.count(horizons[0])} to {words.count(horizons[-1])} training tokens, each annealed "
        "from the seed's own trunk. Seeds, over all sizes, that give half of the answers right at "
        f"some horizon, with Wilson's 95 % interval: {'; '.join(told)}."
    )
