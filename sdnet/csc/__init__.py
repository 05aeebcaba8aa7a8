"""Sec. 3: the convolutional sparse coding layer and its mathematics, one idea a file."""
