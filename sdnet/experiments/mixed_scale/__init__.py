"""Notebook 12: residual and mixed-scale networks as sparse coding."""
