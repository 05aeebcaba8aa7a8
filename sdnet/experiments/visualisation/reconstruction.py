"""What every depth of a network still knows of an image: decoded, inverted, and both with random weights (C11)."""

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from sdnet.csc.layers import CSCConv2d
from sdnet.data.batches import to_pixels
from sdnet.decoding.decode import (
    background,
    check_decodable,
    codes,
    decode,
    density,
    is_decodable,
    layer_at,
    layers,
    relative_residual,
    residual_network,
)
from sdnet.decoding.inversion import Search, invert, mismatch
from sdnet.decoding.likeness import colour_corrected, contrast, psnr, ssim
from sdnet.experiments.corruptions.sweep import mean_interval, subset
from sdnet.models.resnet import ResNet
from sdnet.names import unknown_name
from sdnet.results.evaluation import prepare
from sdnet.results.ledger import Record
from sdnet.training.loop import exact_float32

METHODS = ("decode", "decode_centred", "inversion")
"""Decoding, decoding without what is the same for every image, and feature inversion."""
IMAGES = {"paper": 256, "quick": 32, "smoke": 4}
"""Size of a run → number of test images."""
STEPS = {"paper": 400, "quick": 200, "smoke": 10}
"""Size of a run → steps of a feature inversion."""
CALIBRATION = 512
"""Training images for the average of ``"decode_centred"`` and for the batch normalisations of random networks."""
BATCH = 64


