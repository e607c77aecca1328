"""One module per figure; drawn from small derived tables alone."""
