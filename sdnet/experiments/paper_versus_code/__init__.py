"""Notebook 14: every difference between the paper's text and the authors' released code, as a switch that runs."""
