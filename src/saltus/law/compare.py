"""A form chosen on the smaller sizes of a table and held to the largest, which nothing has seen.

The form that foretells best above a cut in compute (`choice`), on all sizes below the largest, is
refitted to all their rows, foretells the largest size, and is scored there once; no other form is.
Legend: `n` row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from saltus.errors import TableError
from saltus.law.choice import Choice, choose_form
from saltus.law.criterion import Criterion
from saltus.law.forecast import (
    Forecast,
    Sample,
    Score,
    forecast,
    interval_entries,
    repeat,
    rows_of,
)
from saltus.law.forms import Form
from saltus.law.solve import HUBER

NO_BASELINE = "the next smaller size has no run at the same tokens for every row"


@dataclass(frozen=True, eq=False)
class Comparison:
    """The choice among forms, and its one score on the largest size.

    `largest` is the label of the largest size, or of the largest value of the variable that forms
    in one have; `held_along` says of which. `made` is the chosen form's forecast, from all smaller
    ones, and `score` what came of it. Both are None if no form was chosen.
    """

    choice: Choice
    largest: str
    smaller: Sample
    made: Forecast | None
    score: Score | None
    held_along: str = "size"

    @property
    def baseline_reason(self) -> str:
        """Return why the largest size has no baseline's error; empty where it has one."""
        if self.score is None:
            return "nothing was predicted"
        return NO_BASELINE if self.score.baseline_error_percent is None else ""

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-able values, the score under `largest`."""
        made, score = self.made, self.score
        largest = {
            "of": self.held_along,
            "size": self.largest,
            "rows": 0 if score is None else len(score.actual),
            "form": self.choice.form and self.choice.form.name,
            "reason": self.choice.reason if made is None else made.reason,
            "mean_absolute_error_percent": score and score.mean_absolute_error_percent,
            "inside_share": score and score.inside_share,
            "baseline_error_percent": score and score.baseline_error_percent,
            "baseline_reason": self.baseline_reason,
            "certificate": made and made.fitted.certificate.to_dict(),
            **interval_entries(None if made is None else made.errors),
            "parameters": made and made.fitted.parameters,
        }
        return {**self.choice.to_dict(), "largest": largest}


def compare_forms(
    table: Mapping[str, ArrayLike],
    loss: ArrayLike,
    sizes: Sequence[str] | None = None,
    replicas: Sequence[object] | None = None,
    flops: ArrayLike | None = None,
    *,
    forms: Sequence[Form] | None = None,
    cut: float | None = None,
    criterion: Criterion = HUBER,
    seed: int = 0,
) -> Comparison:
    """Choose a form on all sizes below the largest and score it once on the largest.

    `table` has raw N and D (n,), and U where unique tokens are known. By default every distinct N
    is a size, every row a replica and compute 6 N D. Of a table of one variable, that is cut and
    held out, and `forms` are in it. The largest size's losses decide nothing but
    the score. Raises `TableError` for values that are not positive numbers.
    """
    single = forms is not None and all(len(form.variables) == 1 for form in forms)
    rows = rows_of(table, loss, sizes, replicas, flops, single=single)
    if not len(rows):
        raise TableError("a comparison of forms needs rows; found none")
    lead = "N" if "N" in rows.variables else next(iter(rows.variables))
    largest = str(rows.sizes[int(np.argmax(rows.variables[lead]))])
    kind = "size" if lead == "N" else lead
    held = rows.where(rows.sizes == largest)
    smaller = rows.where(rows.sizes != largest)
    choice = choose_form(smaller, forms=forms, cut=cut, criterion=criterion, seed=seed)
    if choice.form is None:
        return Comparison(choice, largest, smaller, None, None, kind)
    made = forecast(choice.form, smaller, held.variables, criterion=criterion, seed=seed)
    beside = smaller.sizes == smaller.sizes[int(np.argmax(smaller.variables[lead]))]
    near = smaller.where(beside)
    if single:
        repeated = np.full(len(held), near.loss.mean())
    else:
        repeated = repeat(near.variables["D"], near.loss, held.variables["D"])
    score = Score(made.predicted, made.low, made.high, held.loss, repeated)
    return Comparison(choice, largest, smaller, made, score, kind)
