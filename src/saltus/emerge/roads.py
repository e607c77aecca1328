"""Three roads from the size of a model to its accuracy, each fitted to the sizes that were seen.

    two-step    size -> nats of the target -> accuracy (Bhagia et al. 2024)
    text loss   a law's predicted text loss -> accuracy, through the pooled link (Du et al. 2024)
    curve       the psychometric curve through the smaller sizes alone: the baseline

A road gives an accuracy at any size, at the longest horizon of the ladder, or a reason why it does
not. Each can be fitted again without one size, with the choices of the first fit held.

Legend: C runs, S sizes, Q sizes asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from saltus.emerge.cells import Cells, plateau_sizes, size_means
from saltus.emerge.link import Link, find_link
from saltus.emerge.logistic import BoolArray, Runs
from saltus.emerge.psychometric import fit_curve
from saltus.emerge.sizelaw import FORMS, fit_size_law

FloatArray = NDArray[np.float64]

MIN_SIZES = 5
LEVEL = 0.5
_COLUMNS = ("params_nonembedding", "horizon", "target_nll", "loss_text", "successes", "items")
# Predicted text losses (Q,) at sizes (Q,), made from the sizes in the tuple and no others; a string
# says why there are none.
TextLosses = Callable[[tuple[float, ...], FloatArray], FloatArray | str]


@dataclass(frozen=True)
class Ladder:
    """Runs of one task and arm, all (C,): params (non-embedding), horizon (tokens), losses, counts.

    target_loss is in nats per answer, text_loss in nats per token.
    """

    params: FloatArray
    horizon: FloatArray
    target_loss: FloatArray
    text_loss: FloatArray
    successes: FloatArray
    trials: FloatArray
    guess: float

    @classmethod
    def of(cls, cell: pd.DataFrame) -> "Ladder":
        """From rows of the `scores` table that share task and arm."""
        params, horizon, target, text, successes, items = (
            cell[name].to_numpy(np.float64) for name in _COLUMNS
        )
        guess = float(cell["guess_rate"].mean())
        return cls(params, horizon, target, text, successes, items, guess)

    @property
    def sizes(self) -> FloatArray:
        """Distinct sizes, ascending, (S,)."""
        return np.unique(self.params)

    def keep(self, which: BoolArray) -> "Ladder":
        """The runs for which `which` (C,) is true."""
        names = ("params", "horizon", "target_loss", "text_loss", "successes", "trials")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    @property
    def longest(self) -> "Ladder":
        """The runs at the longest horizon."""
        return self.keep(self.horizon == self.horizon.max())

    def means(self) -> FloatArray:
        """Mean accuracy of each size's runs, every run counting once, (S,)."""
        index = np.unique(self.params, return_inverse=True)[1]
        return np.bincount(index, self.successes / self.trials) / np.bincount(index)


@dataclass(frozen=True)
class Road:
    """A fitted road: `accuracy` maps sizes (Q,) to predicted mean accuracies (Q,).

    `told` is what was fitted, in words; `form` the choice that refits hold to; `freedom` the
    degrees of freedom that the sizes leave.
    """

    accuracy: Callable[[FloatArray], FloatArray]
    told: str
    freedom: int
    form: str | None = None


@dataclass(frozen=True)
class Refusal:
    """Why there is no road."""

    reason: str


RoadMaker = Callable[[Ladder, Road | None], Road | Refusal]


def two_step(seen: Ladder, like: Road | None = None) -> Road | Refusal:
    """Size to nats of the target at the longest horizon, and nats to accuracy over all horizons.

    The link bends, so that the mean accuracy of seeds is not the accuracy at their mean loss: it is
    averaged over the deviations of seeds from their size's mean log loss (the smearing of Duan
    1983, with R - S degrees of freedom for R runs of S sizes).
    """
    link = _link(seen, seen.target_loss, like)
    if isinstance(link, Refusal):
        return link
    last = seen.longest
    sizes, index = np.unique(last.params, return_inverse=True)
    log_loss = np.log(last.target_loss)
    level = np.bincount(index, log_loss) / np.bincount(index)
    law = fit_size_law(sizes, level, FORMS if like is None else (str(like.form),))
    if isinstance(law, str):
        return Refusal(law)
    spare = log_loss.size - sizes.size
    apart = (log_loss - level[index]) * np.sqrt(log_loss.size / spare) if spare else np.zeros(1)

    def accuracy(params: FloatArray) -> FloatArray:
        nats = np.exp(law.log_loss(params)[:, None] + apart)
        return np.asarray(link.accuracy(nats).mean(axis=1))

    freedom = int(sizes.size) - len(law.parameters)
    return Road(accuracy, f"{law.told}; {_told(link)}", freedom, law.form)


def text_loss_road(losses: TextLosses) -> RoadMaker:
    """The road through the text loss that a law predicts; `losses` is asked for every refit."""

    def road(seen: Ladder, like: Road | None = None) -> Road | Refusal:
        link = _link(seen, seen.text_loss, like)
        if isinstance(link, Refusal):
            return link
        known = tuple(float(size) for size in seen.sizes)
        tried = losses(known, seen.sizes)
        if isinstance(tried, str):
            return Refusal(tried)

        def accuracy(params: FloatArray) -> FloatArray:
            predicted = losses(known, params)
            assert not isinstance(predicted, str)
            return link.accuracy(predicted)

        return Road(accuracy, _told(link), len(known) - 3)

    return road


def curve(seen: Ladder, like: Road | None = None) -> Road | Refusal:
    """The psychometric curve of `saltus.emerge.psychometric` at the longest horizon, extended."""
    if like is None and (few := _too_few(seen)):
        return few
    last = seen.longest
    cells = Cells(np.log10(last.params), last.successes, last.trials, guess=0.0)
    lowest = float(size_means(cells).min())
    cells = replace(
        cells,
        guess=min(last.guess, lowest, LEVEL),
        level=LEVEL,
        lapse_free=plateau_sizes(cells) >= 2,
    )
    fit = fit_curve(cells)
    if fit.status != "converged" and like is None:
        return Refusal(f"the curve of the smaller sizes is not fixed by them ({fit.status})")
    reach = 1 - cells.guess - fit.lapse
    offset = special.logit((LEVEL - cells.guess) / reach)

    def accuracy(params: FloatArray) -> FloatArray:
        rise = special.expit((np.log10(params) - fit.location) / fit.width + offset)
        return np.asarray(cells.guess + reach * rise)

    told = f"N10-N90 width {fit.width_decades:.2f} decades"
    return Road(accuracy, told, int(cells.sizes.size) - 2)


def _link(seen: Ladder, loss: FloatArray, like: Road | None) -> Link | Refusal:
    """The pooled link of `loss` (C,), or why it cannot bear a prediction."""
    if like is None and (few := _too_few(seen)):
        return few
    runs = Runs(loss, seen.successes, seen.trials, seen.params, seen.guess)
    link = find_link(runs, 2 if like is None else 1)
    return Refusal(link) if isinstance(link, str) else link


def _too_few(seen: Ladder) -> Refusal | None:
    num = seen.longest.sizes.size
    if num >= MIN_SIZES:
        return None
    return Refusal(f"{num} sizes at the longest horizon, at least {MIN_SIZES} are needed")


def _told(link: Link) -> str:
    found = link.parameters
    return f"link L0 {found['L0']:.3g}, k {found['k']:.3g}, b {found['b']:.3g}, a {found['a']:.3g}"
