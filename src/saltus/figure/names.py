"""The names of all figures, in the order of the report; known without loading Matplotlib."""

NAMES = (
    "loss-curves",
    "law-fit",
    "compute-envelope",
    "accuracy-size",
    "threshold-atlas",
    "tokens-to-learn",
    "accuracy-loss",
    "seed-spread",
    "seed-paths",
    "reliability",
    "calibration-size",
    "calibration-scale",
    "confidence-lead",
    "shift-fan",
    "risk-coverage",
    "rates",
)


def drawn_names(*, swept: bool) -> list[str]:
    """Return the names that a study draws: the rates only where it swept them."""
    return [name for name in NAMES if swept or name != "rates"]
