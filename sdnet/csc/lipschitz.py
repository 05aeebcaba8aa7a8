"""The Lipschitz constant L = ‖A‖² of the gradient of ½‖x − A(z)‖², which sets the step size 1/L.

Two ways, neither of which waits for the device:

* :func:`fourier_bound`: a certified upper bound from the dictionary's Fourier symbol. It needs no
  state and no signal size, and for a stem with few channels it costs next to nothing.
* :func:`power_iteration`: an estimate from below, warm-started, for dictionaries with many channels.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sdnet.csc.dictionary import CONV, Dictionary


def fourier_bound(dictionary: Dictionary, signal_size: Sequence[int] | None = None) -> Tensor:
    r"""An upper bound on ‖A‖², as a 0-dimensional tensor.

    Convolution is diagonal in Fourier space: on an infinite (or circular) grid ‖A‖² is the largest
    eigenvalue of the Gram symbol :math:`\hat A(\omega)^* \hat A(\omega)` over all frequencies ω, and
    cutting the signal to a finite, zero-padded grid can only make the norm smaller. A stride s turns
    the kernel into s^d polyphase components, which act as further signal channels.

    Without ``signal_size`` the bound holds for signals of every size: the symbol is sampled on n
    points per dimension, and since ‖Â(ω)u‖² is a trigonometric polynomial of degree q (kernel size
    − 1), its maximum exceeds the sampled one by at most 1/cos(πq/n) per dimension (M. Riesz). At
    n = 16 q that is 2 % per dimension. With ``signal_size`` the grid has room for the whole
    zero-padded signal, which embeds the operator in a circular one and needs no such factor.

    The largest eigenvalue of each Gram matrix G is bounded by (tr G^m)^(1/m), m = 256, computed by
    repeated squaring: matrix products only. It is off by at most a factor n^(1/256) for an n × n matrix.
    """
    kernel, visits = _unstrided(dictionary, signal_size)
    degrees = [taps - 1 for taps in kernel.shape[2:]]
    if signal_size is None:
        grid = [max(1, 16 * q) for q in degrees]
        slack = math.prod(1 / math.cos(math.pi * q / n) for q, n in zip(degrees, grid, strict=True))
    else:
        grid = [_grid(dictionary, kernel, signal_size, dim) for dim in range(dictionary.dims)]
        slack = 1.0
    largest = _largest_eigenvalue(_gram_symbol(kernel, dictionary.groups, grid))
    rounding = 1 + 64 * torch.finfo(largest.dtype).eps
    # Atoms that are all zero have the norm 0; a positive bound keeps the step size 1/L finite.
    return (largest * (slack * visits * rounding)).clamp_min(torch.finfo(largest.dtype).tiny)


def _grid(dictionary: Dictionary, kernel: Tensor, signal_size: Sequence[int], dim: int) -> int:
    """Frequencies in one dimension: enough for a zero-padded signal, exactly one period of a circular one."""
    q = kernel.shape[2 + dim] - 1
    if dictionary.padding_mode == "zeros":
        points = dictionary.code_size(signal_size)[dim] + q
    else:
        points = max(1, signal_size[dim] // (dictionary.stride[dim] if _aligned(dictionary, signal_size) else 1))
    # Fewer points than autocorrelation lags: a multiple of them, whose frequencies include theirs.
    return points * -(-(2 * q + 1) // points)


def _gram_symbol(kernel: Tensor, groups: int, grid: Sequence[int]) -> Tensor:
    """Â(ω)*Â(ω) (or Â Â*, whichever is smaller) at every frequency, up to a phase: (groups, frequencies, n, n).

    It is the Fourier transform of the kernel's autocorrelation, which is a small convolution.
    """
    atoms = kernel.unflatten(0, (groups, -1))
    if atoms.shape[1] < atoms.shape[2]:
        atoms = atoms.transpose(1, 2)
    small = atoms.transpose(1, 2)
    shifted = small.transpose(0, 1).flatten(1, 2)
    padding = tuple(taps - 1 for taps in kernel.shape[2:])
    lags = CONV[len(grid)](shifted, small.flatten(0, 1), padding=padding, groups=groups).unflatten(1, (groups, -1))
    spectrum = torch.fft.rfftn(lags, s=list(grid), dim=list(range(-len(grid), 0)))
    return spectrum.flatten(3).permute(1, 3, 0, 2)


def _largest_eigenvalue(gram: Tensor) -> Tensor:
    """max over a batch of (tr G^256)^(1/256) for Hermitian G >= 0 given up to a phase."""
    log_norm = torch.zeros(gram.shape[:-2], dtype=gram.real.dtype, device=gram.device)
    squarings = 8
    for step in range(0, squarings + 1, 2):
        # The trace of G^(2^step), for which two squarings of a matrix of trace 1 are in no danger to vanish.
        trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1).abs().clamp_min(torch.finfo(log_norm.dtype).tiny)
        log_norm = log_norm + trace.log() / 2**step
        if step < squarings:
            gram = gram / trace[..., None, None]
            gram = gram @ gram
            gram = gram @ gram
    return log_norm.amax().exp()


def _aligned(dictionary: Dictionary, signal_size: Sequence[int] | None) -> bool:
    """Whether the code of a circular signal repeats with the signal, so that A is exactly circulant."""
    if signal_size is None:
        spans = zip(dictionary.padding, dictionary.dilation, dictionary.weight.shape[2:], strict=True)
        return all(s == 1 for s in dictionary.stride) and all(sum(p) == d * (k - 1) for p, d, k in spans)
    code_size = dictionary.code_size(signal_size)
    return all(m * s == n for m, s, n in zip(code_size, dictionary.stride, signal_size, strict=True))


def _unstrided(dictionary: Dictionary, signal_size: Sequence[int] | None) -> tuple[Tensor, float]:
    """A kernel of stride 1 and a factor: the kernel's ‖·‖² times the factor bounds A's."""
    stride, visits = _worst_case(dictionary, signal_size)
    return _polyphase(replace(dictionary, stride=stride)), visits


def _worst_case(dictionary: Dictionary, signal_size: Sequence[int] | None) -> tuple[tuple[int, ...], float]:
    """The stride of a circulant operator that contains A's columns, and how often A visits each of them at most."""
    if dictionary.padding_mode == "zeros" or _aligned(dictionary, signal_size):
        return dictionary.stride, 1.0
    # The strided code does not repeat with the signal: A is then some columns of the stride-1 operator,
    # and padding beyond the kernel's reach brings it round to the same column again.
    visits = 1
    for dim, (pads, d, k) in enumerate(
        zip(dictionary.padding, dictionary.dilation, dictionary.weight.shape[2:], strict=True)
    ):
        span = d * (k - 1)
        # The smallest circular signal that takes this kernel and padding, if no size is given.
        size = max(*pads, span + 1) if signal_size is None else signal_size[dim]
        visits *= max(1, -(-(size + sum(pads) - span) // size))
    return (1,) * dictionary.dims, float(visits)


def _polyphase(dictionary: Dictionary) -> Tensor:
    """The kernel of an equivalent dictionary without stride: (C, M/groups · s^d, ...).

    A code entry at i lays its atom at s·i; the signal positions with equal remainder modulo s form
    one channel each.
    """
    weight = dilated(dictionary, dictionary.stride)
    for dim, stride in enumerate(dictionary.stride, start=2):
        weight = weight.unflatten(dim, (-1, stride)).movedim(dim + 1, 2).flatten(1, 2)
    return weight


def dilated(dictionary: Dictionary, multiple: Sequence[int]) -> Tensor:
    """The kernel with its dilation written out, its size filled up with zeros to a multiple per dimension."""
    weight = dictionary.weight
    if weight.dtype in (torch.float16, torch.bfloat16):
        weight = weight.float()
    for dim, (dilation, factor) in enumerate(zip(dictionary.dilation, multiple, strict=True), start=2):
        taps = weight.shape[dim]
        span = dilation * (taps - 1) + 1
        if taps == 1 or (dilation == 1 and span % factor == 0):
            weight = _fill(weight, dim, -span % factor)
            continue
        index = torch.arange(taps, device=weight.device) * dilation
        spread = weight.new_zeros([*weight.shape[:dim], span, *weight.shape[dim + 1 :]])
        weight = _fill(spread.index_copy(dim, index, weight), dim, -span % factor)
    return weight


def _fill(weight: Tensor, dim: int, zeros: int) -> Tensor:
    return F.pad(weight, [0, 0] * (weight.dim() - 1 - dim) + [0, zeros]) if zeros else weight


def power_iteration(dictionary: Dictionary, probe: Tensor, steps: int = 1) -> tuple[Tensor, Tensor]:
    """Estimate ‖A‖² from below by ``steps`` power iterations on A Aᵀ.

    A Aᵀ acts on signals, the smaller side (M channels instead of C). The probe's grid is taken as
    circular, so that it stands for signals of any size. (With circular padding A may visit a column
    several times, or out of step with the stride; the estimate is then that of :func:`fourier_bound`'s
    worst case.)

    Args:
        probe: (1, M, ...), the result of the previous call; its spatial size is a multiple of the stride.

    Returns:
        The estimate as a 0-dimensional tensor, and the new unit-norm probe.
    """
    spans = [d * (k - 1) for d, k in zip(dictionary.dilation, dictionary.weight.shape[2:], strict=True)]
    padding = tuple((0, span) for span in spans)
    stride, visits = _worst_case(dictionary, None)
    periodic = replace(dictionary, stride=stride, padding=padding, padding_mode="circular")
    norm = torch.zeros((), dtype=probe.dtype, device=probe.device)
    for _ in range(steps):
        image = periodic.synthesis(periodic.analysis(probe), probe.shape[2:])
        norm = torch.linalg.vector_norm(image)
        probe = image / norm.clamp_min(torch.finfo(image.dtype).tiny)
    return norm * visits, probe


def random_probe(dictionary: Dictionary, points: int = 16) -> Tensor:
    """A unit-norm start for :func:`power_iteration`, the same for every call (a fixed pseudo-random signal).

    In every dimension it has room for ``points`` code positions, and for one where the kernel has one tap:
    all frequencies are then alike.
    """
    spans = [d * (k - 1) for d, k in zip(dictionary.dilation, dictionary.weight.shape[2:], strict=True)]
    size = [max(points if span else 1, -(-span // s)) * s for s, span in zip(dictionary.stride, spans, strict=True)]
    if dictionary.weight.is_meta:
        return dictionary.weight.new_empty(1, dictionary.signal_channels, *size)
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(1, dictionary.signal_channels, *size, generator=generator, device=generator.device)
    return F.normalize(probe.flatten(1), dim=1).view_as(probe).to(dictionary.weight)


def falls_short(lipschitz: Tensor, dictionary: Dictionary, probe: Tensor | None) -> str | None:
    """Says of a Lipschitz constant that is less than a dictionary's ‖A‖², beyond rounding, what it is; or None.

    ``probe`` is that of :func:`power_iteration`; None: by :func:`fourier_bound`.
    """
    if probe is not None and not 0 < probe.norm().item() < math.inf:
        return f"the probe of its Lipschitz constant has the norm {probe.norm().item():.4g}, where it should have 1"
    needed = fourier_bound(dictionary) if probe is None else power_iteration(dictionary, probe)[0]
    # The bound is up to 10 % above ‖A‖²; a constant set by hand may be right and still below it.
    slack = 0.1 if probe is None else 5e-3
    if (needed <= lipschitz * (1 + max(slack, 4 * torch.finfo(dictionary.weight.dtype).eps))).item():
        return None
    return f"its Lipschitz constant is {lipschitz.item():.4g}, where its atoms need {needed.item():.4g}"
