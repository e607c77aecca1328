"""What foretelling was worth: verdicts on thresholds, errors of accuracies by method."""

import numpy as np
import pandas as pd

from saltus.emerge.labels import format_count, format_interval
from saltus.emerge.outcome import Threshold

WIDEST_DECADES = 1.0


def judge(
    estimate: float | None,
    low: float | None,
    high: float | None,
    actual: Threshold,
    already_seen: bool,
) -> dict[str, object]:
    """Verdict `agree`, `disagree` or `cannot say`, and `verdict_text`, a plain sentence.

    estimate, low, high: the foretold threshold and its 95 % interval in parameters; None is refused
    or open. `disagree` if the two intervals share no size. `agree` if they do and neither is wider
    than a decade: wider ones agree with much. A ladder that never reaches the level
    gives an interval open above, which a foretold one agrees with only if it starts beyond what the
    ladder rules out. Where the ladder is undecided, or either interval is missing, it cannot be
    said. `already_seen`: a size below the cut reached the level, so that the threshold was not
    foretold but seen.
    """
    verdict, text = _compare(estimate, low, high, actual)
    if already_seen:
        text += "; the level was reached below the cut already, which is no foretelling"
    return {"verdict": verdict, "verdict_text": text}


def _compare(
    estimate: float | None, low: float | None, high: float | None, actual: Threshold
) -> tuple[str, str]:
    if estimate is None and low is None and high is None:
        return "cannot say", "no threshold was foretold"
    told = _label(estimate, low, high)
    both = f"foretold {told}, found {actual.label}"
    if actual.status not in ("crossed", "above largest", "below smallest"):
        return "cannot say", f"{both}: the full ladder gives no threshold"
    if low is None and high is None:
        return "cannot say", f"{both}: the foretold interval is open at either end"
    found_low = actual.low or 0.0
    found_high = np.inf if actual.high is None else actual.high
    if actual.status == "above largest" and actual.low is None:
        found_low = actual.smallest
    first, last = low or 0.0, np.inf if high is None else high
    if last < found_low or first > found_high:
        return "disagree", f"{both}: the intervals share no size"
    if actual.status == "above largest":
        if first >= found_low:
            return "agree", f"{both}: not within the ladder, as foretold"
        return "cannot say", f"{both}: the foretold interval begins below what the ladder rules out"
    if low is None or high is None or high > low * 10**WIDEST_DECADES:
        return "cannot say", f"{both}: the foretold interval is wider than a decade"
    if not found_high <= (found_low or actual.smallest) * 10**WIDEST_DECADES:
        return "cannot say", f"{both}: the ladder's own interval is wider than a decade"
    return "agree", f"{both}: the intervals overlap"


def _label(estimate: float | None, low: float | None, high: float | None) -> str:
    """As thresholds are printed; an open end is a question mark."""
    if low is not None and high is not None:
        return format_interval(estimate, low, high, low, high)
    start = "?" if low is None else format_count(low)
    end = "?" if high is None else format_count(high)
    centre = "none within reach" if estimate is None else format_count(estimate)
    return f"{centre} [{start}, {end}]"


def compare_methods(predictions: pd.DataFrame) -> pd.DataFrame:
    """Errors per method, of the table of predictions (`saltus.emerge.foretell`).

    One row per method: `predicted` and `refused` rows; and on the `common` rows alone, which every
    method predicts, `mean_absolute_error` of accuracy, `inside_share` of the 95 % intervals and
    their `mean_width` (nan without intervals). Rows of one ladder share seeds and sizes: the share
    inside is no coverage.
    """
    keys = ["task", "arm", "cut", "params_nonembedding"]
    told = predictions[predictions["status"] != "refused"]
    methods = predictions["method"].nunique()
    common = told.groupby(keys)["method"].transform("nunique") == methods
    rows = []
    for method, own in predictions.groupby("method", sort=False):
        shared = told[common & (told["method"] == method)]
        inside = shared["inside"].dropna().astype(float)
        rows.append(
            {
                "method": method,
                "predicted": int((own["status"] != "refused").sum()),
                "refused": int((own["status"] == "refused").sum()),
                "common": len(shared),
                "mean_absolute_error": float(shared["error"].astype(float).abs().mean()),
                "inside_share": float(inside.mean()) if len(inside) else float("nan"),
                "mean_width": float((shared["high"] - shared["low"]).astype(float).mean()),
            }
        )
    return pd.DataFrame(rows)
