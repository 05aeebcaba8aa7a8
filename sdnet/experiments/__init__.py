"""Experiments: declared configurations, the runner, and the ledger of what was measured."""
