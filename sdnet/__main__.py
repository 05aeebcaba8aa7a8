"""The command line: ``python -m sdnet``, or ``sdnet``."""

import os

# OpenMP's threads spin for milliseconds at the end of every operation before they sleep. On two cores that something
# else uses too, training was measured to take seven times as long that way; with this shorter spin it does not, and on
# an idle machine it is as fast. It is read when torch is loaded. A value that the user has set stays.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def run() -> None:
    """What ``sdnet`` and ``python -m sdnet`` do."""
    try:
        from sdnet.cli import main
    except ModuleNotFoundError as error:
        raise SystemExit(f"The command line needs {error.name}; install it with pip install 'sdnet[book]'.") from error
    from sdnet.training.stopping import follow_parent

    follow_parent()
    main(prog_name="python -m sdnet")


if __name__ == "__main__":
    run()
