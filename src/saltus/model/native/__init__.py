"""The training loss in C, matrix products included: CPUs, single precision."""
