"""The report's tables of seeds and of problems: who learns, and where answers go wrong."""

import pandas as pd

from saltus.figure import words
from saltus.figure.spread import accuracy_interval
from saltus.figure.tables import Tables
from saltus.report.grid import Grid

KINDS = {
    "carries": ("Accuracy by carries", "columns that carry or borrow"),
    "carry_chain": ("Accuracy by the longest chain of carries", "neighbouring columns that carry"),
    "digits": ("Accuracy by length", "digits of the answer"),
}


def problem_grids(tables: Tables) -> list[Grid]:
    """Return the table of seeds and those of kinds of problems."""
    return [seeds(tables), *(by_kind(tables, kind) for kind in KINDS)]


def seeds(tables: Tables) -> Grid:
    """Return how many seeds have learnt each ability, and how well those do."""
    rows, scores = [], tables.at_largest(tables.scores)
    for row in tables.seeds.to_dict("records"):
        cell = scores[
            (scores["task"] == row["task"])
            & (scores["arm"] == row["arm"])
            & (scores["size"] == row["size"])
        ].dropna(subset=["exact_match"])
        learnt = cell[cell["exact_match"] >= row["level"]]
        share = f"{row['num_learnt']} of {row['num_seeds']}"
        ends = words.bracket((row["learnt_low"], row["learnt_high"]), 2)
        spread = words.finite(row["spread_given_learnt"])
        p = words.finite(row["p_value"])
        rows.append(
            (
                words.task(row["task"], row["arm"], always=len(tables.arms()) > 1),
                f"{row['size']}, {words.count(row['params_nonembedding'])}",
                f"{share} {ends}".rstrip(),
                _share(cell),
                _share(learnt),
                words.ABSENT if spread != spread else words.plain(spread, 2),
                words.remark(row["reason"]) if p != p else f"p = {p:.2g}",
            )
        )
    return Grid(
        "Which seeds learn?", "seeds.parquet",
        ("ability", "size", "seeds at one half or more", "mean of all",
         "mean of those that learnt", "their s.d.", "two kinds of seeds?"),
        tuple(rows),
        "Exact match at the largest horizon, with 95 % intervals: of the share Wilson's, of means "
        "the wider of seeds (t) and items (Wilson). A mean may rise because more seeds learn, or "
        "because those that have learnt do better. Two kinds: a bootstrap test of one "
        "beta-binomial against two.",
    )  # fmt: skip


def by_kind(tables: Tables, kind: str) -> Grid:
    """Return exact match by one property of the problems, a column per value."""
    title, what = KINDS[kind]
    found = tables.at_largest(tables.breakdown)
    found = found[found["by"] == kind] if len(found) else found
    values = sorted(int(value) for value in found["value"].unique()) if len(found) else []
    rows = []
    for task, arm in tables.tasks() if len(values) > 1 else ():
        for size in tables.sizes():
            cell = found[(found["task"] == task) & (found["arm"] == arm) & (found["size"] == size)]
            if cell["value"].nunique() > 1:
                rows.append(
                    (
                        words.task(task, arm, always=len(tables.arms()) > 1),
                        f"{size}, {words.count(tables.count(size))}",
                        *(_share(cell[cell["value"] == value]) for value in values),
                    )
                )
    return Grid(
        title, f"breakdown.parquet: by = {kind}",
        ("ability", "size", *(str(value) for value in values)), tuple(rows),
        f"Columns: {what}. Means over seeds at the largest horizon, 95 % intervals the wider of "
        "seeds (t) and items (Wilson).",
    )  # fmt: skip


def _share(cell: pd.DataFrame) -> str:
    if cell.empty:
        return words.ABSENT
    return f"{cell['exact_match'].mean():.2f} {words.bracket(accuracy_interval(cell), 2)}"
