"""What became of the faults that the test suite puts in: kills, damaged files, wrong parameters, full disks."""

from pathlib import Path

import pandas as pd

from sdnet.report.origin import Origin
from sdnet.report.shown import Shown
from sdnet.report.tables import page
from sdnet.results.ledger import repository_data

OUTCOMES = ("survived", "clear sentence", "traceback", "wrong in silence")


def show_faults(path: Path | None = None) -> Shown:
    """Faults of each kind in the last run of ``make faults``, and how many of them ended how.

    Args:
        path: what that run wrote; by default ``data/faults.csv`` of the repository.

    Raises:
        ValueError: if there is no such file, or it holds something else.
    """
    path = path or repository_data() / "faults.csv"
    if not path.is_file():
        raise ValueError(f"there is no {path}; make it with 'make faults'.")
    faults = pd.read_csv(path)
    if not {"fault", "tried", "commit", *OUTCOMES} <= set(faults):
        raise ValueError(f"{path} does not hold the outcomes of faults; make it anew with 'make faults'.")
    commits = ", ".join(sorted({str(commit)[:7] for commit in faults["commit"]}))
    table = faults[["fault", "tried", *OUTCOMES]]
    total = pd.DataFrame([{"fault": "all", **table.drop(columns="fault").sum()}])
    return page(
        pd.concat([table, total]).map(lambda entry: entry if isinstance(entry, str) else f"{entry:,}"),
        "Faults put in on purpose, and what became of them. Survived: the result was exactly the undisturbed one; "
        "clear sentence: refused in one sentence that names the parameter or file.",
        "faults",
        made_from=Origin(
            f"the last run of the fault suite; commit {commits}; n = {table['tried'].sum():,}.", ("make faults",)
        ),
    )
