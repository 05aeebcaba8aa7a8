"""The landing page: every run behind the paper's tables, figures and claims, declared, counted, and done in order."""
