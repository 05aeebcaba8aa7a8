"""Notebook 05: training on several GPUs and machines."""
