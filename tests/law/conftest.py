"""Tables of runs drawn from a known law, for all tests of `saltus.law`."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

TRUTH = {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42}


@pytest.fixture
def truth() -> dict[str, float]:
    """The law behind `make_runs`, at the scale of a laptop's models."""
    return dict(TRUTH)


@pytest.fixture
def make_runs() -> Callable[..., pd.DataFrame]:
    """Return a maker of `runs` tables; noise is half common to a replica, half of each row."""

    def make(
        sizes: int = 8, seeds: int = 5, horizons: int = 4, noise: float = 0.01, seed: int = 0
    ) -> pd.DataFrame:
        generator = np.random.default_rng(seed)
        rows = []
        for i, params in enumerate(np.geomspace(1e4, 3e6, sizes)):
            for replica in range(seeds):
                common = generator.normal(0, noise / np.sqrt(2))
                for tokens in np.geomspace(1e6, 64e6, horizons):
                    n, d = int(params), int(tokens)
                    clean = TRUTH["E"] + TRUTH["A"] / n ** TRUTH["alpha"]
                    clean += TRUTH["B"] / d ** TRUTH["beta"]
                    shift = common + generator.normal(0, noise / np.sqrt(2))
                    rows.append(
                        {
                            "run": f"s{i}-seed{replica}-h{d}",
                            "size": f"s{i}",
                            "seed": replica,
                            "horizon": d,
                            "params_total": n,
                            "params_nonembedding": int(0.8 * n),
                            "tokens": d,
                            "flops_exact": 6.0 * n * d,
                            "loss_text": clean * np.exp(shift),
                            "rate_factor": 1.0,
                            "status": "ok",
                        }
                    )
        return pd.DataFrame(rows)

    return make
