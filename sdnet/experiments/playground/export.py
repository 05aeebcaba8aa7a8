"""Two trained networks as one JavaScript file: batch normalisations folded away, weights rounded, text in base64."""

import base64
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdnet.csc.layers import CSCConv2d
from sdnet.data.corruptions import SEVERITIES
from sdnet.experiments.playground import adversaries
from sdnet.experiments.playground.drawings import pictures
from sdnet.experiments.playground.lines import read_lines
from sdnet.models.resnet import BasicBlock, ResNet
from sdnet.results import networks

SDNET, RESNET = "sdnet18-w16-cifar10-s0", "resnet18-w16-cifar10-s0"
LAMS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
"""λ at which the page classifies many noise draws: every second value of Λ of Algorithm 1."""
DTYPES = {"float16": np.float16, "float32": np.float32}
PAGE = Path(__file__).parent / "page"
"""What is written by hand: HTML, style and scripts."""


class Weights:
    """All numbers of the networks, one after the other; each tensor is known by where it begins."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.count = 0

    def add(self, tensor: Tensor) -> int:
        """Append a tensor and return the place of its first number."""
        start = self.count
        self.parts.append(tensor.detach().float().numpy().ravel())
        self.count += tensor.numel()
        return start

    def text(self, dtype: str) -> str:
        """All numbers in base64, little-endian."""
        values = np.concatenate(self.parts).astype(np.dtype(DTYPES[dtype]).newbyteorder("<"))
        return _base64(values)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does in eval mode what a convolution and a batch normalisation do."""
    scale, shift = affine(norm)
    return conv.weight * scale.view(-1, 1, 1, 1), shift


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel of a batch normalisation in eval mode."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def describe(network: str, weights: Weights) -> dict[str, Any]:
    """What the page has to know to run a network; its numbers go to ``weights``.

    Raises:
        ValueError: for a network that the page cannot run: it knows residual networks with a CIFAR stem, shortcuts and
            either a plain first convolution or a non-negative CSC layer without ridge.
    """
    model = networks.load(network).model
    if not isinstance(model, ResNet):
        raise ValueError(f"the page knows residual networks only; {network} is a {type(model).__name__}.")
    return {
        "name": network,
        "mean": model.normalize.mean.flatten().tolist(),
        "std": model.normalize.std.flatten().tolist(),
        "stem": _stem(model.stem, network, weights),
        "blocks": [_block(block, network, weights) for block in model.modules() if isinstance(block, BasicBlock)],
        "head": {"weight": weights.add(model.head.weight), "bias": weights.add(model.head.bias)},
    }


def _stem(stem: nn.Sequential, network: str, weights: Weights) -> dict[str, Any]:
    first, norm, relu, pool = stem
    if not (isinstance(pool, nn.Identity) and isinstance(norm, nn.BatchNorm2d) and first.kernel_size == (3, 3)):
        raise ValueError(f"{network} has a stem that the playground cannot run; give one with 3×3 filters for CIFAR.")
    layer: dict[str, Any] = {"channels": first.out_channels, "relu": isinstance(relu, nn.ReLU)}
    if isinstance(first, nn.Conv2d):
        weight, bias = folded(first, norm)
        return layer | {"weight": weights.add(weight), "bias": weights.add(bias)}
    if not (isinstance(first, CSCConv2d) and first.nonnegative and first.ridge == 0 and first.method == "fista"):
        raise ValueError(f"{network} has a stem that the playground cannot run; its codes must be the paper's.")
    # The code must stay as it is, to be looked at: what follows it scales and shifts it.
    scale, shift = affine(norm)
    layer |= {"weight": weights.add(first.weight), "scale": weights.add(scale), "bias": weights.add(shift)}
    return layer | {"step": 1 / first.lipschitz.item(), "iterations": first.iterations, "lam": first.lam.item()}


def _block(block: BasicBlock, network: str, weights: Weights) -> dict[str, Any]:
    if not isinstance(block.conv1, nn.Conv2d) or block.shortcut is None or not isinstance(block.relu, nn.ReLU):
        raise ValueError(f"{network} has blocks that the playground cannot run; give a ResNet or SDNet with shortcuts.")
    pairs: dict[str, tuple[Any, Any]] = {"first": (block.conv1, block.bn1), "second": (block.conv2, block.bn2)}
    if isinstance(block.shortcut, nn.Sequential):
        pairs["shortcut"] = (block.shortcut[0], block.shortcut[1])
    return {name: _conv(conv, norm, weights) for name, (conv, norm) in pairs.items()}


def _conv(conv: nn.Conv2d, norm: nn.BatchNorm2d, weights: Weights) -> dict[str, int]:
    weight, bias = folded(conv, norm)
    offsets = {"weight": weights.add(weight), "bias": weights.add(bias)}
    return {**offsets, "channels": conv.out_channels, "kernel": conv.kernel_size[0], "stride": conv.stride[0]}


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


@torch.no_grad()
def data(dtype: str = "float16") -> dict[str, Any]:
    """All that the page needs, as JSON: networks, pictures, noise levels, and the lines of Algorithm 1.

    Args:
        dtype: ``"float16"`` (3.8 MB) or ``"float32"`` (7.6 MB), the type that weights are rounded to.
    """
    weights = Weights()
    described = {"sdnet": describe(SDNET, weights), "resnet": describe(RESNET, weights)}
    shown = [{"label": one.label, "credit": one.credit, "pixels": _base64(one.pixels.numpy())} for one in pictures()]
    return {
        "classes": networks.load(SDNET).classes,
        "networks": described,
        "pictures": shown,
        "severities": SEVERITIES["cifar"],
        "lams": LAMS,
        "lines": {name: asdict(policy) for name, policy in read_lines(SDNET).items()},
        "dtype": dtype,
        "weights": weights.text(dtype),
    }


def write(folder: Path, dtype: str = "float16") -> Path:
    """Write the whole page into a folder; its ``index.html`` opens from disk, without a server or a network.

    Returns:
        The path of ``index.html``.
    """
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    for name, constant, value in (
        ("data.js", "PLAYGROUND", data(dtype)),
        ("attacks.js", "ATTACKS", adversaries.data(SDNET, RESNET)),
    ):
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        (folder / name).write_text(f"const {constant} = {text};\n", encoding="utf-8")
    return folder / "index.html"
