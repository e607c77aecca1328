"""The report's tables of abilities: verdicts, arms, the loss axis, what was foretold."""

from collections.abc import Mapping
from typing import Any

from saltus.figure import words
from saltus.figure.tables import Tables
from saltus.report.grid import Grid


def ability_grids(tables: Tables) -> list[Grid]:
    """Return the tables of abilities; those without rows are left out by the caller."""
    return [verdicts(tables), arms(tables), loss_axis(tables), foretold(tables)]


def verdicts(tables: Tables) -> Grid:
    """Return whether every ability leapt, with the evidence."""
    rows = []
    for found in tables.emergence.get("verdicts", ()):
        power = found["power"] or {}
        best = found["rivals"][0] if found["rivals"] else None
        p = found["p_adjusted"]
        rows.append(
            (
                _ability(found, tables),
                found["verdict"],
                _transition(found["nll"]),
                _transition(found["accuracy"]),
                words.ABSENT if p is None else f"{p:.2g}",
                f"{best['name']} (off by {best['heldout']:.2g} nats)" if best else words.ABSENT,
                power.get("text", words.ABSENT),
                found["reason"],
            )
        )
    return Grid(
        "Did they leap?", "emergence.json: verdicts",
        ("ability", "verdict", "width of the NLL's transition", "of the accuracy's",
         "p against smooth", "best on held-out sizes", "power", "reason"),
        tuple(rows),
        "Widths in decades of parameters, from 10 to 90 %, with 95 % intervals. Sharp: the NLL's "
        "is below half a decade, p < .05 after Holm; smooth: above; metric-induced: the accuracy's "
        "below where the NLL's is above.",
    )  # fmt: skip


def arms(tables: Tables) -> Grid:
    """Return how far one way of writing an answer moves the threshold against another."""
    rows = [
        (
            words.task(found["task"]),
            f"{found['arm']} over {found['reference']}",
            words.remark(found["label"]) or str(found["status"]),
            words.remark(found["arm_label"]),
            words.remark(found["reference_label"]),
            words.remark(found["reason"]),
        )
        for found in tables.emergence.get("arms", ())
    ]
    return Grid(
        "Arms as controls", "emergence.json: arms",
        ("ability", "arms", "ratio of thresholds", "the first at", "the second at", "reason"),
        tuple(rows),
        "Ratio of the parameters at which half of the answers are right, with a 95 % interval; the "
        "networks are the same.",
    )  # fmt: skip


def loss_axis(tables: Tables) -> Grid:
    """Return whether accuracy depends on text loss alone."""
    rows = [
        (_ability(found, tables), words.plain(found.get("p_adjusted"), 2), found["sentence"])
        for found in tables.emergence.get("collapse", ())
    ]
    return Grid(
        "One curve against loss?", "emergence.json: collapse",
        ("ability", "p of one curve", "what all sizes and horizons say"), tuple(rows),
        "If ability depended on text loss alone, all sizes and horizons would lie on one curve. A "
        "negative shift: at equal loss the larger size does worse. p after Holm.",
    )  # fmt: skip


def foretold(tables: Tables) -> Grid:
    """Return what predictions from smaller sizes were worth, method by method."""
    found = tables.emergence.get("foretold") or {}
    thresholds = found.get("thresholds", ())
    rows = []
    for method in found.get("methods", ()):
        told = [row for row in thresholds if row["method"] == method["method"]]
        unseen = [row["verdict"] for row in told if not row["already_seen"]]
        rows.append(
            (
                str(method["method"]),
                f"{method['predicted']} of {method['predicted'] + method['refused']}",
                words.plain(method["mean_absolute_error"], 2),
                words.plain(method["mean_width"], 2),
                f"{unseen.count('agree')} / {unseen.count('disagree')} / "
                f"{unseen.count('cannot say')}" if told else words.ABSENT,
            )
        )  # fmt: skip
    return Grid(
        "Foretold from smaller sizes", "emergence.json: foretold; foretold.parquet",
        ("method", "accuracies foretold", "mean error", "mean width of 95 % interval",
         "thresholds: agree / disagree / cannot say"),
        tuple(rows),
        "Errors on the rows that every method foretells. Thresholds count where no size below the "
        "cut had reached one half. Two-step: size, NLL, accuracy; text loss: the law of loss "
        "through its link with accuracy; curve: the psychometric curve of the smaller sizes; "
        "repeat: the largest size seen.",
    )  # fmt: skip


def _ability(found: Mapping[str, Any], tables: Tables) -> str:
    return words.task(found["task"], found["arm"], always=len(tables.arms()) > 1)


def _transition(fit: Mapping[str, Any] | None) -> str:
    """Return a width with its interval."""
    if fit is None:
        return words.ABSENT
    return f"{words.plain(fit['width'], 2)} {words.bracket((fit['low'], fit['high']), 2)}"
