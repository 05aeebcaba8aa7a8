"""Notebook 06: accuracy under noise and λ turned against it; Tables 2 and 3, Figures 2 and 3."""
