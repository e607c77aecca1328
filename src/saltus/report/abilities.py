"""The report's tables of abilities: verdicts, arms, the loss axis, what was foretold."""

from collections.abc import Mapping
from typing import Any

from saltus.figure import words
from saltus.figure.tables import Tables
from saltus.report.grid import Grid


def ability_grids(tables: Tables) -> list[Grid]:
    """Return the tables of abilities; those without rows are left out by the caller."""
    return [
        verdicts(tables), arms(tables), loss_axis(tables), links(tables), foretold(tables),
        shapes(tables), token_slopes(tables), draws(tables),
    ]  # fmt: skip


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


def links(tables: Tables) -> Grid:
    """Return the links of accuracy with text loss and with the target's NLL."""
    names = {"loss_text": "text loss (nats/token)", "target_nll": "NLL (nats/answer)"}
    rows = []
    for found in tables.emergence.get("links", ()):
        values, ends = found["parameters"] or {}, found["intervals"] or {}
        told = [words.with_interval(values.get(name), ends.get(name)) for name in ("L0", "k")]
        status = ": ".join(part for part in (found["status"], found["reason"]) if part)
        rows.append((_ability(found, tables), names[found["loss"]], *told, status))
    return Grid(
        "Accuracy against loss", "emergence.json: links",
        ("ability", "loss", "middle L₀", "steepness k", "fit"), tuple(rows),
        "Acc = b + a/(1 + exp(−k (L − L₀))) over all sizes and horizons; 95 % intervals leave one "
        "size out at a time.",
    )  # fmt: skip


def shapes(tables: Tables) -> Grid:
    """Return how greedy and expected exact match rise over sizes, as BIG-bench tells it."""
    found = {
        (row["task"], row["arm"], row["score"]): row for row in tables.emergence.get("shapes", ())
    }
    rows = []
    for task, arm in tables.tasks():
        pair = [found.get((task, arm, score)) for score in ("exact_match", "expected_exact_match")]
        greedy, expected = pair
        if greedy is None or expected is None:
            continue
        rows.append(
            (
                words.task(task, arm, always=len(tables.arms()) > 1),
                *(words.plain(row["linearity"], 2) for row in (greedy, expected)),
                *(words.plain(row["breakthroughness"], 2) for row in (greedy, expected)),
                words.remark(greedy["reason"]) or words.remark(expected["reason"]),
            )
        )
    return Grid(
        "Shapes of the rise", "emergence.json: shapes",
        ("ability", "linearity, greedy", "expected", "breakthroughness, greedy", "expected",
         "reason"),
        tuple(rows),
        "Of means over seeds at the largest horizon (BIG-bench). Expected: mean exp(−NLL), which "
        "no metric makes leap. Descriptions, not tests: neither knows scatter.",
    )  # fmt: skip


def token_slopes(tables: Tables) -> Grid:
    """Return whether larger sizes learn on fewer tokens."""
    rows = []
    for found in tables.emergence.get("token_slopes", ()):
        seeds = sum(found[f"num_{kind}"] for kind in ("exact", "interval", "left"))
        rows.append(
            (
                _ability(found, tables),
                words.with_interval(found["slope"], (found["slope_low"], found["slope_high"])),
                f"{seeds} of {seeds + found['num_right']}",
                ": ".join(part for part in (found["status"], found["reason"]) if part),
            )
        )
    return Grid(
        "Tokens to learn", "emergence.json: token_slopes",
        ("ability", "slope of log tokens on log parameters", "seeds that reach one half", "fit"),
        tuple(rows),
        "−.3: a tenfold size learns on half the tokens. Crossings are known between two horizons; "
        "95 % interval by leaving one size out at a time.",
    )  # fmt: skip


def draws(tables: Tables) -> Grid:
    """Return whether answers drawn from the models are right as often as their probability says."""
    found = tables.emergence.get("agreement") or {}
    rows: tuple[tuple[str, ...], ...] = ()
    if found.get("runs"):
        least = 0.05 / found["runs"]
        agrees = "agree" if found["smallest_p"] >= least else "do not agree"
        rows = (
            (
                words.plural(found["runs"], "run"),
                words.plural(found["draws"], "draw"),
                f"{found['smallest_p']:.2g}",
                f"{agrees} (Bonferroni at {least:.2g})",
            ),
        )
    return Grid(
        "Drawn answers against their probability", "emergence.json: agreement",
        ("models", "answers drawn", "smallest p", "draws and probabilities"), rows,
        "Answers at temperature 1 are right as often as exp(−NLL) of the target says, or p is "
        "small.",
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
