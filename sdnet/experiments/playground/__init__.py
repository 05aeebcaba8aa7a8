"""Notebook 15: the playground, a page in which a reader turns λ; SDNet-18 and ResNet-18 run in the browser."""
