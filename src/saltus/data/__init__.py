"""Text and arithmetic: from a catalogue entry to batches of tokens."""
