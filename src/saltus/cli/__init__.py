"""One thin module per command: the only place that opens files for the pure core."""
