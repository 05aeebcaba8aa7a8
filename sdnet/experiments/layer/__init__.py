"""Notebooks 01 and 02: what can be said of one CSC layer."""
