"""Verdicts: the rule on known abilities, Holm, p-values, rivals and power."""

import csv
from collections import Counter
from importlib import resources

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import special
from statsmodels.stats.multitest import multipletests

from saltus.emerge.ability import power_entry
from saltus.emerge.means import accuracy_means, decline, nll_means
from saltus.emerge.power import SUFFICIENT, noise_of, power_at, power_of, power_of_both
from saltus.emerge.rivals import rivals
from saltus.emerge.transition import scatter_of
from saltus.emerge.verdict import W0, Judgement, holm, judge, p_against_smooth, settle
from saltus.emerge.widths import PER_WIDTH, make_grid


def ability(
    width: float,
    steep: float,
    sizes: int = 16,
    seeds: int = 5,
    scatter: float = 0.02,
    seed: int = 0,
) -> Judgement:
    """Judge a simulated ability: NLL logistic of `width`, accuracy a link of `steep` nats."""
    generator = np.random.default_rng(seed)
    x = np.linspace(3, 5.5, sizes)
    place = x[:, None] + generator.normal(0, scatter, (sizes, seeds))
    nll = 5 - 4.6 * special.expit((place - 4.2) * PER_WIDTH / width)
    nll = nll + generator.normal(0, 0.05, nll.shape)
    hits = generator.binomial(300, special.expit((2.7 - nll) / steep))
    scale = np.repeat(10**x, seeds)
    return settle(
        [judge(nll_means(scale, nll.ravel()),
               accuracy_means(scale, hits.ravel(), np.full(scale.size, 300)), 300)]
    )[0]  # fmt: skip


@pytest.mark.parametrize(
    ("width", "steep", "verdict"),
    [(0.15, 0.8, "sharp"), (2.0, 0.8, "smooth"), (2.0, 0.08, "metric-induced")],
)
def test_known_abilities_get_their_word(width: float, steep: float, verdict: str) -> None:
    found = Counter(ability(width, steep, seed=seed).verdict for seed in range(5))
    assert found.most_common(1)[0] == (verdict, 5)


def test_too_few_sizes_or_items_and_no_change_are_undecided() -> None:
    x = np.repeat(10 ** np.linspace(3, 5.5, 8), 5)
    flat = nll_means(x, 5 + np.random.default_rng(0).normal(0, 0.1, 40))
    (few,) = settle([judge(nll_means(x[:20], np.arange(20.0)), None)])
    assert (few.verdict, few.reason[:7]) == ("undecided", "4 sizes")
    (same,) = settle([judge(flat, None)])
    assert "no rise is better than a constant" in same.reason
    (short,) = settle([judge(flat, None, 90)])
    assert "90 distinct items" in short.reason


def test_accuracy_alone_shows_no_leap() -> None:
    generator = np.random.default_rng(2)
    x = np.repeat(np.linspace(3, 5.5, 16), 5)
    for width, verdict in ((0.1, "undecided"), (2.0, "smooth")):
        chance = 0.02 + 0.95 * special.expit((x - 4.2) * PER_WIDTH / width)
        hits = generator.binomial(2000, chance)
        made = accuracy_means(10**x, hits, np.full(x.size, 2000))
        (found,) = settle([judge(None, made)])
        assert found.verdict == verdict, found.reason
    assert "without a target NLL" in settle(
        [judge(None, accuracy_means(10**x, np.where(x > 4.3, 1900, 20), np.full(80, 2000)))]
    )[0].reason  # fmt: skip


def test_holm_is_statsmodels() -> None:
    values = [0.01, 0.04, 0.03, 0.005, 1.0, 0.03]
    np.testing.assert_allclose(holm(values), multipletests(values, method="holm")[1])


def test_p_is_small_of_a_jump_and_one_of_a_drift() -> None:
    generator = np.random.default_rng(0)
    x = np.repeat(np.linspace(3, 5.5, 16), 5)
    for width, low, high in ((0.1, 0.0, 0.02), (2.0, 1.0, 1.0)):
        y = 5 - 4.6 * special.expit((x - 4.2) * PER_WIDTH / width)
        made = nll_means(10**x, y + generator.normal(0, 0.05, x.size))
        assert low <= p_against_smooth(made, draws=199) <= high


