"""The picture of anybody's table: what is drawn beside the data stands at the level asked for."""

import numpy as np
from matplotlib.text import Annotation

from saltus.emerge.ability import judge_groups
from saltus.emerge.axis import SIZE
from saltus.emerge.table import Group
from saltus.emerge.threshold import threshold_along_scale
from saltus.figure.emergence_table import draw


def test_an_arrow_beyond_the_ladder_stands_at_the_level() -> None:
    scale = np.repeat(10.0 ** np.arange(3, 8), 3)
    hits, trials = np.full(15, 10.0), np.full(15, 100.0)
    group = Group({}, scale, hits, trials, 0.0, None, None)
    for level in (0.3, 0.8):
        found = threshold_along_scale(scale, hits, trials, 0.0, level)
        assert found.status == "above largest"
        verdicts = judge_groups([group], SIZE)
        figure = draw([group], [found], verdicts, SIZE, level, "parameters")
        arrows = [
            child
            for child in figure.axes[0].get_children()
            if isinstance(child, Annotation) and child.arrow_patch is not None
        ]
        assert [arrow.xy[1] for arrow in arrows] == [level]


def test_the_nll_stands_beside_the_accuracy_with_the_verdict_in_words() -> None:
    scale = np.repeat(10.0 ** np.linspace(3, 6, 8), 2)
    rise = 1 / (1 + np.exp(-(np.log10(scale) - 4.5) / 0.3))
    hits, trials = np.round(100 * rise), np.full(16, 100.0)
    nll = 5 - 4 * rise + np.tile([-0.05, 0.05], 8)
    groups = [Group({"task": name}, scale, hits, trials, 0.0, values, None)
              for name, values in (("add", nll), ("sub", None))]  # fmt: skip
    found = [threshold_along_scale(scale, hits, trials, 0.0, 0.5)] * 2
    verdicts = judge_groups(groups, SIZE)
    figure = draw(groups, found, verdicts, SIZE, 0.5, "parameters")
    assert len(figure.axes) == 4
    accuracy, beside, alone, empty = figure.axes
    assert beside.get_title(loc="left") == f"leap: {verdicts[0]['verdict']}"
    assert beside.get_ylabel() == "target NLL (nats)" and alone.get_xlabel() == "parameters"
    points = next(line for line in beside.get_lines() if line.get_marker() == "o")
    np.testing.assert_array_equal(points.get_ydata(), nll)
    told = [text.get_text() for axes in (accuracy, alone) for text in axes.texts]
    assert [f"leap: {verdicts[1]['verdict']}" in text for text in told] == [False, True]
    assert [text.get_text() for text in empty.texts] == ["no NLL"]


def test_a_leap_is_drawn_where_its_threshold_stands_and_a_decline_has_no_curve() -> None:
    scale = np.repeat(10.0 ** np.linspace(3, 6, 8), 3)
    trials = np.full(24, 100.0)
    for hits, told in (
        (np.where(scale > 10**4.3, 100.0, 0.0), "crossed"),
        (np.round(98 - 30 * (np.log10(scale) - 3)), "not monotone"),
    ):
        group = Group({}, scale, hits, trials, 0.0, None, None)
        found = threshold_along_scale(scale, hits, trials, 0.0, 0.5)
        assert found.status == told
        figure = draw([group], [found], judge_groups([group], SIZE), SIZE, 0.5, "parameters")
        curves = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 300]
        assert len(curves) == (told == "crossed")
        for line in curves:
            half = np.interp(0.5, line.get_ydata(), np.log10(line.get_xdata()))
            assert found.estimate is not None
            assert abs(half - np.log10(found.estimate)) < 0.02
