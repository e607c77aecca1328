"""A loss as a law of size at one horizon: one of two simple forms, chosen by AICc.

    power    L = A / N^alpha
    offset   L = E + A / N^alpha

Squares of log residuals of the sizes' mean log losses: sizes, not runs, are the sample. Source of
AICc: Hurvich and Tsai 1989; the variance counts as a parameter, and AICc is undefined at
n <= k + 1, so that five sizes allow the power alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saltus.law.criterion import Criterion
from saltus.law.forms import PowerLaw
from saltus.law.rates import power_line
from saltus.law.solve import fit

FloatArray = NDArray[np.float64]

FORMS = ("power", "offset")
_SQUARES = Criterion(loss="squared")


@dataclass(frozen=True)
class SizeLaw:
    """A law of size: `log_loss` maps sizes (Q,) to log predicted losses (Q,).

    rms: root mean square log residual; aicc: null if one form alone was asked for and it is
    undefined.
    """

    form: str
    log_loss: Callable[[FloatArray], FloatArray]
    parameters: dict[str, float]
    rms: float
    aicc: float | None

    @property
    def told(self) -> str:
        """Form and parameters in words."""
        named = ", ".join(f"{name} {value:.3g}" for name, value in self.parameters.items())
        return f"{self.form}: {named}, rms {100 * self.rms:.0f} %"


def aicc(squares: float, num: int, num_parameters: int) -> float | None:
    """Corrected information criterion of a least-squares fit; None at num <= num_parameters + 1.

    squares: sum of squared residuals; num_parameters counts the variance.
    """
    if num <= num_parameters + 1:
        return None
    penalty = 2 * num_parameters * num / (num - num_parameters - 1)
    return num * float(np.log(max(squares, 1e-300) / num)) + penalty


def fit_size_law(
    params: FloatArray, log_loss: FloatArray, forms: Sequence[str] = FORMS
) -> SizeLaw | str:
    """The law of least AICc among `forms`, or the only one asked for; a string says why not.

    params, log_loss: (S,), one entry per size. The offset is not chosen where its fit is not
    certified `converged`, as when it rests on 0: it is then the power. Asked for alone, it may.
    """
    choose = len(forms) > 1
    laws = [law for form in forms if (law := _fit(form, params, log_loss, choose)) is not None]
    if choose:
        laws = [law for law in laws if law.aicc is not None]
    if not laws:
        return f"no law of size among {', '.join(forms)} can be fitted to {params.size} sizes"
    return min(laws, key=lambda law: law.aicc or 0.0)


def _fit(form: str, params: FloatArray, log_loss: FloatArray, certified: bool) -> SizeLaw | None:
    num_parameters = 3 if form == "power" else 4
    if params.size < num_parameters:
        return None
    if form == "power":
        level, slope = (float(value) for value in power_line(np.log(params), log_loss))
        parameters = {"A": float(np.exp(level)), "alpha": -slope}

        def predicted(at: FloatArray) -> FloatArray:
            return level + slope * np.log(at)

    else:
        found = fit(PowerLaw(variable="N"), {"N": params}, np.exp(log_loss), criterion=_SQUARES)
        status = found.certificate.status
        if status == "failed" or (certified and status != "converged"):
            return None
        parameters = found.parameters

        def predicted(at: FloatArray) -> FloatArray:
            return np.log(found.predict({"N": at}))

    squares = float(((predicted(params) - log_loss) ** 2).sum())
    rms = float(np.sqrt(squares / params.size))
    return SizeLaw(form, predicted, parameters, rms, aicc(squares, params.size, num_parameters))
