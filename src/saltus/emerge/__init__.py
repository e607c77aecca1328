"""Scores and thresholds from tables of probe results; numpy and SciPy only."""
