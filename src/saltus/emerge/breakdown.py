"""Where answers go wrong: accuracy by carries, by the longest carry chain, by digits.

A rise in accuracy that is due to problems without carries alone is another finding than one of all
problems; these tables tell them apart.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.emerge.scores import items_inside, wilson, with_run_columns

BREAKDOWN_COLUMNS = (
    "run",
    "size",
    "seed",
    "horizon",
    "params_nonembedding",
    "task",
    "arm",
    "by",
    "value",
    "items",
    "successes",
    "exact_match",
    "exact_match_low",
    "exact_match_high",
)
_NEEDED = ("run", "task", "arm", "prompt", "exact", "digits", "carries", "in_distribution")
_PAIR = r"^(?P<left>\d+)(?P<sign>[+-])(?P<right>\d+)=$"


def breakdown_table(items: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Exact match by kind of problem, one row per run × task × arm × `by` × `value`.

    items: one row per scored answer, those within the training distribution count. `by` is
    `carries` (as the probe counts them), `carry_chain` (`longest_carry_chain`; sums and differences
    of two operands only) or `digits` (of the target). Within one `by` the items of all values add
    up to those of the run, task and arm. Limits are 95 % Wilson. Raises TableError for a missing
    column, a null, or a run that `runs` lacks or lists twice.
    """
    not_null = ("exact", "digits", "carries", "prompt")
    inside = items_inside(items, _NEEDED, not_null)
    chains = longest_carry_chain(inside["prompt"])
    kinds = {"carries": inside["carries"], "carry_chain": chains, "digits": inside["digits"]}
    parts = []
    for by, values in kinds.items():
        known = inside.assign(by=by, value=values)[values.notna()]
        grouped = known.groupby(["run", "task", "arm", "by", "value"], sort=False, observed=True)
        parts.append(grouped["exact"].agg(items="size", successes="sum").reset_index())
    table = pd.concat(parts, ignore_index=True)
    counts = ["value", "items", "successes"]
    table[counts] = table[counts].astype(np.int64)
    table["exact_match"] = table["successes"] / table["items"]
    table["exact_match_low"], table["exact_match_high"] = wilson(table["successes"], table["items"])
    merged = with_run_columns(table, runs)
    order = ["params_nonembedding", "horizon", "seed", "task", "arm", "run", "by", "value"]
    return merged.sort_values(order, ignore_index=True)[list(BREAKDOWN_COLUMNS)]


def longest_carry_chain(prompts: pd.Series) -> "pd.Series[float]":
    """Longest run of neighbouring columns that all carry (or borrow), one number per prompt.

    prompts: as the probe writes them, `95+17=`; NaN for any that is not a sum or a difference of
    two operands. A difference is taken of the larger and the smaller operand, as the probe counts
    its borrows.
    """
    distinct = pd.Series(prompts.unique(), dtype=object).astype(str)
    parsed = distinct.str.extract(_PAIR)
    is_pair = parsed["sign"].notna().to_numpy()
    pairs = parsed[is_pair]
    left, right = (np.array(pairs[side], dtype=np.int64) for side in ("left", "right"))
    longest = np.full(len(distinct), np.nan)
    longest[is_pair] = _chains(left, right, np.array(pairs["sign"] == "+"))
    return prompts.astype(str).map(pd.Series(longest, index=distinct))


def _chains(
    left: NDArray[np.int64], right: NDArray[np.int64], adds: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Longest carry chain of left ± right, all (n,)."""
    larger, smaller = np.maximum(left, right), np.minimum(left, right)
    carry, chain, longest = np.zeros((3, left.size), dtype=np.int64)
    place = 1
    while left.size and place <= larger.max():
        first, second = larger // place % 10, smaller // place % 10
        carry = np.where(adds, first + second + carry >= 10, first - second - carry < 0)
        carry = carry.astype(np.int64)
        chain = (chain + 1) * carry
        longest = np.maximum(longest, chain)
        place *= 10
    return longest
