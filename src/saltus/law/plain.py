"""Values as JSON knows them: every document of the laws passes through before it is written."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

OPEN_END = 1e300  # an interval end beyond this says nothing: null


def plain(value: Any) -> Any:
    """Return `value` with NumPy scalars as Python ones and what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and (not math.isfinite(value) or abs(value) > OPEN_END):
        return None
    return value
