"""``python -m sdnet``."""

from sdnet.cli import main

main(prog_name="python -m sdnet")
