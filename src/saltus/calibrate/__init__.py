"""Calibration errors and reliability curves from tables of predictions; numpy and SciPy only."""
