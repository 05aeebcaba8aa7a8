"""Networks by name: ``sdnet.models.build("sdnet18", num_classes=10)``."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from sdnet.layers import CSCConv2d
from sdnet.models.resnet import STEMS, ResNet
from sdnet.names import unknown_name


@dataclass(frozen=True)
class Architecture:
    """What a name of the registry stands for.

    ``label`` is the name the paper's tables print; ``csc`` says which convolutions are CSC layers:
    ``"none"``, ``"first"`` (SDNet, Sec. 4) or ``"all"`` (SDNet-All, Sec. 4.4: every 3×3 convolution; the
    1×1 convolutions of the shortcuts stay ordinary, as in the authors' code).
    """

    label: str
    depths: tuple[int, int, int, int]
    csc: str


ARCHITECTURES = {
    "resnet18": Architecture("ResNet-18", (2, 2, 2, 2), "none"),
    "resnet34": Architecture("ResNet-34", (3, 4, 6, 3), "none"),
    "sdnet18": Architecture("SDNet-18", (2, 2, 2, 2), "first"),
    "sdnet34": Architecture("SDNet-34", (3, 4, 6, 3), "first"),
    "sdnet18_all": Architecture("SDNet-18-All", (2, 2, 2, 2), "all"),
    "sdnet34_all": Architecture("SDNet-34-All", (3, 4, 6, 3), "all"),
}


def names() -> list[str]:
    """The architectures that :func:`build` knows."""
    return list(ARCHITECTURES)


def build(
    arch: str,
    num_classes: int = 10,
    *,
    width: int = 64,
    atoms: int = 64,
    stem: str = "cifar",
    kernel: int | None = None,
    shortcut: bool = True,
    csc_shortcut: bool = False,
    stem_relu: bool | None = None,
    **csc: Any,
) -> ResNet:
    """Build an untrained network; pixels in [0, 1] in, class scores out.

    ResNet and SDNet of one depth have identical parameter counts: 11,173,962 (18 layers, 10 classes),
    21,282,122 (34 layers).

    Args:
        arch: a name from :func:`names`.
        num_classes: number of classes, >= 1.
        width: channels of the first stage, 64 in the paper.
        atoms: channels of the stem, 64 in the paper, whatever the width.
        stem: ``"cifar"`` (3×3) or ``"imagenet"`` (7×7, stride 2, max-pooling).
        kernel: side of the stem's filters, an odd number; None for the stem's own.
        shortcut: residual connections; the paper's SDNet-All is shown with and without.
        csc_shortcut: make the 1×1 convolutions of the shortcuts CSC layers, too, as "all convolution layers" would
            have it and an early version of the authors' code did. For an SDNet-All with shortcuts.
        stem_relu: ReLU after the stem's batch normalisation. By default True for ResNet and False for
            SDNet: the paper retains "all other layers", but the authors' code leaves this ReLU out.
        **csc: options of the CSC layers: ``lam``, ``iterations``, ``method``, ... (see :class:`CSCConv2d`).

    Raises:
        ValueError: for an unknown name or a number out of its range.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(unknown_name("arch", arch, names()))
    for name, number in [("num_classes", num_classes), ("width", width), ("atoms", atoms)]:
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a positive integer; got {number!r}.")
    if stem not in STEMS:
        raise ValueError(unknown_name("stem", stem, STEMS))
    if kernel is not None and not (isinstance(kernel, int) and kernel > 0 and kernel % 2):
        raise ValueError(f"kernel must be a positive odd integer, or None; got {kernel!r}.")
    architecture = ARCHITECTURES[arch]
    if csc_shortcut and not (architecture.csc == "all" and shortcut):
        raise ValueError(f"csc_shortcut is for an sdnet..._all with shortcut=True; got {arch}, shortcut={shortcut}.")
    sparse = architecture.csc != "none"
    if csc and not sparse:
        raise ValueError(f"{', '.join(csc)} belong to CSC layers; {arch} has none. Choose an sdnet or leave them out.")
    layer = partial(CSCConv2d, **csc)
    return ResNet(
        architecture.depths,
        num_classes,
        width=width,
        atoms=atoms,
        stem=stem,
        kernel=kernel,
        first=layer if sparse else nn.Conv2d,
        conv=layer if architecture.csc == "all" else nn.Conv2d,
        stem_relu=not sparse if stem_relu is None else stem_relu,
        block_relu=architecture.csc != "all",
        shortcut=shortcut,
        shortcut_conv=layer if csc_shortcut else nn.Conv2d,
    )


def parameter_count(model: nn.Module) -> int:
    """Number of learned values, the "Model Size" of Table 1."""
    return sum(parameter.numel() for parameter in model.parameters())
