"""From the ledger to tables and figures. Reads ``data/``, never a network."""
