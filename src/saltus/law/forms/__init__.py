"""The forms a law can take. A new one is one class, and its name in `FORMS`."""

from collections.abc import Mapping
from types import MappingProxyType

from saltus.law.forms.base import Array, Form, Logs
from saltus.law.forms.broken import Broken
from saltus.law.forms.constrained import DataConstrained
from saltus.law.forms.kaplan import Kaplan
from saltus.law.forms.outer import OuterExponent
from saltus.law.forms.overtraining import OverTraining
from saltus.law.forms.powers import Chinchilla, PowerLaw, SumOfPowers

FORMS: Mapping[str, Form] = MappingProxyType(
    {
        form.name: form
        for form in (
            Chinchilla(),
            Kaplan(),
            OuterExponent(),
            OverTraining(),
            DataConstrained(),
            PowerLaw(),
            Broken(),
        )
    }
)
ONE_VARIABLE: Mapping[str, type[PowerLaw] | type[Broken]] = MappingProxyType(
    {PowerLaw.name: PowerLaw, Broken.name: Broken}
)
__all__ = [
    "FORMS",
    "ONE_VARIABLE",
    "Array",
    "Broken",
    "Chinchilla",
    "DataConstrained",
    "Form",
    "Kaplan",
    "Logs",
    "OuterExponent",
    "OverTraining",
    "PowerLaw",
    "SumOfPowers",
]
