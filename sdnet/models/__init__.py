"""Networks by name: ``sdnet.models.build("sdnet18", num_classes=10)``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

from torch import nn

from sdnet.csc.layers import CSCConv2d
from sdnet.models.classifier import Classifier
from sdnet.models.mdeq import MDEQ
from sdnet.models.mixed_scale import MSDCSC, MSDNet
from sdnet.models.multilayer import MultiLayer
from sdnet.models.pursuit import PursuitNet
from sdnet.models.resnet import STEMS, Conv, ResNet
from sdnet.models.scn import SCN, PatchCoding2d
from sdnet.names import unknown_name
from sdnet.parameters import NETWORK, CodingOptions, Count, NetworkOptions, SolverOptions, check, kinds


@dataclass(frozen=True)
class Architecture:
    """What a name of the registry stands for.

    Attributes:
        label: the name the paper's tables print.
        depths: blocks in each stage of a residual network; empty for the others.
        csc: which convolutions are CSC layers: ``"none"``, ``"first"`` (SDNet, Sec. 4) or ``"all"`` (SDNet-All,
            Sec. 4.4: every 3×3 convolution; the 1×1 convolutions of the shortcuts stay ordinary, as in the authors'
            code).
        patches: whether the stem codes patches, as SCN's layers do. The paper says no more of its SCN-18; here λ is
            learned from 0.1 on (SDNet's) at :data:`LAM_RATE`, and what follows the stem is as in SDNet: batch
            normalisation, no ReLU.
        body: builds a network that is no residual network; it takes the number of classes, the width, and the options
            named in ``options``.
        options: beside the width, what :func:`build` accepts for it.
    """

    label: str
    depths: tuple[int, ...] = ()
    csc: str = "none"
    patches: bool = False
    body: Callable[..., Classifier] | None = None
    options: tuple[str, ...] = ()


CODING = tuple(kinds(CodingOptions))
CSC_OPTIONS = (*CODING, *kinds(SolverOptions))
RESIDUAL = ("atoms", "kernel", "shortcut", "stem_relu", "block_relu")
ALL_OPTIONS = (*RESIDUAL, "csc_shortcut", "csc_pool", *CSC_OPTIONS)
PURSUIT = ("depth", "iterations", "lam", "beta")
MULTILAYER = ("depth", "iterations", "method", "lam")
STEPS = 4
"""Iterations of a pursuit or multi-layer code by default."""
DEEP: dict[str, Any] = {"schedule": "deep", "iterations": STEPS, "extrapolation": 0.5}
LAM_RATE = 1 / 256
"""Of SCN-18's λ: one over the square root of the number of entries (64 × 32 × 32) that share it, as Esser et al. (2020)
scale the gradient of a learned step size. At the full rate all codes are zero after twenty steps of training."""
D18, D34 = (2, 2, 2, 2), (3, 4, 6, 3)

ARCHITECTURES = {
    "resnet18": Architecture("ResNet-18", D18, options=RESIDUAL),
    "resnet34": Architecture("ResNet-34", D34, options=RESIDUAL),
    "sdnet18": Architecture("SDNet-18", D18, "first", options=(*RESIDUAL, *CSC_OPTIONS)),
    "sdnet34": Architecture("SDNet-34", D34, "first", options=(*RESIDUAL, *CSC_OPTIONS)),
    "sdnet18_all": Architecture("SDNet-18-All", D18, "all", options=ALL_OPTIONS),
    "sdnet34_all": Architecture("SDNet-34-All", D34, "all", options=ALL_OPTIONS),
    "mdeq": Architecture("MDEQ", body=MDEQ, options=("iterations",)),
    "scn": Architecture("SCN", body=SCN, options=CODING),
    "scn18": Architecture("SCN-18", D18, patches=True, options=(*RESIDUAL, *CODING)),
    "ltp": Architecture("L-TP", body=PursuitNet, options=("depth", "lam")),
    "ltp_res": Architecture("L-TP-res", body=partial(PursuitNet, skips=True), options=("depth", "lam")),
    "lbp": Architecture("L-BP", body=partial(PursuitNet, iterations=STEPS), options=PURSUIT),
    "dp": Architecture("DP", body=partial(PursuitNet, **DEEP), options=(*PURSUIT, "extrapolation")),
    "dp_res": Architecture("DP-res", body=partial(PursuitNet, skips=True, **DEEP), options=(*PURSUIT, "extrapolation")),
    "ml_csc": Architecture("ML-CSC", body=partial(MultiLayer, iterations=STEPS), options=MULTILAYER),
    "res_csc": Architecture(
        "Res-CSC", body=partial(MultiLayer, start="residual", iterations=STEPS), options=MULTILAYER
    ),
    "res_csc_b": Architecture(
        "Res-CSC (B)", body=partial(MultiLayer, start="shortcut", iterations=STEPS), options=MULTILAYER
    ),
    "msdnet": Architecture("MSDNet", body=MSDNet, options=("depth", "dilations")),
    "msd_csc": Architecture("MSD-CSC", body=partial(MSDCSC, iterations=STEPS), options=(*PURSUIT, "dilations")),
}


def names() -> list[str]:
    """The architectures that :func:`build` knows."""
    return list(ARCHITECTURES)


def stems(arch: str) -> tuple[str, ...]:
    """The stems that an architecture has: the networks that are no residual networks are for small images only."""
    return STEMS if ARCHITECTURES[arch].depths else STEMS[:1]


def build(
    arch: str, num_classes: int = 10, *, width: int = 64, stem: str = "cifar", **given: Unpack[NetworkOptions]
) -> Classifier:
    """Build an untrained network; pixels in [0, 1] in, class scores out.

    ResNet and SDNet of one depth have identical parameter counts: 11,173,962 (18 layers, 10 classes),
    21,282,122 (34 layers). SCN-18 has one more, its λ; SCN has 694,216 and MDEQ 11,098,398.

    Args:
        arch: a name from :func:`names`.
        num_classes: number of classes, >= 1.
        width: channels of the first stage, 64 in the paper; for all networks 64 is the full size.
        stem: ``"cifar"`` (3×3) or ``"imagenet"`` (7×7, stride 2, max-pooling).
        **given: options of the architecture (:data:`ARCHITECTURES`); None means the default. Of residual networks:
            ``atoms`` (channels of the stem, 64 whatever the width), ``kernel`` (side of the stem's filters, odd),
            ``shortcut`` (residual connections; the paper's SDNet-All is shown with and without), ``stem_relu`` (ReLU
            after the stem's batch normalisation: by default for ResNet only; the paper retains "all other layers", but
            the authors' code leaves this one out), ``block_relu`` (ReLU between the two convolutions of a block: by
            default for all but SDNet-All, whose codes are non-negative already and which has none in the authors'
            code). Of an SDNet-All: ``csc_shortcut`` (make the 1×1 convolutions of its
            shortcuts CSC layers too, as "all convolution layers" would have it and an early version of the authors'
            code did), ``csc_pool`` (a CSC layer of stride 2 instead of the ImageNet stem's max-pooling, as in the
            authors' code). Of networks with CSC layers: ``lam``, ``iterations``, ``method``, ... (see
            :class:`CSCConv2d`). Of SCN and SCN-18: ``lam`` (to begin with) and ``iterations``. Of MDEQ: ``iterations``
            of its solver. Of the pursuits and the multi-layer codes: ``depth`` and, where they iterate, ``iterations``,
            ``lam`` and ``beta`` (to begin with), and ``extrapolation``, ``method`` or ``dilations``.

    Raises:
        ValueError: for an unknown name, a number out of its range, or an option that the architecture does not have.
    """
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _check(arch, stem, {"num_classes": num_classes, "width": width, "atoms": options.get("atoms", 1)}, options)
    architecture = ARCHITECTURES[arch]
    if architecture.body is not None:
        return architecture.body(num_classes, width=width, **options)
    residual = {name: options.pop(name) for name in RESIDUAL if name in options}
    csc_shortcut, csc_pool = options.pop("csc_shortcut", False), options.pop("csc_pool", False)
    sparse = architecture.csc != "none" or architecture.patches
    first: Conv = partial(CSCConv2d, **options) if sparse else nn.Conv2d
    if architecture.patches:
        first = partial(PatchCoding2d, **{"lam": 0.1, "lam_rate": LAM_RATE, **options})
    return ResNet(
        architecture.depths,
        num_classes,
        width=width,
        stem=stem,
        first=first,
        conv=first if architecture.csc == "all" else nn.Conv2d,
        shortcut_conv=first if csc_shortcut else nn.Conv2d,
        pool=first if csc_pool else None,
        **{"stem_relu": not sparse, "block_relu": architecture.csc != "all", **residual},
    )


def _check(arch: str, stem: str, numbers: dict[str, object], options: dict[str, Any]) -> None:
    if arch not in ARCHITECTURES:
        raise ValueError(unknown_name("arch", arch, names()))
    for name, number in numbers.items():
        check(name, number, Count)
    if stem not in STEMS:
        raise ValueError(unknown_name("stem", stem, STEMS))
    if stem not in stems(arch):
        raise ValueError(f"{arch} is a network for small images; it has no stem {stem!r}.")
    known = ARCHITECTURES[arch].options
    for name in options:
        if name not in known:
            raise ValueError(f"{arch} has no option {name!r}. It has: {', '.join(known)}.")
    kernel = options.get("kernel", 1)
    if not (isinstance(kernel, int) and not isinstance(kernel, bool) and 0 < kernel < 1000 and kernel % 2):
        raise ValueError(f"kernel must be a positive odd integer < 1,000; got {kernel!r}.")
    for name, value in options.items():
        check(name, value, NETWORK[name])
    if options.get("csc_shortcut") and options.get("shortcut") is False:
        raise ValueError("csc_shortcut needs shortcuts; choose shortcut=True.")
    if options.get("csc_pool") and stem == "cifar":
        raise ValueError("csc_pool replaces max-pooling, which the stem 'cifar' does not have; choose stem='imagenet'.")


def parameter_count(model: nn.Module) -> int:
    """Number of learned values, the "Model Size" of Table 1."""
    return sum(parameter.numel() for parameter in model.parameters())
