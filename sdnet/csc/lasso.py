r"""The convolutional Lasso, Eq. 4 of the paper, with its elastic-net term:

.. math:: \min_z\; P(z) = \lambda\|z\|_1 + \tfrac{\mu}{2}\|z\|^2 + \tfrac12\|x - A(z)\|^2,
          \qquad\text{optionally } z \ge 0.

This file says what the problem is and how to tell how well it has been solved; ``solvers.py`` solves it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sdnet.csc.dictionary import Dictionary
from sdnet.runtime import has_autocast


@dataclass(frozen=True)
class Lasso:
    """One convolutional Lasso: everything but the algorithm.

    Args:
        dictionary: A.
        signal: x, (N, M, ...).
        lam: λ >= 0, shape (), (N,) one per image, or (N or 1, C or 1) one per channel.
        nonnegative: constrain z >= 0.
        ridge: the elastic-net weight μ >= 0.
    """

    dictionary: Dictionary
    signal: Tensor
    lam: Tensor
    nonnegative: bool = True
    ridge: float = 0.0

    def check(self) -> None:
        """Raise ValueError unless the signal and λ are ones the problem is defined for."""
        check_signal(self.signal, self.dictionary)
        check_finite(self.signal)
        check_lam(self.lam)
        self.check_lam_shape()

    def check_lam_shape(self) -> None:
        """Raise ValueError unless λ has one of the shapes that suit the signal and the dictionary."""
        check_lam_shape(self.lam, self.signal.shape[0], self.dictionary.weight.shape[0])

    @property
    def signal_size(self) -> torch.Size:
        return self.signal.shape[2:]

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of z, (N, C, ...)."""
        dictionary = self.dictionary
        return self.signal.shape[0], dictionary.weight.shape[0], *dictionary.code_size(self.signal_size)

    @property
    def penalty(self) -> Tensor:
        """λ, shaped to broadcast against the code."""
        return broadcast_lam(self.lam, self.signal.dim())

    def residual(self, code: Tensor) -> Tensor:
        """x − A(z)."""
        return self.signal - self.dictionary.synthesis(code, self.signal_size)

    def objective(self, code: Tensor) -> Tensor:
        """P(z) per image, shape (N,)."""
        return _sum(self.residual(code).square() / 2) + self._penalties(code)

    def _penalties(self, code: Tensor) -> Tensor:
        return _sum(self.penalty * code.abs() + self.ridge / 2 * code.square())

    def relative_gap(self, code: Tensor) -> Tensor:
        """Duality gap P(z) − D(θ) as a fraction of P(0) = ½‖x‖², per image: an upper bound on the
        relative suboptimality of z, whatever produced it.

        θ is the residual scaled into the dual feasible set |Aᵀθ − μz| <= λ (without the modulus if z >= 0).
        """
        residual = self.residual(code)
        correlation = self.dictionary.analysis(residual) - self.ridge * code
        correlation = correlation if self.nonnegative else correlation.abs()
        ratio = correlation.clamp_min(0) / self.penalty.expand_as(correlation)
        limit = 1 / ratio.nan_to_num(nan=0.0).flatten(1).amax(1)
        norm = _sum(residual.square()) + self.ridge * _sum(code.square())
        tiny = torch.finfo(norm.dtype).tiny
        scale = (_sum(self.signal * residual) / norm.clamp_min(tiny)).clamp_min(0 if self.nonnegative else -math.inf)
        scale = torch.minimum(scale, limit)
        scale = torch.maximum(scale, -limit)
        primal = _sum(residual.square()) / 2 + self._penalties(code)
        dual = scale * _sum(self.signal * residual) - scale.square() * norm / 2
        return (primal - dual).clamp_min(0) / (_sum(self.signal.square()) / 2).clamp_min(tiny)


