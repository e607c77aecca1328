"""The plain-language answers at the head of the report, each with the table it was read from."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from saltus.figure import words
from saltus.figure.calibration_size import doubt, doubted, ends, told_gap
from saltus.figure.confidence_lead import lag_at
from saltus.figure.confidence_lead import told as lag_told
from saltus.figure.law_fit import (
    certified,
    errors_of,
    lack_of_fit,
    misfit,
    predicted,
    prediction,
    sensitivity,
)
from saltus.figure.reliability import LEVELS
from saltus.figure.seed_spread import deviation_within
from saltus.figure.shift_fan import name_of_shift
from saltus.figure.tables import Tables

SENTENCES: Mapping[str, tuple[str, str]] = MappingProxyType({
    "crossed": (
        "is right half of the time within the ladder",
        "are right half of the time within the ladder",
    ),
    "above largest": (
        "stays below one half at the largest size", "stay below one half at the largest size",
    ),
    "below smallest": (
        "is above one half at the smallest size already",
        "are above one half at the smallest size already",
    ),
    "not monotone": (
        "does not rise steadily with size, so that no one size is its threshold",
        "do not rise steadily with size, so that no one size is their threshold",
    ),
    "undecided": (
        "has a threshold that these runs do not decide",
        "have thresholds that these runs do not decide",
    ),
})  # fmt: skip
"""What a threshold's status says of one ability, and of several."""

VERDICTS: Mapping[str, str] = MappingProxyType(
    {
        "sharp": "leapt within half a decade of parameters",
        "metric-induced": "leapt in exact match alone, not in the probability of the right answer",
        "smooth": "grew over more than half a decade of parameters",
        "undecided": "is undecided",
    }
)
"""What a verdict says of an ability."""


@dataclass(frozen=True)
class Answer:
    """One question with its short answer, sentences of detail, and `table: columns` read."""

    question: str
    short: str
    details: tuple[str, ...]
    source: str


def headline(tables: Tables) -> list[Answer]:
    """Return the report's answers: law, abilities, leaps, confidence, and what stays undecided."""
    return [law(tables), abilities(tables), leaps(tables), confidence(tables), undecided(tables)]


def law(tables: Tables) -> Answer:
    """Answer whether the loss follows a law."""
    question, source = "Does the loss follow a law?", "laws.json: chinchilla, heldout"
    fitted, held = tables.law("chinchilla"), tables.law("heldout")
    if fitted is None:
        reason = f"No law was fitted: {tables.refusal('chinchilla')}."
        return Answer(question, "Undecided", (reason,), source)
    status = str((fitted.get("certificate") or {}).get("status", "not certified"))
    details = [
        f"The exponents: of size {words.quantity(fitted, 'alpha', 'α')}; of tokens "
        f"{words.quantity(fitted, 'beta', 'β')}; and what remains: "
        f"{words.quantity(fitted, 'E', 'E', ' nats per token')}.",
        _best_size(fitted),
        f"{lack_of_fit(fitted)} The optimiser's certificate: {status}.",
        sensitivity(fitted),
        prediction(held) if held else f"No size was held out: {tables.refusal('heldout')}.",
    ]
    names = {"alpha": "α", "beta": "β"}
    vague = [sign for name, sign in names.items() if not lower_limit(fitted, name) > 0]
    short = seen(held)
    if vague:
        short = f"Not certain: {words.listed(vague)} may be zero"
    if status != "converged":
        short = f"Not certain: the fit is {status}"
    if status in ("converged", "boundary") and np.isfinite(ratio := misfit(fitted)):
        short = f"Not this one: residuals are {ratio:.1f} times the spread of seeds"
    return Answer(question, short, tuple(detail for detail in details if detail), source)


def _best_size(fitted: Mapping[str, Any]) -> str:
    told = words.allocation(fitted)
    if words.bounded(fitted):
        return f"The best size for a budget {told}."
    return f"The best size for a compute budget C grows as C^a, a = {told}."


