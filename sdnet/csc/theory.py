"""When a sparse code is stable: coherence, local sparsity, and the theorem that the paper's Theorem 1 summarises.

V. Papyan, J. Sulam and M. Elad, "Working locally thinking globally: theoretical guarantees for convolutional
sparse coding", IEEE Trans. Signal Processing 65(21), 2017: [50] of the paper. They treat one channel, one
dimension and stride 1; what is said here for other geometries follows by the same proofs, since these only
need to know which atoms overlap.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sdnet.csc.dictionary import CONV, Dictionary, unit_norm
from sdnet.csc.lasso import Lasso
from sdnet.csc.lipschitz import dilated


def mutual_coherence(dictionary: Dictionary) -> float:
    """μ: the largest normalised inner product |⟨a, b⟩| between two different columns of A, between 0 and 1.

    The columns are the atoms at all their positions, multiples of the stride, on a grid without border: an
    atom is compared with the other atoms and with its own shifts.
    """
    atoms = unit_norm(dilated(dictionary.with_weight(dictionary.weight.detach()), (1,) * dictionary.dims))
    spans = [taps - 1 for taps in atoms.shape[2:]]
    # Padding by a multiple of the stride makes "no shift" one of the shifts that the convolution visits.
    padding = [span // s * s for span, s in zip(spans, dictionary.stride, strict=True)]
    grouped = atoms.unflatten(0, (dictionary.groups, -1)).transpose(0, 1).flatten(1, 2)
    products = CONV[dictionary.dims](
        grouped, atoms, stride=dictionary.stride, padding=padding, groups=dictionary.groups
    ).unflatten(1, (dictionary.groups, -1))
    still = [p // s for p, s in zip(padding, dictionary.stride, strict=True)]
    products[(..., *still)].diagonal(dim1=0, dim2=2).zero_()
    return products.abs().amax().item()


def overlapping_shifts(dictionary: Dictionary) -> list[int]:
    """The number of positions, per dimension, at which an atom overlaps one at rest: 2k − 1 at stride 1."""
    return [2 * reach + 1 for reach, _ in _overlaps(dictionary)]


def _overlaps(dictionary: Dictionary) -> list[tuple[int, int]]:
    """Per dimension: how many steps to one side an atom meets itself, and the length of a step in code positions."""
    overlaps = []
    for k, s, d in zip(dictionary.weight.shape[2:], dictionary.stride, dictionary.dilation, strict=True):
        step = math.lcm(s, d)  # at other distances the taps of dilated atoms interleave without touching
        overlaps.append((d * (k - 1) // step, step // s))
    return overlaps


def welch_bound(dictionary: Dictionary) -> float:
    r"""A lower bound on the mutual coherence of every dictionary of this geometry.

    For m atoms of n taps (one channel, 1-D, stride 1) it is Papyan et al.'s
    :math:`\sqrt{(m - 1) / (m (2n - 1) - 1)}`. In general

    .. math:: \mu \ge \sqrt{\frac{m - M}{M\,(m T - 1)}},

    with m atoms and M signal channels per group and T positions at which two atoms overlap: the squared
    inner products of one column with all others, averaged over the atoms, sum at least to m/M − 1 because
    the Gram symbol has rank M and mean trace m; and there are at most mT − 1 of them that are not zero. A
    stride s turns a signal into s signals, s/gcd(s, dilation) of which an atom touches: M grows by as much.
    """
    atoms, channels = dictionary.weight.shape[0] // dictionary.groups, dictionary.weight.shape[1]
    for s, d in zip(dictionary.stride, dictionary.dilation, strict=True):
        channels *= s // math.gcd(s, d)
    if atoms <= channels:
        return 0.0
    columns = atoms * math.prod(overlapping_shifts(dictionary))
    return math.sqrt((atoms - channels) / (channels * (columns - 1)))


def local_sparsity(code: Tensor, dictionary: Dictionary) -> Tensor:
    """‖z‖₀,∞ per image, (N,): the most nonzeros in one stripe, the code entries whose atoms overlap a given atom.

    With circular padding the code is taken as a ring, as it is where the stride divides the signal.
    """
    count = (code != 0).double().unflatten(1, (dictionary.groups, -1)).sum(2)
    for dim, (reach, step) in enumerate(_overlaps(dictionary), start=2):
        size = count.shape[dim]
        if dictionary.padding_mode == "circular":
            index = torch.arange(-reach * step, size + reach * step, device=code.device) % size
            count = count.index_select(dim, index)
        else:
            count = F.pad(count, [0, 0] * (count.dim() - 1 - dim) + [reach * step] * 2)
        stripes = [count.narrow(dim, shift * step, size) for shift in range(2 * reach + 1)]
        count = torch.stack(stripes).sum(0)
    return count.flatten(1).amax(1).long()


def local_norm(signal: Tensor, dictionary: Dictionary) -> Tensor:
    """‖e‖₂,∞ per image, (N,): the largest ℓ2 norm of what a single atom can see of the signal."""
    window = dictionary.with_weight(torch.ones_like(dictionary.weight))
    return window.analysis(signal.square()).flatten(1).amax(1).clamp_min(0).sqrt()


def sparsity_limit(coherence: float) -> float:
    """(1 + 1/μ) / 3: a code with fewer nonzeros in each stripe is stable (Theorem 19, Theorem 1 of the paper).

    Let x = A(z) + e. If ‖z‖₀,∞ is below the limit, the solution z* of the signed Lasso with λ = 4‖e‖₂,∞ has a support
    contained in that of z, differs from z by less than 7.5 ‖e‖₂,∞ in every entry, and so contains every entry of z
    larger than that. The theorem is about whole atoms of unit norm: padding with zeros, which cuts atoms off at the
    border, is outside it.
    """
    return (1 + 1 / coherence) / 3 if coherence > 0 else math.inf


def inactive_radius(lasso: Lasso, minimiser: Tensor) -> Tensor:
    r"""How far the signal may move, in ℓ2, with each zero of the minimiser sure to stay zero; (N, C, ...).

    For the residual r = x − A(z) and the column a of an entry it is (λ − aᵀr)/‖a‖, with aᵀr in modulus where codes have
    signs, and 0 where the entry is not zero: r is a nonexpansive function of x, because the least value of the problem
    is the infimal convolution of ½‖·‖² with a convex function of x.

    Args:
        lasso: the problem.
        minimiser: its code, (N, C, ...). What is said is as exact as it is.
    """
    correlation = lasso.dictionary.analysis(lasso.residual(minimiser))
    squared = lasso.dictionary.with_weight(lasso.dictionary.weight.square())
    norm = squared.analysis(torch.ones_like(lasso.signal[:1])).clamp_min(torch.finfo(correlation.dtype).tiny).sqrt()
    margin = lasso.penalty - (correlation if lasso.nonnegative else correlation.abs())
    return torch.where(minimiser == 0, (margin / norm).clamp_min(0), 0.0)


def encoder_gap(radius: Tensor, atoms: int) -> Tensor:
    """The encoder gap τ of each image, (N,), at ``atoms`` entries of the code that are given up.

    As long as the signal moves by less than τ in ℓ2, all other entries stay zero (R. Muthukumar and J. Sulam,
    "Adversarial robustness of supervised sparse coding", NeurIPS 2020). They divide by no column's norm, since their
    atoms are whole; here a border cuts atoms off.

    Args:
        radius: of each entry, from :func:`inactive_radius`.
        atoms: how many entries of one image's code are given up, from 0 to one less than there are.

    Raises:
        ValueError: for a number out of range.
    """
    entries = radius.flatten(1)
    if not 0 <= atoms < entries.shape[1]:
        raise ValueError(f"atoms must be from 0 to {entries.shape[1] - 1}; got {atoms}.")
    return entries.kthvalue(atoms + 1, dim=1).values


@dataclass(frozen=True)
class Recovery:
    """How well a found code agrees with a planted one, per image, each (N,).

    Attributes:
        precision: the share of the found support that was planted; 1 if nothing was found.
        recall: the share of the planted support that was found; 1 if nothing was planted.
        relative_error: ‖found − planted‖₂ / ‖planted‖₂.
        largest_error: ‖found − planted‖∞.
    """

    precision: Tensor
    recall: Tensor
    relative_error: Tensor
    largest_error: Tensor


def support_recovery(found: Tensor, planted: Tensor, threshold: float = 0.0) -> Recovery:
    """Compare two codes (N, C, ...); entries of modulus at most ``threshold`` count as zero in both.

    Raises:
        ValueError: if the shapes differ or the threshold is negative.
    """
    if found.shape != planted.shape:
        raise ValueError(f"found must have the shape of planted, {tuple(planted.shape)}; got {tuple(found.shape)}.")
    if not threshold >= 0:
        raise ValueError(f"threshold must be >= 0; got {threshold}.")
    ours, theirs = (code.flatten(1).abs() > threshold for code in (found, planted))
    common = (ours & theirs).sum(1)
    error = (found - planted).flatten(1)
    return Recovery(
        precision=torch.where(ours.any(1), common / ours.sum(1).clamp_min(1), 1.0),
        recall=torch.where(theirs.any(1), common / theirs.sum(1).clamp_min(1), 1.0),
        relative_error=error.norm(dim=1) / planted.flatten(1).norm(dim=1).clamp_min(torch.finfo(planted.dtype).tiny),
        largest_error=error.abs().amax(1),
    )
