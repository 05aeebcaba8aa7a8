"""What a network is made of, found by running it without numbers: its layers in order, their sizes, its arithmetic."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sdnet.csc.layers import CSCConv2d
from sdnet.models import build, parameter_count
from sdnet.models.mdeq import Cell
from sdnet.models.scn import PatchCoding2d
from sdnet.parameters import NetworkOptions

KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "CSC layer": (CSCConv2d,),
    "patch coding layer": (PatchCoding2d,),
    "equilibrium cell": (Cell,),
    "convolution": (nn.Conv2d,),
}


@dataclass
class Part:
    """One layer: what it is, the channels and the side of what it puts out (of each resolution), how often it runs."""

    kind: str
    outputs: tuple[tuple[int, int], ...]
    calls: int = 1


@dataclass(frozen=True)
class Anatomy:
    """A network's layers in the order of the forward pass, shortcuts left out; its parameters; FLOPs per image."""

    parts: tuple[Part, ...]
    parameters: int
    flops: int


def anatomy(
    arch: str, *, num_classes: int = 10, width: int = 64, size: int = 32, **options: Unpack[NetworkOptions]
) -> Anatomy:
    """Take a network apart.

    FLOPs are those of one forward pass over one image in matrix products and convolutions, two for a multiplication
    with an addition. What PyTorch's counter leaves out: all that works entry by entry (normalisation, ReLU, FISTA's
    momentum), and the 5×5 systems of Anderson's method. What a batch needs once, the largest eigenvalues of SCN's Gram
    matrices, is left out too: one image is counted as what a second one adds.

    Args:
        arch, num_classes, width, **options: as for :func:`sdnet.models.build`.
        size: side of the image in pixels.
    """
    with torch.device("meta"):
        model = build(arch, num_classes, width=width, **options).eval()
        image = torch.empty(1, 3, size, size)
    parts: dict[str, Part] = {}
    inside = ""
    for name, module in model.named_modules():
        kind = next((kind for kind, types in KINDS.items() if isinstance(module, types)), None)
        if kind is None or ".shortcut" in name or (inside and name.startswith(inside)):
            continue
        inside = f"{name}." if isinstance(module, Cell) else inside
        module.register_forward_hook(partial(_note, parts, name, kind))
    one = _flops(model, image)
    found = tuple(replace(part) for part in parts.values())  # as the first pass left them
    return Anatomy(found, parameter_count(model), _flops(model, torch.cat([image, image])) - one)


@torch.no_grad()
def _flops(model: nn.Module, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        model(images)
    return int(counter.get_total_flops())


def _note(parts: dict[str, Part], name: str, kind: str, module: nn.Module, given: object, out: Any) -> None:
    if name in parts:
        parts[name].calls += 1
        return
    outputs: list[Tensor] = [out] if isinstance(out, Tensor) else out
    parts[name] = Part(kind, tuple((tensor.shape[1], tensor.shape[2]) for tensor in outputs))
