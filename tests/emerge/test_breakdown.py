"""Accuracy by kind of problem: counts that add up, carry chains against pencil and paper."""

import numpy as np
import pandas as pd
import pytest

from saltus.data.arithmetic import count_borrows, count_carries
from saltus.emerge.breakdown import BREAKDOWN_COLUMNS, breakdown_table, longest_carry_chain
from saltus.errors import TableError


def runs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": ["a", "b"],
            "size": ["s0", "s1"],
            "seed": 0,
            "horizon": 1000,
            "params_nonembedding": [600, 9000],
            "params_total": [4600, 13000],
            "tokens": 1000,
            "flops_exact": 1e9,
            "loss_text": 3.5,
        }
    )


def items(count: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    left, right = rng.integers(10, 100, size=(2, 2 * count))
    return pd.DataFrame(
        {
            "run": np.repeat(["a", "b"], count),
            "task": np.where(np.arange(2 * count) % 3, "add_2", "mul_2x1"),
            "arm": "plain",
            "prompt": [
                f"{a}+{b}=" if i % 3 else f"{a}*{b % 10}="
                for i, (a, b) in enumerate(zip(left, right, strict=True))
            ],
            "exact": rng.random(2 * count) < 0.5,
            "digits": rng.integers(2, 4, 2 * count),
            "carries": count_carries(left, right, 2),
            "in_distribution": np.arange(2 * count) % 10 != 0,
        }
    )


def test_parts_add_up_to_the_whole_and_equal_a_plain_loop() -> None:
    table, answers = breakdown_table(items(), runs()), items()
    assert tuple(table.columns) == BREAKDOWN_COLUMNS
    inside = answers[answers["in_distribution"]]
    whole = inside.groupby(["run", "task"])["exact"].agg(["size", "sum"])
    parts = table.groupby(["by", "run", "task"])[["items", "successes"]].sum()
    for by in ("carries", "digits"):
        assert (parts.loc[by].to_numpy() == whole.to_numpy()).all()
    assert set(table.loc[table["by"] == "carry_chain", "task"]) == {"add_2"}
    for row in table[table["by"] != "carry_chain"].itertuples():
        mine = inside[(inside["run"] == row.run) & (inside["task"] == row.task)]
        mine = mine.loc[mine[str(row.by)] == row.value, "exact"]
        assert (row.items, row.successes) == (len(mine), mine.sum())
        assert row.exact_match_low <= row.exact_match <= row.exact_match_high


@pytest.mark.parametrize(
    ("prompt", "chain"),
    [
        ("12+34=", 0),
        ("19+11=", 1),
        ("999+101=", 3),
        ("905+106=", 1),  # ones and hundreds carry, the tens between them do not
        ("0909+0101=", 1),  # padded
        ("100-001=", 2),
        ("001-100=", 2),
        ("52-17=", 1),
        ("3+5-2=", None),
        ("12*7=", None),
    ],
)
def test_carry_chains_by_hand(prompt: str, chain: int | None) -> None:
    found = longest_carry_chain(pd.Series([prompt])).iloc[0]
    assert np.isnan(found) if chain is None else found == chain


def test_a_chain_is_no_longer_than_the_carries_and_not_zero_with_any() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.integers(100, 1000, size=(2, 500))
    for sign, carries in (
        ("+", count_carries(left, right, 3)),
        ("-", count_borrows(np.maximum(left, right), np.minimum(left, right), 3)),
    ):
        prompts = pd.Series([f"{a}{sign}{b}=" for a, b in zip(left, right, strict=True)])
        chains = longest_carry_chain(prompts).to_numpy()
        assert (chains <= carries).all() and ((chains > 0) == (carries > 0)).all()


def test_what_is_lacking_is_named_and_nothing_gives_an_empty_table() -> None:
    with pytest.raises(TableError, match="no column 'carries'"):
        breakdown_table(items().drop(columns="carries"), runs())
    with pytest.raises(TableError, match="'b' is not in runs"):
        breakdown_table(items(), runs().iloc[:1])
    empty = breakdown_table(items().assign(in_distribution=False), runs())
    assert empty.empty and tuple(empty.columns) == BREAKDOWN_COLUMNS
