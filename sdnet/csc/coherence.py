r"""How alike the columns of a network's block dictionary are: deep mutual coherence and frame potential, Welch bound.

Cazenavette et al. (2021), Sec. 4.5, after Murdock and Lucey, "Dataless model selection with the deep frame potential",
CVPR 2020. Columns are taken at unit length, on an image without border.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sdnet.csc.dictionary import Dictionary
from sdnet.csc.network import Connection, Layer, MixedScale, Network, Operator


@dataclass(frozen=True)
class Coherence:
    """Of pairs of different columns whose inner product does not vanish whatever the weights.

    Attributes:
        largest: the deep mutual coherence, the largest |⟨a, b⟩|, between 0 and 1 (Fig. 10).
        frame_potential: the mean |⟨a, b⟩| (Fig. 9).
        welch_bound: no network of this architecture has less ``largest``.
        pairs: the number of such pairs of one column, on average.
    """

    largest: float
    frame_potential: float
    welch_bound: float
    pairs: float


@torch.no_grad()
def deep_coherence(network: Network, signal_channels: int) -> Coherence:
    r"""Compare every column of the block matrix (Eq. 16) with every other, by applying the matrix and its adjoint.

    The Welch bound: the Gram matrix of N unit columns in d dimensions has trace N and rank d at most, so its squared
    entries sum to N²/d at least, N of which lie on the diagonal; if P others can differ from zero,

    .. math:: \mu^2 \ge \frac{N^2/d - N}{P}.

    A deeper chain brings N/d nearer to 1, a skip connection adds to P: both lower it. N, d and P are counted per period
    of the network's strides.
    """
    every = _periodic(network)
    period, side = _canvas(every)
    shape = (signal_channels, side, side)
    inputs, codes = every.shapes(shape)
    share = (period / side) ** 2
    rows = sum(math.prod(each) for each in inputs) * share
    norms = _norms(every, shape, period)
    _, total, largest = _gram(every, shape, period, norms)
    columns = sum(math.prod(each) for each in codes) * share
    generic = _generic(every)
    pairs = _gram(generic, shape, period, _norms(generic, shape, period))[0]
    bound = math.sqrt(max(0.0, columns**2 / rows - columns) / max(1, pairs))
    return Coherence(largest, total / max(1, pairs), bound, pairs / columns)


Shape = tuple[int, ...]


def _gram(network: Network, shape: Shape, period: int, norms: list[Tensor]) -> tuple[int, float, float]:
    """Over pairs of columns, the first within one period: how many are not orthogonal, sum of |g|, largest."""
    inputs, codes = network.shapes(shape)
    sizes, spots = [each[1:] for each in inputs], [each[1:] for each in codes]
    count, total, largest = 0, 0.0, 0.0
    for j, (channels, *size) in enumerate(codes):
        for place in _places(size[0], period, shape[1]):
            deltas = [norms[0].new_zeros(channels, *each) for each in codes]
            here = torch.arange(channels)
            deltas[j][here, here, *place] = 1 / norms[j][:, *place]
            columns = network.analysis(network.synthesis(deltas, sizes), spots)
            products = [column.abs() / norm for column, norm in zip(columns, norms, strict=True)]
            products[j][here, here, *place] = 0
            for product in products:
                count += int((product > 1e-6).sum())
                total += product.sum().item()
                largest = max(largest, product.max().item())
    return count, total, largest


def _norms(network: Network, shape: Shape, period: int) -> list[Tensor]:
    """Lengths of all columns, (C, side, side) of each layer: ‖B_j e‖² and what later layers receive of e."""
    inputs, codes = network.shapes(shape)
    norms = []
    for j, (channels, *size) in enumerate(codes):
        tile = network.layers[0].lam.new_zeros(channels, *size)
        step = max(1, size[0] * period // shape[1])
        here = torch.arange(channels)
        for place in _places(size[0], period, shape[1]):
            deltas = [tile.new_zeros(channels, *each) for each in codes]
            deltas[j][here, here, *place] = 1.0
            lengths = sum(row.square().flatten(1).sum(1) for row in network.synthesis(deltas, [i[1:] for i in inputs]))
            row, column = (each % step for each in place)
            tile[:, row::step, column::step] = torch.as_tensor(lengths).sqrt().view(-1, 1, 1)
        # A column of zeros has no direction.
        norms.append(tile.clamp_min(torch.finfo(tile.dtype).tiny))
    return norms


def _places(size: int, period: int, side: int) -> list[tuple[int, int]]:
    """The positions of a layer within one period, in the middle of the image."""
    step = max(1, size * period // side)
    start = size // 2 // step * step
    return [(start + row, start + column) for row in range(step) for column in range(step)]


def _canvas(network: Network) -> tuple[int, int]:
    """The period of the strides in pixels, and the side of an image on which no column meets itself from behind."""
    strides, reach = [1], 1
    for layer in network.layers:
        operator = layer.operator.dictionary if isinstance(layer.operator, MixedScale) else layer.operator
        assert isinstance(operator, Dictionary)
        strides.append(strides[layer.inputs[0].source] * _stride(layer.inputs[0]) * operator.stride[0])
        reach = max([reach, *(d * (k - 1) for d, k in zip(operator.dilation, operator.weight.shape[2:], strict=True))])
    period = math.lcm(*strides)
    return period, period * 2 * (2 * reach + 1)


def _stride(connection: Connection) -> int:
    return 1 if connection.through is None else connection.through.stride[0]


def _periodic(network: Network) -> Network:
    """The same network on signals that repeat."""

    def around(dictionary: Dictionary) -> Dictionary:
        return replace(dictionary, padding_mode="circular")

    return _mapped(network, around)


def _generic(network: Network) -> Network:
    """Random weights in every atom, whose inner products vanish only where they must."""
    generator = torch.Generator().manual_seed(0)

    def drawn(dictionary: Dictionary) -> Dictionary:
        shape = dictionary.weight.shape
        weight = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device) + 0.5
        return dictionary.with_weight(weight.to(dictionary.weight))

    return _mapped(network, drawn)


def _mapped(network: Network, change) -> Network:  # type: ignore[no-untyped-def]
    layers: list[Layer] = []
    for layer in network.layers:
        operator: Operator = layer.operator
        if isinstance(operator, MixedScale):
            operator = MixedScale(change(operator.dictionary), operator.identity)
        elif isinstance(operator, Dictionary):
            operator = change(operator)
        layers.append(replace(layer, operator=operator))
    return Network(tuple(layers))


@torch.no_grad()
def dense_blocks(network: Network, signal_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The block matrix of Eq. 16 written out, and the matrix that turns the signal into its right-hand side.

    For small networks: (rows, columns) and (rows, signal entries), in the order of the layers.
    """
    inputs, shapes = network.shapes(tuple(signal_shape))
    kind = network.layers[0].lam.dtype
    sizes = [math.prod(shape) for shape in shapes]
    units = torch.eye(sum(sizes), dtype=kind).split(sizes, 1)
    codes = [part.unflatten(1, shape) for part, shape in zip(units, shapes, strict=True)]
    rows = network.synthesis(codes, [shape[1:] for shape in inputs])
    signals = torch.eye(math.prod(signal_shape), dtype=kind).unflatten(1, tuple(signal_shape))
    nothing = [signals.new_zeros(len(signals), *shape) for shape in shapes]
    right = network.residuals(signals, nothing)
    matrix, side = (torch.cat([row.flatten(1) for row in each], 1).T for each in (rows, right))
    return matrix, side
