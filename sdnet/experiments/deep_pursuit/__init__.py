"""Notebook 11: networks that solve for their codes, layer by layer or all at once, and what attacks do to them."""
