"""Training: the paper's loss, stages and balance, driven by a recipe."""
