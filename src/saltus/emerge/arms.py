"""Arms as controls: how much larger a model one way of writing answers needs than another.

The ratio of two arms' thresholds along size, from the same networks. With estimates a, b of the
log10 thresholds and their 95 % intervals [a−, a+], [b−, b+] (`threshold_along_scale`: profile
likelihood, sizes as the unit, never narrower than an unresolved gap) the log ratio has

    a − b − √((a − a−)² + (b+ − b)²)   to   a − b + √((a+ − a)² + (b − b−)²)

Source: Zou and Donner 2008 (MOVER). The two are taken as independent. They share networks, whose
luck makes them go together if anything, so that the interval is rather too wide. An end of a
threshold that is open leaves the ratio open there. Where a rise lies within one gap of the ladder
its interval is that gap, without a likelihood, and the ends are added instead: a− − b+ to a+ − b−.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from saltus.emerge.outcome import Threshold
from saltus.emerge.scores import require_columns
from saltus.emerge.threshold import threshold_along_scale

ARM_COLUMNS = (
    "task",
    "arm",
    "reference",
    "level",
    "status",
    "ratio",
    "low",
    "high",
    "label",
    "arm_label",
    "reference_label",
    "num_sizes",
    "num_replicas",
    "num_unpaired",
    "reason",
)
LEVEL = 0.5
_NEEDED = (
    "task",
    "arm",
    "size",
    "seed",
    "horizon",
    "params_nonembedding",
    "items",
    "successes",
    "guess_rate",
)
_SIDES = {"crossed": 0, "above largest": 1, "below smallest": -1}


def arm_table(scores: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Ratios of thresholds along size, one row per task and pair of its arms.

    scores: of `score_table`; the largest horizon counts. Of a task's arms the plain one is the
    `reference` of all others. Only (size, seed) replicas that every arm of the task has enter;
    `num_unpaired` rows of the two arms do not. `status` is `estimated` if both thresholds are
    crossed; `bound` if one is and the other is censored, or they are censored on different sides:
    then `ratio` is null and only the end that is known stands; else `undecided` with the reason.
    Tasks with one arm have no row. Raises TableError for a missing column.
    """
    require_columns(scores, "scores", _NEEDED)
    rows = list(_rows(scores, level))
    table = pd.DataFrame(rows, columns=list(ARM_COLUMNS))
    numbers = ["ratio", "low", "high"]
    table[numbers] = table[numbers].astype(np.float64)
    return table


def _rows(scores: pd.DataFrame, level: float) -> Iterator[dict[str, object]]:
    final = scores[scores["horizon"] == scores["horizon"].max()]
    for task, cell in final.groupby("task", sort=True):
        arms = sorted(cell["arm"].unique(), key=lambda arm: (arm != "plain", arm))
        if len(arms) < 2:
            continue
        replica = cell.groupby(["size", "seed"])["arm"]
        shared = cell[replica.transform("nunique") == len(arms)]
        if shared.empty:
            found = dict.fromkeys(arms)
        else:
            found = {arm: _threshold(shared[shared["arm"] == arm], level) for arm in arms}
        for reference, arm in combinations(arms, 2):
            of_both = cell["arm"].isin([arm, reference])
            yield {
                "task": task,
                "arm": arm,
                "reference": reference,
                "level": level,
                "num_sizes": shared["size"].nunique(),
                "num_replicas": len(shared) // len(arms),
                "num_unpaired": int(of_both.sum() - shared["arm"].isin([arm, reference]).sum()),
                **compare(found[arm], found[reference]),
            }


def _threshold(cell: pd.DataFrame, level: float) -> Threshold:
    return threshold_along_scale(
        cell["params_nonembedding"],
        cell["successes"],
        cell["items"],
        float(cell["guess_rate"].mean()),
        level,
    )


def compare(arm: Threshold | None, reference: Threshold | None) -> dict[str, object]:
    """The ratio of two thresholds of one ladder, None for one that has no replica.

    Returns `status`, `ratio`, `low`, `high`, `label`, both labels and `reason`, as in `arm_table`.
    """
    if arm is None or reference is None:
        return _undecided("no replica has all arms") | {"arm_label": "", "reference_label": ""}
    labels = {"arm_label": arm.label, "reference_label": reference.label}
    for role, one in (("arm", arm), ("reference", reference)):
        if one.status not in _SIDES:
            return _undecided(f"the {role}'s threshold is {one.status}") | labels
    side = _SIDES[arm.status] - _SIDES[reference.status]
    if side == 0 and arm.status != "crossed":
        return _undecided(f"both thresholds are {arm.status} size") | labels
    if side == 0:
        return _estimated(arm, reference) | labels
    censored = "; ".join(
        f"the {role}'s threshold is {one.status} size"
        for role, one in (("arm", arm), ("reference", reference))
        if one.status != "crossed"
    )
    # Of a censored threshold only the limit on its known side is used.
    low = _quotient(arm.low, reference.high) if side > 0 else None
    high = _quotient(arm.high, reference.low) if side < 0 else None
    if low is None and high is None:
        return _undecided(f"{censored}, and no limit is known") | labels
    label = f"> {low:.2g}" if low is not None else f"< {high:.2g}"
    bound: dict[str, object] = {"status": "bound", "ratio": None, "low": low, "high": high}
    return bound | {"label": label, "reason": censored} | labels


def _undecided(reason: str) -> dict[str, object]:
    found: dict[str, object] = {"status": "undecided", "ratio": None, "low": None, "high": None}
    return found | {"label": "undecided", "reason": reason}


def _quotient(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above / below


def _estimated(arm: Threshold, reference: Threshold) -> dict[str, object]:
    assert arm.estimate is not None and reference.estimate is not None
    ratio = arm.estimate / reference.estimate
    if "width < gap" in (arm.fit_status, reference.fit_status):
        low, high = _quotient(arm.low, reference.high), _quotient(arm.high, reference.low)
    else:
        down = _distance((arm.estimate, arm.low), (reference.high, reference.estimate))
        up = _distance((arm.high, arm.estimate), (reference.estimate, reference.low))
        low = None if down is None else float(ratio / 10**down)
        high = None if up is None else float(ratio * 10**up)
    ends = ("open" if end is None else f"{end:.2g}" for end in (low, high))
    found: dict[str, object] = {"status": "estimated", "ratio": ratio, "low": low, "high": high}
    return found | {"label": f"{ratio:.2g} [{', '.join(ends)}]", "reason": ""}


def _distance(*ends: tuple[float | None, float | None]) -> float | None:
    """Root of the summed squares of log10 quotients; None if one is open."""
    quotients = [found for end in ends if (found := _quotient(*end)) is not None]
    if len(quotients) < len(ends):
        return None
    return float(np.sqrt((np.log10(quotients) ** 2).sum()))
