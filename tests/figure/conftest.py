"""Let tests import the simulated study beside them, and the tables of the command's tests."""

import sys
from pathlib import Path

for name in ("figure", "cli"):
    sys.path.insert(0, str(Path(__file__).parents[1] / name))
