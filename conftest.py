"""Tests and notebooks run at their smallest size, whoever starts them, and leave the repository's ledger alone."""

import os
import tempfile

os.environ.setdefault("SDNET_PRESET", "smoke")
os.environ.setdefault("SDNET_DATASET", "digits")
scratch = tempfile.mkdtemp(prefix="sdnet-test-")
os.environ.setdefault("SDNET_OUTPUT", f"{scratch}/outputs")
os.environ.setdefault("SDNET_LEDGER", f"{scratch}/ledger")
