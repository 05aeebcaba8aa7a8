"""Sec. 4.4: from the features of a network of CSC layers back to an image, and the controls."""
