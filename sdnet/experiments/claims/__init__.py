"""The landing page: the rules and the verdicts on the paper's claims."""