def seen(held: Mapping[str, Any] | None) -> str:
    """Return the short answer of a law that fits, by the size it was not fitted to."""
    if not held or not np.isfinite(errors_of(held)[1]):
        return "Yes, as far as it was fitted"
    error, baseline = (words.percent(value, 1) for value in errors_of(held))
    if predicted(held):
        share = words.finite(held.get("inside_share"))
        if share < 0.9:
            return "It describes the sizes fitted, but misses the size held out"
        return f"Yes, and a size it has not seen is predicted to {error}"
    if errors_of(held)[0] < errors_of(held)[1]:
        return f"It describes the sizes fitted; without {held['size']} it is {certified(held)}"
    return (
        f"It describes the sizes fitted, but misses the size held out by {error}, more than "
        f"repeating the next smaller size's loss ({baseline})"
    )


def lower_limit(fitted: Mapping[str, Any], name: str) -> float:
    """Return the lower limit of a parameter's interval; NaN where there is none."""
    bounds = (fitted.get("intervals") or {}).get(name) or [float("nan")]
    return words.finite(bounds[0])


def abilities(tables: Tables) -> Answer:
    """Answer which abilities appear within the ladder; the table of thresholds stands beside."""
    rows = tables.thresholds[tables.thresholds["axis"] == "params_nonembedding"]
    question, source = "Where do abilities appear?", "thresholds.parquet: status, label, reason"
    if rows.empty:
        return Answer(question, "Undecided", ("No threshold was estimated.",), source)
    details = []
    for status, (one, several) in SENTENCES.items():
        found = rows[rows["status"] == status]
        names = [_ability(row) for row in found.to_dict("records")]
        if names:
            details.append(f"{words.listed(names)} {one if len(names) == 1 else several}.")
    crossed = int((rows["status"] == "crossed").sum())
    short = f"{crossed} of {words.plural(len(rows), 'ability', 'abilities')} within reach"
    return Answer(question, short, tuple(details), source)


def _ability(row: Mapping[Any, Any]) -> str:
    """Return an ability with its threshold's label and reason, as far as they add anything."""
    label = words.remark(row["label"]).removeprefix(str(row["status"])).strip()
    remarks = "; ".join(part for part in (label, words.remark(row.get("reason"))) if part)
    return words.task(str(row["task"]), str(row["arm"])) + (f" ({remarks})" if remarks else "")


def leaps(tables: Tables) -> Answer:
    """Answer whether abilities leap or grow, by the verdicts."""
    question, source = "Do abilities leap or grow?", "emergence.json: verdicts"
    verdicts = list(tables.emergence.get("verdicts", ()))
    if not verdicts:
        return Answer(question, "Undecided", ("No ability was judged.",), source)
    details = [
        f"{words.task(found['task'], found['arm'])} {said}: {found['reason']}."
        for word, said in VERDICTS.items()
        for found in verdicts
        if found["verdict"] == word
    ]
    decided = sum(found["verdict"] != "undecided" for found in verdicts)
    short = f"{decided} of {words.plural(len(verdicts), 'ability', 'abilities')} decided"
    return Answer(question, short, tuple(details), source)


def confidence(tables: Tables) -> Answer:
    """Answer whether confidence is reliable, at the smallest and the largest size."""
    question = "Is confidence reliable?"
    source = (
        "calibration_sizes.parquet: overconfidence, ece, floor_ece; calibration.parquet, "
        "calibration_shift.parquet: overconfidence by seed; calibration.json: slopes, lags "
        "(tempered = false)"
    )
    details: list[str] = []
    changes: dict[str, str] = {}
    for level, name in LEVELS.items():
        found = ends(tables, level)
        if not found:
            continue
        last = found[-1]["size"]
        told = [
            f"{told_gap(row)} at {row['size']} (ECE {row['ece']:.3f} against a floor of "
            f"{row['floor_ece']:.3f})"
            for row in found
        ]
        details.append(
            f"{name.capitalize()}: over-confidence is {words.listed(told)}, with intervals for "
            f"{doubted(found)}."
        )
        if (tempered := ends(tables, level, tempered=True)) and tempered[-1]["size"] == last:
            gap = told_gap(tempered[-1])
            details[-1] += f" With a fitted temperature it is {gap} at {last}."
        details += [*_along_scale(tables, level), *_under_shift(tables, level)]
        changes[f"{name}s"] = _sign(found[-1]["low"], found[-1]["high"])
    if not details:
        return Answer(question, "Undecided", ("No confidences were recorded.",), source)
    if len(set(changes.values())) == 1:
        told = [f"{words.listed(list(changes))} are {next(iter(changes.values()))}"]
    else:
        told = [f"{level} are {sign}" for level, sign in changes.items()]
    short = f"At the largest size, {words.listed(told)}"
    return Answer(question, short, tuple(details), source)


