"""The convolutional dictionary A: synthesis A(z), its exact adjoint Aᵀ(x), and unit-norm atoms.

A code z with C channels is turned into a signal x with M channels by laying down, at every position
and for every channel, a scaled copy of that channel's atom (Eq. 3 of the paper). In the language of
deep learning, synthesis is a transposed convolution and analysis is the convolution with the same
weight. The weight has the layout of ``nn.Conv2d``: (C, M/groups, *kernel); one row is one atom.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING_MODES = ("zeros", "circular")
CONV = {1: F.conv1d, 2: F.conv2d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d}


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A convolutional dictionary over 1-D or 2-D signals.

    Args:
        weight: the C atoms, shape (C, M/groups, k) or (C, M/groups, k, k').
        stride, dilation: one integer >= 1 per spatial dimension.
        padding: (before, after) pairs, one per spatial dimension, each >= 0.
        groups: divides C and M as in ``nn.Conv2d``.
        padding_mode: what lies outside the signal: ``"zeros"`` or ``"circular"`` (the signal repeats).
    """

    weight: Tensor
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    padding_mode: str = "zeros"

    @property
    def dims(self) -> int:
        """Number of spatial dimensions, 1 or 2."""
        return self.weight.dim() - 2

    @property
    def signal_channels(self) -> int:
        """M, the number of channels of a signal."""
        return self.weight.shape[1] * self.groups

    @property
    def atoms(self) -> int:
        """C, the number of atoms."""
        return self.weight.shape[0]

    def with_weight(self, weight: Tensor) -> "Dictionary":
        """The same geometry with other atoms."""
        return replace(self, weight=weight)

    def scaled(self, factors: Tensor) -> "Dictionary":
        """The same with each atom multiplied by its factor, (C,)."""
        return self.with_weight(self.weight * factors.view(-1, *[1] * (self.dims + 1)))

    def code_size(self, signal_size: Sequence[int]) -> tuple[int, ...]:
        """Spatial size of the code of a signal of the given spatial size."""
        return tuple(
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                signal_size, self.padding, self.dilation, self.weight.shape[2:], self.stride, strict=True
            )
        )

    def analysis(self, signal: Tensor, bias: Tensor | None = None) -> Tensor:
        """Aᵀx: correlate the signal (N, M, ...) with every atom, giving (N, C, ...); plus ``bias`` (C,) if given."""
        padding = self._native_padding
        if padding is None:
            signal, padding = self._pad(signal), (0,) * self.dims
        conv = CONV[self.dims]
        return conv(signal, self.weight, bias, self.stride, padding, self.dilation, self.groups)

    def synthesis(self, code: Tensor, signal_size: Sequence[int]) -> Tensor:
        """A(z): superpose the atoms (Eq. 3). The exact adjoint of :meth:`analysis`.

        Args:
            code: (N, C, ...) of spatial size ``code_size(signal_size)``.
            signal_size: spatial size of the result. It has to be said because with a stride several
                signal sizes share one code size.
        """
        native = self._native_padding
        padding = native or (0,) * self.dims
        # What the explicit padding added comes off afterwards, so the transposed convolution fills it too.
        border = [0 if native else sum(p) for p in self.padding]
        output_padding = tuple(
            n + b - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, b, m, s, p, d, k in zip(
                signal_size, border, code.shape[2:], self.stride, padding, self.dilation,
                self.weight.shape[2:], strict=True,
            )
        )  # fmt: skip
        conv_transpose = _CONV_TRANSPOSE[self.dims]
        signal = conv_transpose(
            code, self.weight, None, self.stride, padding, output_padding, self.groups, self.dilation
        )
        return signal if native is not None else self._unpad(signal, signal_size)

    @property
    def _native_padding(self) -> tuple[int, ...] | None:
        """The padding as torch's convolutions take it, or None where they cannot."""
        symmetric = all(before == after for before, after in self.padding)
        if symmetric and (self.padding_mode == "zeros" or not any(chain(*self.padding))):
            return tuple(before for before, _ in self.padding)
        return None

    def _pad(self, signal: Tensor) -> Tensor:
        mode = "constant" if self.padding_mode == "zeros" else "circular"
        return F.pad(signal, tuple(chain(*reversed(self.padding))), mode=mode)

    def _unpad(self, padded: Tensor, signal_size: Sequence[int]) -> Tensor:
        """Adjoint of :meth:`_pad`: cut the border off, and if circular add it back where it came from."""
        for dim, ((before, after), size) in enumerate(zip(self.padding, signal_size, strict=True), start=2):
            signal = padded.narrow(dim, before, size)
            if self.padding_mode == "circular":
                signal = signal.clone()
                signal.narrow(dim, size - before, before).add_(padded.narrow(dim, 0, before))
                signal.narrow(dim, 0, after).add_(padded.narrow(dim, before + size, after))
            padded = signal
        return padded


def unit_norm(weight: Tensor) -> Tensor:
    """Project every atom onto the unit sphere: the constraint set N below Eq. 5.

    An atom of length zero has no direction; it is left at zero rather than turned into NaN.
    """
    tiny, shape = torch.finfo(weight.dtype).tiny, (-1, *[1] * (weight.dim() - 1))
    # The squares of numbers like 1e-23 vanish. A power of two is taken out first, which changes no other bit.
    largest = weight.detach().flatten(1).abs().amax(1).clamp_min(tiny)
    weight = weight / (largest / (2 * torch.frexp(largest).mantissa)).view(shape)
    norms = torch.linalg.vector_norm(weight.flatten(1), dim=1).clamp_min(tiny)
    return weight / norms.view(shape)


def dense_matrix(dictionary: Dictionary, signal_size: Sequence[int]) -> Tensor:
    """A as an explicit matrix (signal entries × code entries), for small signals: column j is A(e_j)."""
    code_shape = (dictionary.weight.shape[0], *dictionary.code_size(signal_size))
    entries = int(torch.Size(code_shape).numel())
    identity = torch.eye(entries, dtype=dictionary.weight.dtype, device=dictionary.weight.device)
    return dictionary.synthesis(identity.view(entries, *code_shape), signal_size).flatten(1).T