def test_p_is_no_smaller_than_chance_at_the_edge_of_smooth() -> None:
    """Truths of exactly w0: p < .05 at most about one table in twenty (60 tables)."""
    generator = np.random.default_rng(4)
    x = np.linspace(3, 5.5, 12)
    small = 0
    for _ in range(60):
        expected = 5 - 4.6 * special.expit((x - generator.uniform(3.8, 4.8)) * PER_WIDTH / W0)
        y = expected[:, None] + 0.2 * (
            generator.standard_normal((12, 1)) + generator.standard_normal((12, 5))
        )
        small += p_against_smooth(nll_means(np.repeat(10**x, 5), y.ravel()), draws=99) < 0.05
    assert small / 60 <= 0.12


def test_rivals_are_those_of_ordinary_least_squares() -> None:
    """The line's AICc by its formula, and the truth foretells held-out sizes best."""
    generator = np.random.default_rng(1)
    x = np.linspace(3, 5.5, 16)
    y = 5 - 4.6 * special.expit((x - 4.2) * PER_WIDTH / 0.6)
    made = nll_means(np.repeat(10**x, 5), np.repeat(y, 5) + generator.normal(0, 0.1, 80))
    found = rivals(made)
    assert found[0].name == "logistic transition"
    made = nll_means(10**x, 8 - x + generator.normal(0, 0.1, 16))
    line = next(each for each in rivals(made) if each.name.startswith("line"))
    weights = 1 / made.variance
    slope = np.polyfit(made.x, made.y, 1, w=np.sqrt(weights))
    rss = float(np.sum(weights * (made.y - np.polyval(slope, made.x)) ** 2))
    assert line.aicc == pytest.approx(16 * np.log(rss / 16) + 6 + 24 / 12, rel=1e-9)
    five = nll_means(10 ** x[:15:3], y[:15:3])
    assert [each.aicc is None for each in rivals(five)].count(True) == 3
    assert rivals(nll_means(10 ** x[:4], y[:4])) == []


def test_power_grows_with_sizes_and_falls_with_scatter() -> None:
    generator = np.random.default_rng(3)

    def made(sizes: int, noise: float):  # type: ignore[no-untyped-def]
        x = np.repeat(np.linspace(3, 5.5, sizes), 5)
        y = 5 - 4.6 * special.expit((x - 4.2) * PER_WIDTH / 1.0)
        return nll_means(10**x, y + generator.normal(0, noise, x.size))

    small, large, loud = made(8, 0.1), made(24, 0.1), made(24, 1.0)
    shares = [min(power_at(each, noise_of(each), W0)) for each in (small, large, loud)]
    assert shares[1] >= SUFFICIENT > shares[2]
    assert shares[1] >= shares[0]
    assert not power_of(loud, W0, draws=50).sufficient


def test_sizes_on_the_rise_widen_the_interval_of_verdict_and_power_alike() -> None:
    """phi of many tables at once is that of each alone, and by its formula."""
    generator = np.random.default_rng(5)
    x = np.linspace(2, 6.5, 20)
    rise = special.expit((x - 4.2) * PER_WIDTH / 1.2)
    y = 5 - 4.6 * rise + 3.2 * rise * (1 - rise) * generator.standard_normal((6, 20))
    seeds = y[:, :, None] + np.array([-0.1, 0.1])
    tables = [nll_means(10 ** np.repeat(x, 2), each.ravel()) for each in seeds]
    grid = make_grid(x)
    means, weights = np.stack([each.y for each in tables]), 1 / tables[0].variance
    profile, phi = scatter_of(grid, means, np.tile(weights, (6, 1)), tables[0])
    wider = 0
    for q in range(6):
        row = int(profile.rss[q].argmin())
        share = special.expit((x - profile.location[q, row]) * PER_WIDTH / grid.widths[row])
        fitted = profile.base[q, row] + profile.height[q, row] * (1 - share)
        off = weights * (means[q] - fitted) ** 2
        on = (share >= 0.02) & (share <= 0.98)
        plain = max(1.0, float(off.sum()) / 16)
        own = float(off[on].sum()) / (on.sum() - 2)
        assert phi[q] == pytest.approx(max(plain, own))
        alone = scatter_of(grid, means[[q]], weights[None], tables[0])
        assert alone[1][0] == pytest.approx(phi[q])
        wider += own > plain
    assert wider >= 5