def _along_scale(tables: Tables, level: str) -> list[str]:
    """Return how over-confidence moves with size, and whether it is sure before it is right."""
    told = []
    for found in tables.scaling.get("slopes", ()):
        key = (found["level"], found["tempered"], found["axis"], found["error"])
        if key == (level, False, "params_nonembedding", "overconfidence") and found["slope"]:
            slope = words.with_interval(found["slope"], [found["low"], found["high"]])
            told.append(f"A decade of parameters changes it by {slope}.")
    lag = lag_at(tables, level)
    if words.finite(lag.get("low")) == words.finite(lag.get("low")):
        told.append(
            f"Confidence crosses half of the accuracy's range {lag_told(lag)} of parameters later "
            "than accuracy."
        )
    return told


def _under_shift(tables: Tables, level: str) -> list[str]:
    """Return the largest over-confidence of the largest size under any shift."""
    rows = tables.calibration_sizes
    rows = rows[(rows["level"] == level) & ~rows["tempered"].astype(bool)]
    rows = rows[rows["shift"].notna() & rows["overconfidence"].notna()]
    rows = rows[rows["params_nonembedding"] == rows["params_nonembedding"].max()]
    if rows.empty:
        return []
    worst = rows.loc[rows["overconfidence"].idxmax()]
    gap = words.with_interval(worst["overconfidence"], doubt(worst, by_seed(tables, worst)))
    name = name_of_shift(str(worst["shift"]), int(worst["severity"]))
    return [f"Under shift it is highest at {gap} ({worst['size']}, {name})."]


def by_seed(tables: Tables, pooled: "pd.Series[Any]") -> pd.DataFrame:
    """Return the rows by run of a pooled row under shift, at the size's largest horizon."""
    rows: pd.DataFrame = tables.calibration_shift
    for name in ("size", "level", "shift", "severity", "tempered"):
        rows = rows[rows[name] == pooled[name]]
    latest: pd.DataFrame = rows[rows["horizon"] == rows["horizon"].max()]
    return latest


def undecided(tables: Tables) -> Answer:
    """List what this study leaves open."""
    open_ends = [
        f"No {name} law: {tables.refusal(name)}."
        for name in ("chinchilla", "envelope")
        if tables.law(name) is None
    ]
    rows = tables.thresholds[tables.thresholds["axis"] == "params_nonembedding"]
    for status in ("above largest", "not monotone", "undecided", "below smallest"):
        found = rows[rows["status"] == status]
        if len(found):
            names = [
                words.task(str(task), str(arm))
                for task, arm in zip(found["task"], found["arm"], strict=True)
            ]
            open_ends.append(f"Threshold {status}: {words.listed(names)}.")
    torn = [
        words.task(found["task"], found["arm"])
        for found in tables.emergence.get("verdicts", ())
        if found["verdict"] == "undecided"
    ]
    if torn:
        open_ends.append(f"Whether it leapt or grew: {words.listed(torn)}.")
    if tables.num_diverged():
        open_ends.append(
            f"{tables.num_diverged()} of {words.plural(len(tables.runs), 'run')} diverged; they "
            "are counted and left out of every fit."
        )
    within = deviation_within(tables)
    if np.isfinite(within):
        counts = tables.at_largest(tables.finished()).groupby("size")["seed"].nunique()
        few, many = int(counts.min()), int(counts.max())
        seeds = words.plural(few, "seed") if few == many else f"{few} to {many} seeds"
        told = [f"{within / np.sqrt(each):.2f} %" for each in dict.fromkeys((few, many))]
        open_ends.append(
            f"Seeds of one size differ by {within:.2f} % of the loss at the largest horizon; with "
            f"{seeds} that finished, the standard error of a size's mean is {' to '.join(told)} "
            "(that spread over the root of their number)."
        )
    short = "Nothing" if not open_ends else f"{words.plural(len(open_ends), 'point')}"
    return Answer(
        "What remains undecided?", short, tuple(open_ends),
        "laws.json: status, reason; thresholds.parquet: status; emergence.json: verdicts; "
        "runs.parquet: status, loss_text",
    )  # fmt: skip


def _sign(low: float, high: float) -> str:
    if low > 0:
        return "over-confident"
    return "under-confident" if high < 0 else "neither over- nor under-confident beyond doubt"