def broadcast_lam(lam: Tensor, dims: int) -> Tensor:
    """Append axes to λ of shape (), (N,) or (N|1, C|1) until it broadcasts against a code of ``dims`` axes."""
    return lam if lam.dim() == 0 else lam.view(*lam.shape, *[1] * (dims - lam.dim()))


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _fits(shape: torch.Size, images: int, atoms: int) -> bool:
    if len(shape) == 1:
        return shape[0] == images
    return len(shape) == 2 and shape[0] in (1, images) and shape[1] in (1, atoms)


class NotFinite(ValueError):
    """A signal or λ is NaN or infinite, as those of a layer within a network are once its training has diverged."""


def check_finite(signal: Tensor) -> None:
    """Raise NotFinite unless every value of a signal is finite."""
    if not signal.isfinite().all():
        raise NotFinite("signal must be finite; it holds NaN or infinity.")


def check_lam(lam: Tensor) -> None:
    """Raise ValueError unless every λ is finite and at least 0; NotFinite if one is not finite."""
    wrong = ~lam.isfinite() | (lam < 0)
    if wrong.any():
        kind = ValueError if lam.isfinite().all() else NotFinite
        raise kind(f"lam must be finite and >= 0; got {lam[wrong].flatten()[:3].tolist()}.")


def is_finite(signal: Tensor) -> bool:
    """Whether the sum of a signal is finite, as it is unless a value is not or the sum overflows.

    Under ``torch.func.vmap`` no value can be looked at: then it counts as finite.
    """
    try:
        return math.isfinite(signal.detach().sum().item())
    except RuntimeError:
        return True


def is_allowed(lam: Tensor) -> bool:
    """Whether every λ is finite and at least 0; where none can be looked at, as under ``torch.func.vmap``, it is."""
    try:
        low, high = lam.detach().aminmax()
        return low.item() >= 0 and high.item() < math.inf
    except RuntimeError:
        return True


def check_lam_shape(lam: Tensor, images: int, atoms: int) -> None:
    """Raise ValueError unless λ has one of the shapes that suit so many images and atoms."""
    if lam.dim() > 0 and not _fits(lam.shape, images, atoms):
        raise ValueError(
            f"lam has shape {tuple(lam.shape)}; with {images} images and {atoms} atoms it may be (), "
            f"({images},) for one per image, (1, {atoms}) for one per channel, or ({images}, {atoms})."
        )


def check_signal(signal: Tensor, dictionary: Dictionary) -> None:
    """Raise ValueError unless type, channels and size of ``signal`` suit the dictionary."""
    if not isinstance(signal, Tensor):
        raise ValueError(f"signal must be a tensor; got {type(signal).__name__}. Convert it with torch.as_tensor.")
    channels, kernel, dtype = dictionary.signal_channels, dictionary.weight.shape[2:], dictionary.weight.dtype
    if not signal.is_floating_point():
        raise ValueError(f"signal must be floating point; got {signal.dtype}. Convert it with signal.float().")
    if signal.dtype != dtype and not has_autocast(signal.device):
        raise ValueError(f"signal must have the type of the atoms, {dtype}; got {signal.dtype}. Convert one of them.")
    if signal.dim() != dictionary.dims + 2 or signal.shape[1] != channels:
        raise ValueError(
            f"signal must have shape (images, {channels}{', size' * dictionary.dims}); got {tuple(signal.shape)}."
        )
    if dictionary.padding_mode == "circular":
        for size, taps, dilation, pads in zip(
            signal.shape[2:], kernel, dictionary.dilation, dictionary.padding, strict=True
        ):
            if dilation * (taps - 1) + 1 > size or max(pads) > size:
                raise ValueError(
                    f"kernel {tuple(kernel)} with dilation {dictionary.dilation} wraps around a circular signal of "
                    f"size {tuple(signal.shape[2:])} more than once; use a smaller kernel or padding_mode='zeros'."
                )
    if min(dictionary.code_size(signal.shape[2:])) < 1:
        raise ValueError(
            f"signal of size {tuple(signal.shape[2:])} is smaller than the kernel {tuple(kernel)} with dilation "
            f"{dictionary.dilation}, padding included; use a larger signal or more padding."
        )
