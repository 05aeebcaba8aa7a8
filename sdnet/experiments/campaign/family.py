"""The runs behind pages 11 and 12: members of the family on CIFAR-10, with three seeds, the cheapest verdicts first.

At the scale ``quick`` all have few epochs: eight iterations of a pursuit cost as much as ten networks. All have a width
of 8 but those whose iterations are compared: at 16, from which on oneDNN serves them, an epoch takes no longer.
"""

from collections.abc import Iterator
from typing import Any

from sdnet.experiments.ablations.grid import Variant
from sdnet.experiments.attacks.settings import IMAGES
from sdnet.experiments.campaign.runs import Run, Scale, trained, training_of
from sdnet.experiments.claims.pursuits import MSDNET, layered, mixed_scale, pursuit
from sdnet.experiments.deep_pursuit import cost
from sdnet.experiments.deep_pursuit.measure import EPSILONS
from sdnet.training.declaration import Training

SEEDS = range(3)
WIDTH = 8
EPOCHS = 2
LONG = 6
"""Epochs of the two networks of M1, the cheapest."""
SHORT = 1
"""Epochs where the iterations of a pursuit or of a mixed-scale network are compared, which cost most."""
WIDER = 16
"""Width where the iterations of a pursuit are compared."""
FEWER = 500
"""Images of their attacks, which go through all iterations again and again."""
SOURCE = pursuit("ltp")
"""On it perturbations are crafted that are transferred."""
Served = tuple[tuple[str, Variant], ...]
FEED_FORWARD: Served = (
    ("11", SOURCE), ("D1 11", pursuit("ltp_res")), ("D1 11", pursuit("ltp_res", depth=3)),
    ("D1 11", pursuit("ltp", depth=3)), *(("11", pursuit(arch, depth=2)) for arch in ("ltp", "ltp_res")),
)  # fmt: skip
ITERATED: Served = (
    ("D2 D4 11", SOURCE), ("D2 11", pursuit("ltp_res")),
    ("D3 D4 D5 11", pursuit("dp", 8)), ("D2 D3 D4 D5 D6 11", pursuit("lbp", 8)), ("D2 D5 D6 11", pursuit("dp_res", 8)),
    ("D2 D6 11", pursuit("dp_res", 2)), ("D2 D3 11", pursuit("lbp", 2)), ("D3 11", pursuit("dp", 2)),
    ("D2 11", pursuit("dp_res", 4)), ("D2 11", pursuit("lbp", 4)), ("11", pursuit("dp", 4)),
)  # fmt: skip
PAIR: Served = (("M1 12", layered("res_csc")), ("M1 12", layered("res_csc_b")))
RESIDUAL: Served = (
    ("M2 12", layered("res_csc", 1, 4)), ("M2 12", layered("ml_csc", 1, 4)), ("M2 12", layered("res_csc_b", 1, 4)),
)  # fmt: skip
UNFOLDED: Served = (
    ("M4 12", MSDNET), ("M3 12", mixed_scale(1)), ("M5 12", layered("ml_csc", 4)), ("M3 M4 M5 12", mixed_scale(4)),
)  # fmt: skip
PLAIN: Served = tuple(("12", layered(arch, 1, depth)) for arch, depth in (
    ("ml_csc", 1), ("res_csc", 1), ("res_csc_b", 1), ("ml_csc", 2), ("res_csc", 2), ("res_csc_b", 2),
))  # fmt: skip
UNFOLDED_FIGURES: Served = (("12", layered("ml_csc", 1)), ("12", layered("ml_csc", 2)), ("12", mixed_scale(2)))
CURVES = (SOURCE, pursuit("lbp", 8), pursuit("dp", 8))
"""Networks of Fig. 7, with one seed."""


def family(size: Scale) -> Iterator[Run]:
    """Step 8: every network is trained and measured, all seeds of one before the next."""
    yield from _measured(size, PAIR, LONG)
    for served in (RESIDUAL, FEED_FORWARD):
        yield from _measured(size, served)
    yield from _measured(size, UNFOLDED, SHORT)
    yield from _measured(size, ITERATED, SHORT, WIDER, FEWER if size.preset == "quick" else None)
    yield from _measured(size, PLAIN)
    yield from _measured(size, UNFOLDED_FIGURES, SHORT)
    cells: dict[str, tuple[Any, ...]] = {"metric": ("pursuit_step_ratio",), "arch": cost.ARCHS, "case": cost.CASES}
    yield Run("bench pursuits", None, {}, cells, settings={"what": "pursuits"}, serves=frozenset(("11",)))
    for who in CURVES:
        run = _small(size, who, 0, "11", SHORT, WIDER)
        cells = {"metric": ("curve_top1",), "attack": ("", "fgsm")}
        yield Run("follow", run.training, {}, cells, IMAGES[size.preset], serves=frozenset(("11",)))


def _measured(
    size: Scale, served: Served, epochs: int = EPOCHS, width: int = WIDTH, images: int | None = None
) -> Iterator[Run]:
    for claims, who in served:
        for seed in SEEDS:
            run = _small(size, who, seed, claims, epochs, width)
            yield run
            source = None
            if claims.endswith("11") and who != SOURCE:
                source = training_of(_small(size, SOURCE, seed, claims, epochs, width))
            attacked = claims.endswith("11")
            yield pursued(training_of(run), images or size.noisy, claims, source, attacked=attacked)


def _small(size: Scale, who: Variant, seed: int, serves: str, epochs: int = EPOCHS, width: int = WIDTH) -> Run:
    """Its training; at the scale ``paper`` with the paper's recipe and full width."""
    small: dict[str, Any] = {"width": width, "epochs": epochs} if size.preset == "quick" else {}
    return trained(size, who.arch, (seed,), serves, **small, **who.network)[0]


def pursued(of: Training, images: int, serves: str, source: Training | None = None, *, attacked: bool = True) -> Run:
    """What is measured on a member of the family: attacks, of which some may be made on a source, and its codes.

    Args:
        images: under FGSM; PGD takes fewer.
    """
    options: dict[str, Any] = {"preset": of.preset, "attacked": False}
    settings: dict[str, Any] = {"attacked": attacked, "size": of.preset}
    cells: dict[str, tuple[Any, ...]] = {"metric": ("top1",)}
    if attacked:
        options = {"preset": of.preset, "images": images}
        settings["images"] = images
        protocols = ("white_box",) if source is None else ("white_box", "transfer")
        cells = {"metric": ("robust_top1",), "attack": ("fgsm", "pgd"), "protocol": protocols, "epsilon": EPSILONS}
    return Run(
        "pursuit", of, options, cells, min(images, IMAGES[of.preset]), settings, frozenset(serves.split()), source
    )
