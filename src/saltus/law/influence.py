"""How far a law moves when a size, or its worst rows, are left out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.law.solve import Fit, predict_log, refit

Array = NDArray[np.float64]

MOST_ROWS = 5
ROWS_PER_LEFT = 20  # of the table, for each row that leave-k-out may drop


@dataclass(frozen=True)
class Movement:
    """What leaving rows out did.

    `factors` are the public parameters without them over those with them, each the one furthest
    from 1 of all refits, `left_out` its group or rows; `prediction_percent` is the largest change
    of the predicted loss at the largest variables of the table; `unconverged` counts refits.
    """

    left_out: dict[str, str]
    factors: dict[str, float]
    prediction_percent: float
    refits: int
    unconverged: int

    def to_dict(self) -> dict[str, Any]:
        """Return the movement as JSON-able values."""
        return asdict(self)


def leave_out(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    kept: NDArray[np.bool_],
    names: Sequence[str],
) -> Movement:
    """Refit on the rows `kept` (m, n), the m left-out sets being called `names`."""
    form = fitted.form
    refits = refit(fitted, variables, loss, kept.astype(float))
    moved = form.report(refits.theta)
    whole = form.report(fitted.theta)
    factors, left_out = {}, {}
    for j, name in enumerate(form.parameters):
        if name in form.log_parameters:
            logs = moved[:, j] - whole[j]
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.log(np.abs(moved[:, j] / whole[j]))
        worst = int(np.nanargmax(np.abs(logs))) if np.isfinite(logs).any() else 0
        factors[name] = float(np.exp(np.clip(logs[worst], -700, 700)))
        left_out[name] = names[worst]
    corner = {name: np.array([np.max(np.asarray(variables[name]))]) for name in form.variables}
    changed = predict_log(form, refits.theta, corner) - predict_log(form, fitted.theta, corner)
    return Movement(
        left_out=left_out,
        factors=factors,
        prediction_percent=float(100 * np.expm1(np.max(np.abs(changed)))),
        refits=len(kept),
        unconverged=int(np.sum(~refits.converged)),
    )


def leave_one_size_out(
    fitted: Fit, variables: Mapping[str, ArrayLike], loss: ArrayLike, sizes: Sequence[object]
) -> Movement | None:
    """Leave out each size in turn; None where too few rows or sizes would remain."""
    labels = np.array([str(size) for size in sizes])
    groups = list(dict.fromkeys(labels.tolist()))
    kept = np.stack([labels != group for group in groups])
    if len(groups) < 3 or int(kept.sum(axis=1).min()) < len(fitted.theta):
        return None
    return leave_out(fitted, variables, loss, kept, groups)


def leave_worst_out(
    fitted: Fit, variables: Mapping[str, ArrayLike], loss: ArrayLike, names: Sequence[object]
) -> Movement | None:
    """Leave out the k rows of largest residual at once: 5, or one in twenty of a short table.

    `names` (n,) are what rows are called. None where too few rows would remain.
    """
    num = len(fitted.residuals)
    count = max(1, min(MOST_ROWS, num // ROWS_PER_LEFT))
    if num - count < len(fitted.theta):
        return None
    worst = np.sort(np.argsort(-np.abs(fitted.residuals), kind="stable")[:count])
    kept = np.ones((1, num), dtype=bool)
    kept[0, worst] = False
    told = f"row{'' if count == 1 else 's'} " + ", ".join(str(names[i]) for i in worst)
    return leave_out(fitted, variables, loss, kept, [told])
