"""MDEQ, the multiscale deep equilibrium network (Bai, Koltun and Kolter, NeurIPS 2020): a rival of Table 1.

One cell f works on four resolutions at once, and its output is what it leaves unchanged: z = f(z, x). Here the fixed
point is sought by Anderson acceleration and differentiated by the phantom gradient (Geng et al., NeurIPS 2021), both a
few lines. The library of the field, torchdeq, has both, but has not been changed since October 2023.

Two recipes for CIFAR-10 are published with this architecture. The original's (93.8 % in the paper's Table 1): Adam,
learning rate 1e-3 along a cosine, no weight decay, 220 epochs of batches of 128; in the first 20,000 steps ten unrolled
cells, then 18 steps of Broyden's method to the fixed point and 20 for the implicit gradient; variational dropout 0.3.
torchdeq's (95.0 %): SGD, learning rate 0.1 along a cosine, momentum 0.9, weight decay 1e-4, 220 epochs; 18 steps of
Broyden's method and a phantom gradient of 5 steps with damping 0.7; no dropout, nothing unrolled. The second is kept
to here, except for what all networks are trained with: this project's weight decay, and Nesterov's momentum.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from sdnet.csc.gradients import first_only
from sdnet.models.classifier import Classifier
from sdnet.runtime import is_traced, no_autocast

States = list[Tensor]
EXPANSION = 5
"""Channels inside a residual block of the cell, as a multiple of its own."""
PHANTOM_STEPS, DAMPING = 5, 0.7
"""Of the phantom gradient."""


def anderson(cell: Callable[[Tensor], Tensor], start: Tensor, evaluations: int, history: int = 5) -> Tensor:
    """Approach z = cell(z) from ``start`` (N, D) by Anderson acceleration, each of the N rows for itself.

    The next point is that mixture of the last ``history`` images whose residual is smallest. The number of evaluations
    is fixed, so that what becomes of one row depends on no other.

    Returns:
        Of all images cell(z) that with the smallest residual: the cell of an untrained network may have no fixed point
        that attracts.
    """
    best = image = cell(start)
    images, residuals = [image], [image - start]
    least = residuals[0].norm(dim=1, keepdim=True)
    for _ in range(evaluations - 1):
        mapped, remaining = torch.stack(images, 1), torch.stack(residuals, 1)
        point = _mixture(mapped, remaining)
        image = cell(point)
        images, residuals = [*images, image][-history:], [*residuals, image - point][-history:]
        left = residuals[-1].norm(dim=1, keepdim=True)
        best, least = torch.where(left < least, image, best), torch.minimum(left, least)
    return best


def _mixture(images: Tensor, residuals: Tensor) -> Tensor:
    """That affine mixture (N, D) of images (N, H, D) for which the mixture of their residuals is smallest.

    In float32 at least, whatever the autocast: in bfloat16 the little of the identity vanishes beside 1.
    """
    exact = torch.promote_types(images.dtype, torch.float32)
    with no_autocast(images.device):
        residuals = residuals.to(exact)
        products = residuals @ residuals.mT
        scale = products.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(exact).tiny)
        # A little of the identity: near the fixed point the residuals become parallel.
        identity = torch.eye(products.shape[1], dtype=exact, device=products.device)
        products = products / scale[:, None, None] + 1e-6 * identity
        # To be told of an error would be to wait for the device.
        weights, _ = torch.linalg.solve_ex(products, torch.ones_like(products[..., :1]))
        mixed = (weights / weights.sum(1, keepdim=True)).mT @ images.to(exact)
    return mixed.squeeze(1).to(images.dtype)


def phantom(cell: Callable[[Tensor], Tensor], fixed_point: Tensor) -> Tensor:
    """A few damped steps z ← (1 − τ) z + τ cell(z) from a fixed point, which leave it there and carry its gradient."""
    state = fixed_point
    for _ in range(PHANTOM_STEPS):
        state = torch.lerp(state, cell(state), DAMPING)
    if state.requires_grad and not is_traced():
        state.register_hook(first_only)  # the fixed point moves with all inputs, of which autograd does not know
    return state


def _norm(channels: int, groups: int = 8) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(groups, channels), channels)


def _conv(into: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
    nn.init.normal_(conv.weight, std=0.01)
    return conv


class _Block(nn.Module):
    """Residual block of one resolution; the image enters between the second convolution and its normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = EXPANSION * channels
        self.conv1, self.norm1 = weight_norm(_conv(channels, inner)), _norm(inner)
        self.conv2, self.norm2 = weight_norm(_conv(inner, channels)), _norm(channels)
        self.norm3 = _norm(channels)

    def forward(self, state: Tensor, injection: Tensor | None) -> Tensor:
        out = self.conv2(torch.relu(self.norm1(self.conv1(state))))
        out = self.norm2(out if injection is None else out + injection)
        return self.norm3(torch.relu(out + state))


