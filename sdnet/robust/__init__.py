"""Robust inference: one number of a trained network, turned at test time (Algorithm 1), and its controls."""