def random_twin(model: ResNet, pixels: Tensor, seed: int = 0) -> ResNet:
    """The same network with freshly drawn weights: what the architecture alone can do.

    Its batch normalisations take their statistics from ``pixels`` (N, 3, H, W). Without that, hardly any signal would
    pass the thresholds of random CSC layers, and the control would be too easy to beat.
    """
    torch_device = next(model.parameters()).device
    twin = deepcopy(model).cpu()  # the same numbers wherever it runs
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for module in twin.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    norms = [module for module in twin.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # an average over all batches
    twin.to(torch_device).train()
    with torch.no_grad():
        for batch in pixels.split(BATCH):
            twin(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return twin.eval()


def default_depths(model: ResNet, method: str) -> list[str]:
    """Where a method is measured unless told: decoding at every depth, the costly inversion at the stem and at the
    end of every block."""
    names = [layer.name for layer in layers(model)]
    return names if method != "inversion" else [name for name in names if not name.endswith("conv1")]


def views(
    model: ResNet,
    pixels: Tensor,
    method: str,
    depths: Sequence[str] | None = None,
    *,
    search: Search | None = None,
    others: Tensor | None = None,
) -> dict[str, Tensor]:
    """Depth → the images (N, 3, H, W) that a method makes of what that depth knows of ``pixels`` (N, 3, H, W).

    Args:
        method: ``"decode"``; ``"decode_centred"``, minus the average over ``others`` and around grey; ``"inversion"``.
        depths: names of :func:`sdnet.decoding.decode.depths`; by default those of :func:`default_depths`.
        search: how an inversion searches.
        others: images (N', 3, H, W), such as of the training split, for ``"decode_centred"``.

    Raises:
        ValueError: for a method or depth that does not exist, or a network that cannot be decoded.
    """
    if method not in METHODS:
        raise ValueError(unknown_name("method", method, METHODS))
    chosen = [layer_at(model, name) for name in depths or default_depths(model, method)]
    size = pixels.shape[2:]
    if method != "inversion":
        found = codes(model, pixels)
        shown = {layer.name: decode(model, found[layer.name], layer.name, size) for layer in chosen}
        if method == "decode":
            return shown
        if others is None or others.shape[2:] != size:
            raise ValueError(f"decode_centred needs other images of size {tuple(size)} to take the average over.")
        same = background(model, others)
        return {depth: 0.5 + image - same[depth] for depth, image in shown.items()}
    shown = {}
    for layer in tqdm(chosen, unit="depth", disable=None):
        with torch.no_grad():
            target = layer.to_output(pixels)
        shown[layer.name] = invert(layer.to_output, target, size, search).images
    return shown


def likeness_cells(shown: Tensor, pixels: Tensor, **where: Any) -> list[dict[str, Any]]:
    """Ledger cells: PSNR and SSIM of ``shown`` against ``pixels``, as it is and with its colours corrected; and its
    contrast from image to image."""
    corrected = colour_corrected(shown, pixels)
    values = {
        "psnr": psnr(shown, pixels),
        "ssim": ssim(shown, pixels),
        "psnr_affine": psnr(corrected, pixels),
        "ssim_affine": ssim(corrected, pixels),
    }
    cells = [{"metric": metric, **where, **mean_interval(by_image)} for metric, by_image in values.items()]
    return [*cells, {"metric": "contrast", **where, "value": contrast(shown, pixels), "n": len(pixels)}]


def measure(
    model: ResNet,
    pixels: Tensor,
    methods: Sequence[str],
    weights_are: str,
    depths: Sequence[str] | None = None,
    *,
    search: Search | None = None,
    others: Tensor | None = None,
) -> list[dict[str, Any]]:
    """Ledger cells of one network: likeness per method and depth, how well the inversions' features match, and of
    every layer the density of its code and, if it is a CSC layer, λ and the share of its input left unexplained.

    Args:
        weights_are: ``"trained"`` or ``"random"``, as the cells say it.
        depths, search, others: as for :func:`views`.
    """
    number = {layer.name: index for index, layer in enumerate(layers(model), start=1)}
    batches = pixels.split(BATCH)
    cells = []
    for method in methods:
        parts = [views(model, batch, method, depths, search=search, others=others) for batch in batches]
        for depth in parts[0]:
            shown = torch.cat([part[depth] for part in parts])
            where = {"method": method, "weights_are": weights_are, "depth": depth, "layer": number[depth]}
            cells += likeness_cells(shown, pixels, **where)
            if method == "inversion":
                cells.append({"metric": "mismatch", **where, **mean_interval(_mismatch(model, depth, shown, pixels))})
    for layer in layers(model):
        where = {"method": "", "weights_are": weights_are, "depth": layer.name, "layer": number[layer.name]}
        values = torch.cat([density(layer, batch) for batch in batches]).cpu().double().numpy()
        cells.append({"metric": "density", **where, **mean_interval(np.asarray(values))})
        if isinstance(layer.conv, CSCConv2d):
            values = torch.cat([relative_residual(layer, batch) for batch in batches]).cpu().double().numpy()
            cells.append({"metric": "residual", **where, **mean_interval(np.asarray(values))})
            cells.append({"metric": "lam", **where, "value": layer.conv.lam.mean().item(), "n": 1})
    return cells


@torch.no_grad()
def _mismatch(model: ResNet, depth: str, shown: Tensor, pixels: Tensor) -> NDArray[np.float64]:
    part = layer_at(model, depth).to_output
    pairs = zip(shown.split(BATCH), pixels.split(BATCH), strict=True)
    return torch.cat([mismatch(part(ours), part(theirs)) for ours, theirs in pairs]).cpu().double().numpy()


@exact_float32()
def run(
    network: str | os.PathLike[str],
    *,
    preset: str = "paper",
    images: int | None = None,
    methods: Sequence[str] | None = None,
    depths: Sequence[str] | None = None,
    steps: int | None = None,
    seed: int = 0,
    data_root: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> tuple[Record, Path]:
    """Decode and invert the features of test images, with the trained and with random weights; write a ledger row.

    Args:
        network: a name of :func:`sdnet.results.networks.names`, or a path.
        preset: ``"paper"`` (256 images, 400 steps), ``"quick"`` (32, 200) or ``"smoke"`` (4, 10).
        images: another number of test images, drawn at random; at least 2, since the cells have intervals.
        methods: of :data:`METHODS`; by default inversion, and decoding if the network can be decoded.
        depths: names of :func:`sdnet.decoding.decode.depths`; by default those of :func:`default_depths`.
        steps: another number of steps of an inversion.
        seed: of the random weights and of the inversions' first image.

    Raises:
        ValueError: for anything that does not exist, before a network is run.
    """
    count, search = _sizes(preset, images, steps, seed)
    for method in methods or ():
        if method not in METHODS:
            raise ValueError(unknown_name("method", method, METHODS))
    evaluation = prepare(network, data_root=data_root, device=device, precision="fp32")
    model = residual_network(evaluation.model)
    if methods and set(methods) != {"inversion"}:
        check_decodable(model)
    methods = tuple(methods or (METHODS if is_decodable(model) else ("inversion",)))
    if steps is not None and "inversion" not in methods:
        raise ValueError(f"steps {steps} have no effect on {', '.join(methods)}; leave them out, or invert too.")
    for depth in depths or ():
        layer_at(model, depth)
    data = evaluation.data
    pixels = to_pixels(subset(data.test, count).to(evaluation.device).images)
    calibration = to_pixels(subset(data.train, CALIBRATION).to(evaluation.device).images)
    networks = {"trained": model, "random": random_twin(model, calibration, seed)}
    results = [
        cell
        for weights_are, weighed in networks.items()
        for cell in measure(weighed, pixels, methods, weights_are, depths, search=search, others=calibration)
    ]
    colour = pixels.mean((2, 3), keepdim=True).expand_as(pixels)
    results += likeness_cells(colour, pixels, method="one colour", weights_are="none", depth="", layer=0)
    searched = {f"inversion_{name}": value for name, value in asdict(search).items()}
    asked = {"methods": list(methods), "depths": None if depths is None else list(depths)}
    return evaluation.record("visual", results, images=len(pixels), **asked, **searched)


def _sizes(preset: str, images: int | None, steps: int | None, seed: int) -> tuple[int, Search]:
    if preset not in IMAGES:
        raise ValueError(unknown_name("preset", preset, IMAGES))
    if images is not None and images < 2:
        raise ValueError(f"images must be at least 2, since an interval needs two; got {images}.")
    return images or IMAGES[preset], Search(steps=STEPS[preset] if steps is None else steps, seed=seed)