def test_without_an_nll_no_power_is_claimed_of_leaps() -> None:
    generator = np.random.default_rng(6)
    x = np.repeat(np.linspace(3, 5.5, 12), 5)
    hits = generator.binomial(2000, 0.02 + 0.95 * special.expit((x - 4.2) * PER_WIDTH / 2.0))
    made = accuracy_means(10**x, hits, np.full(x.size, 2000))
    found = power_of_both(None, made, W0, draws=50)
    assert found is not None and found.sharp is None and not found.sufficient
    assert 0 <= found.smooth <= 1
    entry = power_entry(found)
    assert entry is not None and entry["sharp"] is None and not entry["sufficient"]
    assert "without a target NLL no design tells a leap" in entry["text"]
    few = accuracy_means(10 ** x[:20], hits[:20], np.full(20, 2000))
    assert power_of_both(None, few, W0) is None


def test_the_committed_study_keeps_its_promises() -> None:
    """Where the power analysis says sufficient: 80 % decided, 90 % right, 5 % falsely sharp."""
    text = resources.files("saltus.emerge").joinpath("verdict.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["truth"] for row in rows} == {"sharp", "smooth", "metric-induced", "near"}
    told = [row for row in rows if row["truth"] != "near"]

    def total(column: str, *designs: str, truth: str | None = None) -> int:
        return sum(
            int(row[column])
            for row in (told if truth is None else rows)
            if row["design"] in designs and truth in (None, row["truth"])
        )

    assert total("tables", "sufficient") >= 250
    assert total("decided", "sufficient") >= 0.8 * total("tables", "sufficient")
    assert total("right", "sufficient") >= 0.9 * total("decided", "sufficient")
    for truth in ("smooth", "metric-induced", "near"):
        every = ("sufficient", "insufficient")
        assert total("false_sharp", *every, truth=truth) <= 0.05 * total(
            "tables", *every, truth=truth
        )
    assert total("right", "insufficient") >= 0.9 * total("decided", "insufficient")


def test_sizes_too_far_apart_show_no_leap() -> None:
    """The same leap, told where the ladder is fine and not where it is coarse."""
    generator = np.random.default_rng(8)

    def verdict(sizes: int) -> Judgement:
        x = np.repeat(np.linspace(3, 8, sizes), 5)
        fallen = special.expit((x - 5.45) * PER_WIDTH / 0.1)
        nll = 5 - 4.6 * fallen + generator.normal(0, 0.05, x.size)
        return settle([judge(nll_means(10**x, nll), None)])[0]

    assert verdict(21).verdict == "sharp"
    coarse = verdict(8)
    assert coarse.verdict == "undecided"
    assert "decades apart" in coarse.reason or coarse.nll is None or coarse.nll.high is None


def test_a_decline_is_told_as_a_weighted_regression_finds_it() -> None:
    """statsmodels, with the variances of the means as weights."""
    x = np.repeat(np.linspace(3, 5, 6), 3)
    noise = np.random.default_rng(4).normal(0, 30, x.size)
    means = accuracy_means(10**x, np.round(400 - 60 * (x - 3) + noise), np.full(x.size, 500))
    line = sm.WLS(means.y, sm.add_constant(means.x), weights=1 / means.variance).fit()
    slope, p = decline(means)
    assert slope == pytest.approx(-line.params[1])
    assert p == pytest.approx(line.pvalues[1] / 2)
    nll = nll_means(10**x, 2 + 0.5 * (x - 3) + noise / 300)
    found = settle([judge(nll, means)])[0]
    assert found.verdict == "undecided"
    assert "; accuracy falls by 0.1" in found.reason and "; NLL rises by 0.5" in found.reason
    assert decline(nll_means(10**x, 4 - x))[1] > 0.99


def test_equal_means_decline_no_further_than_rounding() -> None:
    x = np.repeat(np.linspace(3, 5, 8), 3)
    for level in (2.0, 0.37, 1e-3):
        flat = nll_means(10**x, np.full(x.size, level))
        assert decline(flat) == (0.0, 1.0)
        assert settle([judge(flat, None)])[0].reason.startswith("no rise is better")
    share = accuracy_means(10**x, np.full(x.size, 148.0), np.full(x.size, 400.0))
    assert decline(share) == (0.0, 1.0)


def test_a_table_without_a_change_says_how_it_was_tested() -> None:
    x = np.repeat(np.linspace(3, 5, 6), 3)
    noise = np.random.default_rng(9).normal(0, 0.3, x.size)
    found = settle([judge(nll_means(10**x, 4 + noise), None)])[0]
    assert found.reason == "no rise is better than a constant (F test, 6 sizes, 2 to spare)"