class _Path(nn.Module):
    """From one resolution to another: strided convolutions down, a 1×1 convolution and repetition up."""

    def __init__(self, channels: Sequence[int], source: int, target: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if source > target:
            layers += [_conv(channels[source], channels[target], 1), _norm(channels[target])]
        for step in range(target - source):
            last = step == target - source - 1
            out = channels[target if last else source]
            layers += [_conv(channels[source], out, stride=2), _norm(out), *([] if last else [nn.ReLU(inplace=True)])]
        self.layers = nn.Sequential(*layers)

    def forward(self, state: Tensor, size: Sequence[int]) -> Tensor:
        out: Tensor = self.layers(state)
        return out if out.shape[2:] == size else F.interpolate(out, size=list(size))


class Cell(nn.Module):
    """f: a residual block per resolution, then every resolution receives the sum over all of them."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        every = range(len(channels))
        self.blocks = nn.ModuleList(_Block(c) for c in channels)
        self.paths = nn.ModuleDict({f"{i}{j}": _Path(channels, i, j) for i in every for j in every if i != j})
        self.outputs = nn.ModuleList(
            nn.Sequential(nn.ReLU(), weight_norm(_conv(c, c, 1)), _norm(c, 4)) for c in channels
        )

    def forward(self, states: States, injection: Tensor) -> States:
        """f(z, x) of states (N, C_i, H / 2^i, W / 2^i), the image being injected into the finest only."""
        pairs = zip(self.blocks, states, strict=True)
        inner = [block(z, injection if i == 0 else None) for i, (block, z) in enumerate(pairs)]
        fused = []
        for j, output in enumerate(self.outputs):
            parts = [z if i == j else self.paths[f"{i}{j}"](z, states[j].shape[2:]) for i, z in enumerate(inner)]
            fused.append(output(torch.stack(parts).sum(0)))
        return fused


class _Bottleneck(nn.Module):
    """The head's residual block, at one resolution: 1×1, 3×3, 1×1."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out, kernel in ((channels, inner, 1), (inner, inner, 3), (inner, 4 * inner, 1)):
            layers += [_conv(into, out, kernel), nn.BatchNorm2d(out, affine=False), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential(_conv(channels, 4 * inner, 1), nn.BatchNorm2d(4 * inner))

    def forward(self, state: Tensor) -> Tensor:
        return torch.relu(self.layers(state) + self.shortcut(state))


def _conv_bn_relu(into: int, out: int, kernel: int = 3, stride: int = 1, bias: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=bias)
    nn.init.normal_(conv.weight, std=0.01)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class MDEQ(Classifier):
    """MDEQ for small images; at width 64 the original's CIFAR network "LARGE" with 32, 64, 128 and 256 channels.

    In training and in evaluation the output is that of the same computation: ``iterations`` evaluations of the cell on
    the way to the fixed point, without gradient, and five more that carry it.

    Args:
        num_classes: size of the output.
        width: twice the channels of the finest resolution, so that 64 is the full size, as for the other networks.
        iterations: evaluations of the cell in Anderson's method, >= 1; 18 in the original's (Broyden's).

    Raises:
        ValueError: for a number of iterations below 1.
    """

    def __init__(self, num_classes: int, *, width: int = 64, iterations: int = 18) -> None:
        super().__init__()
        if not isinstance(iterations, int) or iterations < 1:
            raise ValueError(f"iterations must be an integer >= 1; got {iterations!r}.")
        self.iterations = iterations
        self.channels = channels = [max(1, width * 2**i // 2) for i in range(4)]
        inner = [max(1, 7 * c // 16) for c in channels]
        final = max(1, 105 * width // 4)
        finest = channels[0]
        self.stem = nn.Sequential(
            _conv_bn_relu(3, finest), _conv_bn_relu(finest, finest), _conv_bn_relu(finest, finest, 1)
        )
        self.cell = Cell(channels)
        self.widen = nn.ModuleList(_Bottleneck(c, h) for c, h in zip(channels, inner, strict=True))
        self.shrink = nn.ModuleList(
            _conv_bn_relu(4 * h, 4 * h_next, stride=2, bias=True) for h, h_next in pairwise(inner)
        )
        self.final = _conv_bn_relu(4 * inner[-1], final, 1, bias=True)
        self.head = nn.Linear(final, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, num_classes) of images (N, 3, H, W) with pixels in [0, 1]."""
        states = self.equilibrium(self.stem(self.normalize(images)))
        features = self.widen[0](states[0])
        for state, widen, shrink in zip(states[1:], self.widen[1:], self.shrink, strict=True):
            features = widen(state) + shrink(features)
        scores: Tensor = self.head(self.final(features).mean((2, 3)))
        return scores

    def equilibrium(self, injection: Tensor) -> States:
        """The states z with z = f(z, x), finest first."""
        height, width = injection.shape[2:]
        shapes: list[tuple[int, ...]] = []
        for channels in self.channels:
            shapes.append((channels, height, width))
            height, width = (height + 1) // 2, (width + 1) // 2
        step = _flattened(self.cell, injection, shapes)
        # Weight normalisation is the same for all steps; what was computed without gradient must not serve those with.
        with torch.no_grad(), parametrize.cached():
            state = anderson(step, injection.new_zeros(len(injection), sum(map(math.prod, shapes))), self.iterations)
        with parametrize.cached():
            return _split(phantom(step, state), shapes)


def _flattened(cell: Cell, injection: Tensor, shapes: list[tuple[int, ...]]) -> Callable[[Tensor], Tensor]:
    """f as a function of all states in one row per image, in the injection's type."""

    def step(state: Tensor) -> Tensor:
        out = cell(_split(state, shapes), injection)
        return torch.cat([z.flatten(1) for z in out], 1).to(injection.dtype)

    return step


def _split(state: Tensor, shapes: list[tuple[int, ...]]) -> States:
    parts = state.split([math.prod(shape) for shape in shapes], 1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
