"""Foreign checkpoints -> this project's names."""
