"""Training: recipes (numbers only), the loop, and checkpoints."""
