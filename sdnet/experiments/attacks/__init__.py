"""Notebook 07: adversarial attacks; Table 4."""
