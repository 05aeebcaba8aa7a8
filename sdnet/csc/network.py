r"""A network as one dictionary: every layer explains its input, and all layers are solved together or one by one.

The equations are those of Cazenavette, Murdock and Lucey, "Architectural adversarial robustness: the case for deep
pursuit", CVPR 2021. Layer j has a code :math:`w_j` and explains the sum of what it is connected to,
:math:`u_j = \sum_{k<j} C_{jk} w_k` with :math:`w_0 = x`, by its dictionary, :math:`u_j \approx B_j w_j`. A chain has
:math:`u_j = w_{j-1}`; a skip connection adds another term. All codes minimise (Eq. 11)

.. math:: \tfrac12 \sum_j \|u_j - B_j w_j\|^2 + \sum_j \lambda_j \|w_j\|_1, \qquad w_j \ge 0,

which is a Lasso with the block matrix of Eq. 16: :math:`B_j` on the diagonal, :math:`-C_{jk}` below it.

Where this differs from what is printed there, it follows from Eq. 11:

* ½ belongs to the squares only (so in Eq. 12, not in Eq. 11), and the gradient of Eq. 8 is that of half the square;
* after a step of size γ the threshold is γλ, not λ (Eqs. 6, 10, 13), and Eq. 13 means :math:`\hat g_j`;
* the sums of Eqs. 16–18 begin at the signal, k = 0, and the threshold of Eq. 17 is λ_j;
* a skip connection enters before :math:`B_j^\top`, as Eqs. 16 and 17 have it and the text beside them does not;
* Algorithm 1, headed "thresholding", is basis pursuit; one *iteration* is the feed-forward pass, as in its figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sdnet.csc.dictionary import Dictionary
from sdnet.csc.lasso import check_lam
from sdnet.csc.lipschitz import fourier_bound
from sdnet.csc.prox import soft_threshold


class Operator(Protocol):
    """A dictionary as the solver sees it: a linear map from codes to signals, and its adjoint."""

    @property
    def atoms(self) -> int: ...
    @property
    def signal_channels(self) -> int: ...
    def code_size(self, signal_size: Sequence[int]) -> tuple[int, ...]: ...
    def analysis(self, signal: Tensor, bias: Tensor | None = None) -> Tensor: ...
    def synthesis(self, code: Tensor, signal_size: Sequence[int]) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class MixedScale:
    """[I Fᵀ], the dictionary of MSD-CSC: the signal's own channels, then the atoms of a dictionary at stride 1."""

    dictionary: Dictionary
    identity: Tensor
    """What the identity's atoms are multiplied by, (M,)."""

    @property
    def atoms(self) -> int:
        """How many channels a code has: M of the signal, and C of the dictionary."""
        return self.signal_channels + self.dictionary.atoms

    @property
    def signal_channels(self) -> int:
        return self.dictionary.signal_channels

    def code_size(self, signal_size: Sequence[int]) -> tuple[int, ...]:
        return self.dictionary.code_size(signal_size)

    def scaled(self, factors: Tensor) -> "MixedScale":
        """The same with each atom multiplied by its factor, (M + C,)."""
        own, others = factors.tensor_split([self.signal_channels])
        return MixedScale(self.dictionary.scaled(others), self.identity * own)

    def analysis(self, signal: Tensor, bias: Tensor | None = None) -> Tensor:
        """Dᵀx, (N, M + C, ...): what a dense connection passes on."""
        own, others = (None, None) if bias is None else bias.tensor_split([self.signal_channels])
        copied = signal * per_channel(self.identity, signal)
        copied = copied if own is None else copied + per_channel(own, signal)
        return torch.cat([copied, self.dictionary.analysis(signal, others)], 1)

    def synthesis(self, code: Tensor, signal_size: Sequence[int]) -> Tensor:
        """D(z), (N, M, ...)."""
        own, others = code.tensor_split([self.signal_channels], 1)
        return own * per_channel(self.identity, own) + self.dictionary.synthesis(others, signal_size)


