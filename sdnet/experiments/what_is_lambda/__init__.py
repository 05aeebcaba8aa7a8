"""Notebook 13: what λ is. Remedies at equal clean cost, Fourier sensitivity, confidence, certificates."""
