"""Power laws with certificates and intervals; numpy and SciPy only."""
