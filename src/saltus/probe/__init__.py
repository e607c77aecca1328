"""What a checkpoint can do and how well it knows it: decoding, arithmetic, held-out text."""
