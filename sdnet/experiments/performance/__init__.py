"""Notebook 10: speed and memory, as ratios measured side by side."""
