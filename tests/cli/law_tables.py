"""Tables drawn from a known law, and `saltus law` of them, for the tests of that command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saltus.cli.main import main
from saltus.law.forms import Chinchilla

TRUTH = {"E": 1.7, "A": 406.0, "B": 1300.0, "alpha": 0.34, "beta": 0.37}


def table(num: int = 8, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    n, d = (
        axis.ravel()
        for axis in np.meshgrid(np.geomspace(1e7, 1e10, num), np.geomspace(1e9, 1e12, num))
    )
    loss = Chinchilla().predict(TRUTH, {"N": n, "D": d})
    loss *= np.exp(np.random.default_rng(seed).normal(0, noise, len(n)))
    return pd.DataFrame({"N": n, "D": d, "loss": loss})


def answer(tmp_path: Path, frame: pd.DataFrame, *options: str) -> dict[str, Any]:
    path, out = tmp_path / "table.csv", tmp_path / "law.json"
    frame.to_csv(path, index=False)
    resamples = [] if "profile" in options or "seed" in frame else ["--bootstrap", "100"]
    arguments = ["law", str(path), "--json", str(out), *resamples, *options]
    assert main(arguments) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found
