"""Notebook 09: how much of an image every depth keeps; Figure 4 and Sec. 4.4."""
