"""The transformer family, its initialisation and its counts; every parameter has a replica axis."""
