"""The paper's own numbers: complete, as printed, and consistent with each other."""

import pandas as pd
import pytest

from sdnet.experiments.accuracy import scorecard


def test_the_papers_tables_are_complete() -> None:
    sizes = {number: len(scorecard.paper_table(number)) for number in range(1, 6)}
    assert sizes == {1: 19 * 4, 2: 5 * 5, 3: 4 * 7 - 3, 4: 3 * 2, 5: 3 * 4}
    with pytest.raises(ValueError, match="table 6 does not exist"):
        scorecard.paper_table(6)


def test_spot_checks_against_the_printed_tables() -> None:
    one, two, three, four, five = (scorecard.paper_table(number) for number in range(1, 6))

    def value(table: pd.DataFrame, **where: object) -> float:
        for column, wanted in where.items():
            table = table[table[column] == wanted]
        assert len(table) == 1
        return float(table["value"].iloc[0])

    assert value(one, dataset="cifar100", arch="scn", metric="top1") == 80.07
    assert value(one, dataset="imagenet", arch="sdnet18", metric="train_memory") == 37.6
    assert value(two, arch="sdnet18", policy="residual_fit", severity=3, metric="top1") == 61.38
    assert value(three, dataset="imagenet-c", arch="sdnet18", policy="fixed", corruption="shot_noise") == 23.97
    assert value(four, policy="tuned", norm="l2") == 62.80
    assert value(five, iterations=8, corruption="impulse_noise") == 25.69


def test_table2_averages_to_table3() -> None:
    """The paper's Gaussian column of Table 3 is the mean of its Table 2, up to rounding."""
    two, three = scorecard.paper_table(2), scorecard.paper_table(3)
    two = two[two["metric"] == "top1"]
    means = two.groupby("row")["value"].mean()
    gaussian = three[(three["corruption"] == "gaussian_noise") & (three["dataset"] == "cifar10-c")]
    for row, value in zip(gaussian["row"], gaussian["value"], strict=True):
        assert means[row] == pytest.approx(value, abs=0.011)