@dataclass(frozen=True, eq=False)
class Subsampling:
    """Every second pixel (for a stride of 2), and channels of zeros: a map between shapes that has no parameters."""

    signal_channels: int
    atoms: int
    stride: tuple[int, int]

    def code_size(self, signal_size: Sequence[int]) -> tuple[int, ...]:
        return tuple((size - 1) // step + 1 for size, step in zip(signal_size, self.stride, strict=True))

    def analysis(self, signal: Tensor, bias: Tensor | None = None) -> Tensor:
        """(N, M, H, W) to (N, C, ...), C >= M."""
        taken = signal[:, :, :: self.stride[0], :: self.stride[1]]
        return F.pad(taken, (0, 0, 0, 0, 0, self.atoms - self.signal_channels))

    def synthesis(self, code: Tensor, signal_size: Sequence[int]) -> Tensor:
        """The adjoint: zeros in between; the last channels are dropped."""
        signal = code.new_zeros(len(code), self.signal_channels, *signal_size)
        signal[:, :, :: self.stride[0], :: self.stride[1]] = code[:, : self.signal_channels]
        return signal


@dataclass(frozen=True, eq=False)
class Connection:
    """C: what a layer's input receives of the code of layer ``source`` (0 is the signal): all of it, if ``through`` is
    None, or what that operator's analysis makes of it. ``bound`` is at least ‖C‖²."""

    source: int
    through: Dictionary | Subsampling | None = None
    bound: Tensor | float = 1.0

    def __call__(self, code: Tensor) -> Tensor:
        return code if self.through is None else self.through.analysis(code)

    def adjoint(self, signal: Tensor, size: Sequence[int]) -> Tensor:
        """Cᵀ: the feedback, for a code of the given spatial size."""
        return signal if self.through is None else self.through.synthesis(signal, size)

    def shape(self, code: tuple[int, ...]) -> tuple[int, ...]:
        """Channels and size of C w, from those of w."""
        return code if self.through is None else (self.through.atoms, *self.through.code_size(code[1:]))


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer's part of the problem.

    Args:
        operator: B.
        inputs: what its input is the sum of.
        lam: λ >= 0, () or (C,). (With w >= 0 a negative one is a linear term, as an offset of batch normalisation is;
            the problem stays convex, but it may have no minimum.)
        curvature: (), or (C,) if the atoms differ: BᵀB is at most the diagonal matrix of these numbers.
        beta: β in (0, 1]: the step size is 1/β of the one that is sure to descend (below Eq. 10).
        signed: where the code may be negative, (C,), 1 or 0; None for nowhere.
    """

    operator: Operator
    inputs: tuple[Connection, ...]
    lam: Tensor
    curvature: Tensor
    beta: Tensor | float = 1.0
    signed: Tensor | None = None

    def shrink(self, values: Tensor, step: Tensor | float = 1.0) -> Tensor:
        """The proximal operator of ``step`` λ‖w‖₁ (Eq. 2; Eq. 1 where the code is signed)."""
        threshold = per_channel(step * self.lam, values)
        if self.signed is None:
            return soft_threshold(values, threshold, nonnegative=True)
        below = torch.relu(-values - threshold) * per_channel(self.signed, values)
        return torch.relu(values - threshold) - below


@dataclass(frozen=True, eq=False)
class Network:
    """Layers 1 to l with their connections. A list of codes holds those of layers 1 to l.

    Raises:
        ValueError: if a layer is connected to itself or to a later one.
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        for j, layer in enumerate(self.layers, start=1):
            if not layer.inputs or not all(0 <= c.source < j for c in layer.inputs):
                sources = [c.source for c in layer.inputs]
                raise ValueError(f"layer {j} must have inputs among 0 (the signal) to {j - 1}; got {sources}.")

    @cached_property
    def feedback(self) -> tuple[tuple[tuple[int, Connection], ...], ...]:
        """Of each layer, the later layers that receive its code, and through which connection."""
        return tuple(
            tuple((i, c) for i, layer in enumerate(self.layers, 1) for c in layer.inputs if c.source == j)
            for j in range(1, len(self.layers) + 1)
        )

    def shapes(self, signal: tuple[int, ...]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Channels and sizes (C, ...) of all layers' inputs and of all codes, from those of the signal.

        Raises:
            ValueError: naming the layer whose connections do not fit each other or its dictionary.
        """
        codes, inputs = [signal], []
        for j, layer in enumerate(self.layers, start=1):
            given = [connection.shape(codes[connection.source]) for connection in layer.inputs]
            operator, wanted = layer.operator, (layer.operator.signal_channels, *given[0][1:])
            for connection, shape in zip(layer.inputs, given, strict=True):
                if shape != wanted:
                    raise ValueError(
                        f"the connection from layer {connection.source} to layer {j} gives {_text(shape)}, where "
                        f"{_text(wanted)} are needed; give it a map of that shape."
                    )
            inputs.append(wanted)
            codes.append((operator.atoms, *operator.code_size(wanted[1:])))
        return inputs, codes[1:]

    def target(self, j: int, codes: Sequence[Tensor]) -> Tensor:
        """u_j, from the signal and the codes (of which those before layer j are looked at)."""
        first, *others = self.layers[j - 1].inputs
        total = first(codes[first.source])
        for connection in others:
            total = total + connection(codes[connection.source])
        return total

    def synthesis(self, codes: Sequence[Tensor], sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        """The block matrix (Eq. 16) times the codes: of every layer B_j w_j − Σ_{k≥1} C_jk w_k.

        Args:
            sizes: spatial sizes of the layers' inputs.
        """
        rows = []
        for layer, code, size in zip(self.layers, codes, sizes, strict=True):
            row = layer.operator.synthesis(code, size)
            for connection in layer.inputs:
                row = row - connection(codes[connection.source - 1]) if connection.source else row
            rows.append(row)
        return rows

    def analysis(self, rows: Sequence[Tensor], sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        """The adjoint of :meth:`synthesis`; ``sizes`` are the spatial sizes of the codes."""
        codes = []
        for layer, row, size, later in zip(self.layers, rows, sizes, self.feedback, strict=True):
            code = layer.operator.analysis(row)
            for i, connection in later:
                code = code - connection.adjoint(rows[i - 1], size)
            codes.append(code)
        return codes

    def residuals(self, signal: Tensor, codes: Sequence[Tensor]) -> list[Tensor]:
        """u_j − B_j w_j of every layer."""
        every, found = [signal, *codes], []
        for j, (layer, code) in enumerate(zip(self.layers, codes, strict=True), start=1):
            target = self.target(j, every)
            found.append(target - layer.operator.synthesis(code, target.shape[2:]))
        return found

    def objective(self, signal: Tensor, codes: Sequence[Tensor]) -> Tensor:
        """Eq. 11 per image, (N,)."""
        total = signal.new_zeros(len(signal))
        for layer, code, left in zip(self.layers, codes, self.residuals(signal, codes), strict=True):
            total = total + left.square().flatten(1).sum(1) / 2
            total = total + (per_channel(layer.lam, code) * code.abs()).flatten(1).sum(1)
        return total


def chain(
    operators: Sequence[Dictionary],
    lam: float | Sequence[Tensor],
    *,
    beta: float = 1.0,
    skips: Mapping[int, Connection] = MappingProxyType({}),
) -> Network:
    """A network of which each layer explains the code of the one before; curvatures are :func:`fourier_bound`.

    Args:
        lam: λ >= 0 of all layers, or of each.
        beta: β in (0, 1] of all layers.
        skips: layer → a connection that its input has beside the layer before.

    Raises:
        ValueError: for a β or λ out of its range.
    """
    if not 0 < beta <= 1:
        raise ValueError(f"beta must be > 0 and at most 1; got {beta}.")
    penalties = [o.weight.new_tensor(lam) for o in operators] if isinstance(lam, float | int) else lam
    layers = []
    for j, (operator, penalty) in enumerate(zip(operators, penalties, strict=True), start=1):
        check_lam(penalty)
        inputs = (Connection(j - 1), *([skips[j]] if j in skips else []))
        layers.append(Layer(operator, inputs, penalty, fourier_bound(operator), beta))
    return Network(tuple(layers))


def per_channel(values: Tensor | float, like: Tensor) -> Tensor | float:
    """Numbers per channel, shaped to broadcast against a code."""
    if not isinstance(values, Tensor) or values.dim() == 0:
        return values
    return values.view(-1, *[1] * (like.dim() - 2))


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
