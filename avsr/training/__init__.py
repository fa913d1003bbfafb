"""Training a model in stages from a recipe."""
