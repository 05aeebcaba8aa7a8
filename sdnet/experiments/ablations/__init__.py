"""Notebook 08: every variant of a network, trained and measured alike; Table 5."""
