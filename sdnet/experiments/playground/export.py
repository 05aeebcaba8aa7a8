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
from sdnet.experiments.playground.drawings import pictures
from sdnet.experiments.playground.lines import read_lines
from sdnet.models.resnet import BasicBlock
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
        return base64.b64encode(values.tobytes()).decode()


def folded(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that a convolution and the batch normalisation after it are in eval mode."""
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    scale, shift = _affine(norm)
    return conv.weight * scale.view(-1, 1, 1, 1), shift


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel of a batch normalisation in eval mode."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def describe(network: str, weights: Weights) -> dict[str, Any]:
    """What the page has to know to run a network; its numbers go to ``weights``.

    Raises:
        ValueError: for a network that the page cannot run: it knows residual networks with a CIFAR stem, shortcuts and
            either a plain first convolution or a non-negative CSC layer without ridge.
    """
    trained = networks.load(network)
    model = trained.model
    first, norm, relu, pool = model.stem
    csc = isinstance(first, CSCConv2d)
    plain = isinstance(pool, nn.Identity) and isinstance(norm, nn.BatchNorm2d) and first.kernel_size == (3, 3)
    if not plain or (csc and not (first.nonnegative and first.ridge == 0 and first.method == "fista")):
        raise ValueError(f"the playground cannot run the stem of {network}; give an sdnet18 or resnet18 for CIFAR.")
    stem: dict[str, Any] = {"channels": first.out_channels, "relu": isinstance(relu, nn.ReLU)}
    if csc:
        scale, shift = _affine(norm)
        # The code must stay as it is, to be looked at: what follows it scales and shifts it.
        stem |= {"weight": weights.add(first.weight), "scale": weights.add(scale), "bias": weights.add(shift)}
        stem |= {"step": 1 / first.lipschitz.item(), "iterations": first.iterations, "lam": first.lam.item()}
    else:
        weight, bias = folded(first, norm)
        stem |= {"weight": weights.add(weight), "bias": weights.add(bias)}
    return {
        "name": network,
        "mean": model.normalize.mean.flatten().tolist(),
        "std": model.normalize.std.flatten().tolist(),
        "stem": stem,
        "blocks": [_block(block, network, weights) for stage in model.stages for block in stage],
        "head": {"weight": weights.add(model.head.weight), "bias": weights.add(model.head.bias)},
    }


def _block(block: BasicBlock, network: str, weights: Weights) -> dict[str, Any]:
    if block.shortcut is None or not isinstance(block.conv1, nn.Conv2d) or not isinstance(block.relu, nn.ReLU):
        raise ValueError(f"the playground cannot run the blocks of {network}; give an sdnet18 or resnet18.")
    pairs = {"first": (block.conv1, block.bn1), "second": (block.conv2, block.bn2)}
    if isinstance(block.shortcut, nn.Sequential):
        pairs["shortcut"] = (block.shortcut[0], block.shortcut[1])
    return {name: _conv(conv, norm, weights) for name, (conv, norm) in pairs.items()}


def _conv(conv: nn.Module, norm: nn.Module, weights: Weights) -> dict[str, int]:
    assert isinstance(conv, nn.Conv2d)
    weight, bias = folded(conv, norm)
    places = {"weight": weights.add(weight), "bias": weights.add(bias)}
    return {**places, "channels": conv.out_channels, "kernel": conv.kernel_size[0], "stride": conv.stride[0]}


@torch.no_grad()
def data(dtype: str = "float16") -> dict[str, Any]:
    """All that the page needs, as JSON: networks, pictures, noise levels, and the lines of Algorithm 1.

    Args:
        dtype: ``"float16"`` (3.8 MB) or ``"float32"`` (7.6 MB), the type that weights are rounded to.
    """
    weights = Weights()
    described = {"sdnet": describe(SDNET, weights), "resnet": describe(RESNET, weights)}
    shown = [
        {"label": picture.label, "credit": picture.credit, "pixels": base64.b64encode(picture.pixels.numpy().tobytes()).decode()}
        for picture in pictures()
    ]
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
    text = json.dumps(data(dtype), ensure_ascii=False, separators=(",", ":"))
    (folder / "data.js").write_text(f"const PLAYGROUND = {text};\n", encoding="utf-8")
    return folder / "index.html"
