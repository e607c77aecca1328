"""Which form foretells best: fitted to the cheap rows of a table, judged on the dear ones.

R² and residuals say how well a curve bends through its own points, and a form with more parameters
always bends better. So rows are cut at a level of compute: forms are fitted below it and held to
what lies above. Legend: `n` row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saltus.errors import TableError
from saltus.law.criterion import Criterion
from saltus.law.forecast import (
    Forecast,
    Sample,
    Score,
    forecast,
    interval_entries,
    rms_percent,
)
from saltus.law.forms import FORMS, Form
from saltus.law.jackknife import SIZE_PARAMETERS
from saltus.law.solve import HUBER

Array = NDArray[np.float64]

CANDIDATES = tuple(
    FORMS[name] for name in ("chinchilla", "kaplan", "outer", "over-training", "data-constrained")
)
SPARE_ROWS = 2  # rows a form needs beyond its parameters
MIN_ABOVE = 3  # rows above the cut: fewer tell no forms apart
MIDDLE = "geometric middle of the range of compute"
GIVEN = "given"
TIED = 1e-6  # percent of the loss, between which no error is the lesser
LACKED = "which the table lacks"


@dataclass(frozen=True, eq=False)
class Trial:
    """One form below and above the cut; without `made` and `score` it was refused for `reason`.

    Of a tested form `reason` says why it is not to be chosen, or has no interval; else it is empty.
    """

    form: Form
    made: Forecast | None
    score: Score | None
    reason: str

    @property
    def converged(self) -> bool:
        """Whether the fit below the cut is certified."""
        return self.made is not None and self.made.fitted.certificate.status == "converged"

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as JSON-able values; null is what a refused form has not."""
        made, score = self.made, self.score
        return {
            "form": self.form.name,
            "equation": self.form.equation,
            "status": "refused" if made is None else "tested",
            "reason": self.reason,
            "mean_absolute_error_percent": score and score.mean_absolute_error_percent,
            "inside_share": score and score.inside_share,
            "rms_percent": made and rms_percent(made.fitted.residuals),
            "certificate": made and made.fitted.certificate.to_dict(),
            **interval_entries(None if made is None else made.errors),
            "parameters": made and made.fitted.parameters,
        }


