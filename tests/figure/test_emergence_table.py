"""The picture of anybody's table: what is drawn beside the data stands at the level asked for."""

import numpy as np
from matplotlib.text import Annotation

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
        figure = draw([group], [found], SIZE, level, "parameters")
        arrows = [
            child
            for child in figure.axes[0].get_children()
            if isinstance(child, Annotation) and child.arrow_patch is not None
        ]
        assert [arrow.xy[1] for arrow in arrows] == [level]
