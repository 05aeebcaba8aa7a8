"""Notebook 04: training on CIFAR, and Table 1."""
