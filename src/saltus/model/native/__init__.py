"""The training loss with C between its matrix products: CPUs, single precision."""
