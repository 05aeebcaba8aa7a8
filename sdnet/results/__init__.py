"""What was measured: the ledger, its cells as a table, trained networks, and the numbers that the paper prints."""
