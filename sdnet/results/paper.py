"""The numbers that the paper prints, as transcribed in ``data/paper``."""

import pandas as pd

from sdnet.names import unknown_name
from sdnet.results import ledger


def paper_table(number: int) -> pd.DataFrame:
    """Table 1–5 as the paper prints it, one row per cell (``data/paper``).

    Raises:
        ValueError: for another number.
    """
    tables = {str(n): ledger.repository_data() / "paper" / f"table{n}.csv" for n in range(1, 6)}
    if str(number) not in tables:
        raise ValueError(unknown_name("table", number, tables))
    return pd.read_csv(tables[str(number)], keep_default_na=False)
