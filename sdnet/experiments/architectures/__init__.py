"""Notebook 03: the networks of the paper and their sizes."""
