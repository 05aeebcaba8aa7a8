"""Which of several answers in the ledger counts."""

import pandas as pd
import pytest

from sdnet.results.select import like_largest, select

CELLS = pd.DataFrame(
    [
        ("sdnet18", 0, "clean", 100, "monday", 0.7),
        ("sdnet18", 0, "clean", 200, "sunday", 0.8),
        ("sdnet18", 0, "noise", 200, "sunday", 0.5),
        ("sdnet18", 1, "clean", 100, "monday", 0.6),
        ("resnet18", 0, "clean", 300, "friday", 0.9),
        ("resnet18", None, "blur", 300, "friday", 0.4),
    ],
    columns=["arch", "seed", "corruption", "n", "started", "value"],
)


def values(cells: pd.DataFrame) -> list[float]:
    return cells["value"].tolist()


def test_cells_hold_a_value_or_one_of_several() -> None:
    assert values(select(CELLS)) == values(CELLS)
    assert values(select(CELLS, arch="sdnet18", corruption="clean")) == [0.7, 0.8, 0.6]
    for several in (("noise", "blur"), ["noise", "blur"], {"noise", "blur"}, dict.fromkeys(("noise", "blur"))):
        assert values(select(CELLS, corruption=several)) == [0.5, 0.4]
    assert values(select(CELLS, corruption=())) == []
    assert values(select(CELLS, seed=0, arch=CELLS["arch"].iloc[[4]])) == [0.9]


def test_what_was_not_told_is_no_value() -> None:
    assert values(select(CELLS, seed=None)) == []


def test_of_several_answers_one_counts() -> None:
    per = {"one_per": ("arch", "seed", "corruption"), "arch": "sdnet18"}
    assert set(values(select(CELLS, **per))) == {0.8, 0.5, 0.6}  # type: ignore[arg-type]
    fewest = CELLS.assign(fewest=-CELLS["n"])
    assert set(values(select(fewest, prefer=("fewest", "started"), **per))) == {0.7, 0.5, 0.6}  # type: ignore[arg-type]


def test_a_column_that_does_not_exist_is_named() -> None:
    with pytest.raises(KeyError, match="netwrok"):
        select(CELLS, netwrok="sdnet18")


def test_like_the_largest_in_some_columns() -> None:
    ours = select(CELLS, arch="sdnet18")
    assert values(CELLS[like_largest(CELLS, ours, ("n", "value"), ("arch", "n"))]) == [0.8, 0.5]
    assert values(CELLS[like_largest(CELLS, CELLS, ("value",), ("corruption",))]) == [0.7, 0.8, 0.6, 0.9]
    assert values(CELLS[like_largest(CELLS, CELLS[:0], ("n",), ("arch",))]) == []
