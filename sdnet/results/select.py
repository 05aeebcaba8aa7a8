"""Which of the ledger's cells count: those about something, and of several answers to one question the best."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd


def select(
    cells: pd.DataFrame, *, one_per: Sequence[str] = (), prefer: Sequence[str] = ("started",), **where: Any
) -> pd.DataFrame:
    """The cells that hold certain values, and of those with the same ``one_per`` the one that counts.

    Args:
        cells: from :func:`sdnet.results.cells.to_frame`.
        one_per: columns that tell one question from another; empty for all cells.
        prefer: columns by which one of several answers counts: the greatest in the first column, among equals in the
            second, and so on. By default the latest run.
        where: column → the value that a cell must hold, or several of which it must hold one.

    Returns:
        With ``one_per`` sorted by ``prefer``, else in the order of ``cells``.
    """
    # One copy of a wide frame, however many conditions.
    chosen = np.ones(len(cells), bool)
    for column, value in where.items():
        several = isinstance(value, Iterable) and not isinstance(value, str)
        chosen &= (cells[column].isin(list(value)) if several else cells[column] == value).to_numpy(bool)
    cells = cells[chosen]
    if one_per:
        cells = cells.sort_values([*prefer]).drop_duplicates([*one_per], keep="last")
    return cells


def like_largest(
    cells: pd.DataFrame, among: pd.DataFrame, by: Sequence[str], columns: Sequence[str] = ("dataset", "width", "epochs")
) -> "pd.Series[bool]":
    """Which cells have in some columns, by default those of the scale, what the largest ``among`` some has.

    It is the greatest in the first column of ``by``, among equals in the second, and so on. None if there is none.
    """
    if among.empty:
        return pd.Series(False, cells.index)
    largest = among.sort_values([*by]).iloc[-1]
    return (cells[[*columns]] == largest[[*columns]]).all(axis=1)
