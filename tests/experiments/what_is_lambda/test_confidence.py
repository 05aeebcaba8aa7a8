"""Calibration and likelihood where they are known."""

import math
import sys

import pytest
import torch

from sdnet.experiments.what_is_lambda.confidence import confidence


def scores(probability: float, right: int, count: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """So many images that are given class 0 with one probability, of which so many are right."""
    row = torch.tensor([probability, (1 - probability) / 2, (1 - probability) / 2]).log()
    return row.expand(count, 3), (torch.arange(count) >= right).long()


@pytest.mark.parametrize(("probability", "right"), [(0.8, 6), (0.8, 8), (0.9, 3)])
def test_one_bin_has_the_gap_of_confidence_and_accuracy(probability: float, right: int) -> None:
    pytest.importorskip("torchmetrics")
    found = confidence(*scores(probability, right))
    assert found["top1"] == right / 10
    assert found["calibration_error"] == pytest.approx(abs(probability - right / 10), abs=1e-6)
    wrong = (1 - probability) / 2
    assert found["nll"] == pytest.approx(-(right * math.log(probability) + (10 - right) * math.log(wrong)) / 10)


def test_bins_are_weighted_by_their_images() -> None:
    pytest.importorskip("torchmetrics")
    (sure, first), (unsure, second) = scores(0.9, 10, 10), scores(0.5, 0, 30)
    found = confidence(torch.cat([sure, unsure]), torch.cat([first, second]))
    assert found["calibration_error"] == pytest.approx(0.25 * 0.1 + 0.75 * 0.5, abs=1e-6)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.classification", None)
    with pytest.raises(ValueError, match=r"calibration needs torchmetrics; get it with: pip install 'sdnet\[calibrat"):
        confidence(*scores(0.8, 6))