@dataclass(frozen=True, eq=False)
class Choice:
    """All trials at one cut, and the form of least error among the converged ones.

    `form` is None, with a `reason`, when there is none. The cut is `along` compute C, or along the
    one variable of forms in one. `tied` are the others that foretold as well.
    """

    cut: float | None
    rule: str
    below: Sample
    above: Sample
    trials: tuple[Trial, ...]
    form: Form | None
    reason: str
    along: str = "C"
    tied: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-able values."""
        levels = np.concatenate([self.below.flops, self.above.flops])
        return {
            "cut_along": self.along,
            "cut": self.cut,
            "cut_rule": self.rule,
            "cut_range": [float(levels.min()), float(levels.max())] if len(levels) else None,
            "rows_below": len(self.below),
            "rows_above": len(self.above),
            "sizes_below": len(set(self.below.sizes)),
            "sizes_above": len(set(self.above.sizes)),
            "chosen": None if self.form is None else self.form.name,
            "tied": list(self.tied),
            "reason": self.reason,
            "forms": [trial.to_dict() for trial in self.trials],
        }


def middle_of_compute(flops: Array) -> float:
    """Return the geometric middle of the lowest and highest compute.

    A form must then foretell as long a stretch of log compute as it was given, longer than the step
    to the next size; the level depends on the design's ends alone, on no loss and no count of rows.
    """
    return float(np.sqrt(flops.min()) * np.sqrt(flops.max()))


def refusal(form: Form, below: Sample, above: Sample, lacking: Mapping[str, str]) -> str:
    """Return why a form cannot be tried at a cut; empty if it can.

    `lacking` says of variables why they are not there.
    """
    missing = [name for name in form.variables if name not in below.variables]
    if missing:
        return f"needs {missing[0]}, {lacking.get(missing[0], LACKED)}"
    unique = below.variables.get("U") if "U" in form.variables else None
    if unique is not None and not np.any(unique < below.variables["D"] * (1 - 1e-9)):
        return "no row below the cut repeats a token"
    sizes, needed = len(set(below.sizes)), len(form.parameters) + SPARE_ROWS
    if sizes < SIZE_PARAMETERS:
        return f"{sizes} sizes below the cut, needs {SIZE_PARAMETERS}"
    if len(below) < needed:
        return f"{len(below)} rows below the cut, {len(form.parameters)} parameters need {needed}"
    points = len(set(zip(*(below.variables[name] for name in form.variables), strict=True)))
    if points < len(form.parameters):
        told = f"points ({', '.join(form.variables)}) below the cut"
        return f"{points} {told} for {len(form.parameters)} parameters"
    if len(above) < MIN_ABOVE:
        return f"{len(above)} rows above the cut, needs {MIN_ABOVE}"
    return ""


def choose_form(
    rows: Sample,
    *,
    forms: Sequence[Form] | None = None,
    cut: float | None = None,
    lacking: Mapping[str, str] | None = None,
    criterion: Criterion = HUBER,
    seed: int = 0,
) -> Choice:
    """Fit every form to rows at or below the `cut` in compute and predict those above it.

    The chosen form has the least mean absolute error of those whose certificate is `converged`; of
    those within 1e-6 percent of it, `tied`, the fewest parameters. The cut is `middle_of_compute`
    unless given, in rows of one variable the middle of that; `lacking` says of variables why they
    are not there. Raises `TableError` for a cut that is not positive.
    """
    if cut is not None and not (np.isfinite(cut) and cut > 0):
        raise TableError(f"the cut is {cut}; expected a positive amount of compute")
    rule = MIDDLE if cut is None else GIVEN
    if cut is None and len(rows):
        cut = middle_of_compute(rows.flops)
    lower = rows.flops <= (np.inf if cut is None else cut)
    below, above = rows.where(lower), rows.where(~lower)
    trials = []
    for form in CANDIDATES if forms is None else forms:
        if reason := refusal(form, below, above, lacking or {}):
            trials.append(Trial(form, None, None, reason))
            continue
        made = forecast(form, below, above.variables, criterion=criterion, seed=seed)
        nothing = np.full(len(above), np.nan)
        score = Score(made.predicted, made.low, made.high, above.loss, nothing)
        trials.append(Trial(form, made, score, _remark(made)))
    passed = [trial for trial in trials if trial.converged and trial.score is not None]
    least = min(map(_error, passed), default=0.0) + TIED
    level = [trial for trial in passed if _error(trial) <= least]
    best = min(level, key=lambda trial: len(trial.form.parameters), default=None)
    reason = "" if best is not None else _why_none(trials)
    return Choice(
        cut, rule, below, above, tuple(trials), None if best is None else best.form, reason,
        "C" if len(rows.variables) != 1 else next(iter(rows.variables)),
        tuple(trial.form.name for trial in level if trial is not best),
    )  # fmt: skip


def _remark(made: Forecast) -> str:
    """Return what a tested form lacks: the certificate that lets it be chosen, an interval."""
    status = made.fitted.certificate.status
    barred = "" if status == "converged" else f"fit below the cut is {status}: not to be chosen"
    return "; ".join(part for part in (barred, made.reason) if part)


def _error(trial: Trial) -> float:
    error = None if trial.score is None else trial.score.mean_absolute_error_percent
    return np.inf if error is None else error


def _why_none(trials: Sequence[Trial]) -> str:
    """Return why no form was chosen: what became of each."""
    names: dict[str, list[str]] = {}
    for trial in trials:
        fate = trial.reason if trial.made is None else trial.made.fitted.certificate.status
        names.setdefault(fate, []).append(trial.form.name)
    told = "; ".join(f"{', '.join(forms)}: {fate}" for fate, forms in names.items())
    return f"no form was both tested and certified as converged ({told})"
