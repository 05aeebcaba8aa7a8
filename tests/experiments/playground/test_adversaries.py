"""The stored perturbations of the playground: within their ball, made again bit by bit, counted as in the ledger."""

import base64

import numpy as np
import pandas as pd
import pytest
import torch

from sdnet.csc.lam import at_lam
from sdnet.data.batches import to_pixels
from sdnet.experiments.playground import adversaries, export
from sdnet.experiments.playground.drawings import pictures
from sdnet.results import networks
from sdnet.results.cells import CELL_COLUMNS

BOTH = (export.SDNET, export.RESNET)


@pytest.mark.parametrize("network", BOTH)
def test_perturbations_lie_in_the_ball_and_leave_pictures(network: str) -> None:
    shifts = adversaries.perturbations(network)
    assert shifts.shape == ((6 if network == export.SDNET else 1), len(pictures()), 32, 32, 3)
    assert shifts.abs().max() == 8
    changed = torch.stack([picture.pixels for picture in pictures()]) + shifts
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_perturbations_are_made_again_bit_by_bit() -> None:
    again = adversaries.perturbations.__wrapped__(export.RESNET)
    assert torch.equal(again, adversaries.perturbations(export.RESNET))


@torch.no_grad()
def test_a_picture_is_still_right_if_it_is_right_before_and_after() -> None:
    trained = networks.load(export.SDNET)
    pixels, shifts = torch.stack([one.pixels for one in pictures()]), adversaries.perturbations(export.SDNET)
    truth = torch.tensor([trained.classes.index(one.label) for one in pictures()])
    found = adversaries.still_right(export.SDNET)
    for index, lam in enumerate(adversaries.CRAFTED):
        images = [to_pixels(pixels), *(to_pixels((pixels + shifts[made]).byte()) for made in (0, index))]
        usual, oblivious, adaptive = (
            at_lam(trained.model, torch.tensor(lam), some).argmax(1) == truth for some in images
        )
        assert torch.equal(found["none"][index], usual)
        assert torch.equal(found["oblivious"][index], usual & oblivious)
        assert torch.equal(found["adaptive"][index], usual & adaptive)
    # What the page is there to show: the one who does not know the λ leaves something, the one who does leaves less.
    assert found["oblivious"].sum(1).max() > found["adaptive"].sum(1).max()


def test_the_page_reads_the_perturbations_in_the_order_of_its_pixels() -> None:
    told = adversaries.data(*BOTH)
    raw = np.frombuffer(base64.b64decode(told["sdnet"][3][5]), np.int8)
    assert raw.tolist() == adversaries.perturbations(export.SDNET)[3, 5].flatten().tolist()


def cells(**changes: object) -> list[dict[str, object]]:
    """Two seeds of an SDNet-18, and one of a ResNet-18, at the λ of training, and at 0.5 for the first seed only."""
    base = {"experiment": "attack", "variant": "", "dataset": "cifar10", "width": 16, "epochs": 15, "started": "2026"}
    hit = {"metric": "robust_top1", "attack": "pgd", "norm": "linf", "units": "pixels", "epsilon": 8 / 255, **base}
    ours, plain = {"arch": "sdnet18", "knob": "lam"}, {"arch": "resnet18", "knob": "stem_threshold"}
    known = {**hit, **ours, "protocol": "adaptive", "strength": 0.1, "crafted_at": 0.1}
    return [
        {**known, "seed": 0, "n": 500, "value": 0.1, **changes},
        {**known, "seed": 1, "n": 200, "value": 0.2, **changes},
        {**known, "seed": 0, "n": 500, "value": 0.4, "strength": 0.5, "crafted_at": 0.5, **changes},
        {**base, **ours, "metric": "top1", "seed": 0, "strength": 0.1, "n": 500, "value": 0.8, **changes},
        {**hit, **plain, "protocol": "oblivious", "strength": 0.0, "seed": 0, "n": 500, "value": 0.0, **changes},
    ]


def frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    found = pd.DataFrame(rows)
    return found.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *found.columns])))


def test_the_aggregate_is_a_mean_over_seeds_and_says_what_was_not_run() -> None:
    smaller = cells(width=8, value=0.9, started="2027")
    found = adversaries.aggregate(frame([*cells(), *smaller]))
    assert found["about"] == {"dataset": "cifar10", "width": 16, "epochs": 15, "called": "CIFAR-10"}
    usual, oblivious, adaptive = found["rows"].values()
    assert usual == [None, pytest.approx({"value": 80.0, "n": 500, "seeds": 1}), *[None] * 5]
    plain = {"value": 0.0, "n": 500, "seeds": 1}
    assert oblivious == [plain, *[None] * 6]
    assert adaptive[:3] == [plain, pytest.approx({"value": 15.0, "n": 200, "seeds": 2}), None]
    assert adaptive[3] == pytest.approx({"value": 40.0, "n": 500, "seeds": 1})
    assert adaptive[4:] == [None] * 3


def test_without_an_attack_in_the_ledger_nothing_is_claimed() -> None:
    found = adversaries.aggregate(frame([]))
    assert found == {"about": None, "rows": {who: [None] * 7 for who in adversaries.ADVERSARIES}}
