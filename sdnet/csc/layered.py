r"""When layered pursuits are stable: Theorems 7 and 8 of the slides, and the bound of layered ISTA under noise.

S. Zhang, "From Sparse Coding to Deep Learning" (2024), after Papyan, Romano and Elad, "Convolutional neural networks
analyzed via convolutional sparse coding", JMLR 18(83), 2017. A signal has codes :math:`X_0 = D_1 X_1`,
:math:`X_{i-1} = D_i X_i`, and reaches the pursuit with noise E. Norms are local: :math:`\|X_i\|_{0,\infty}` counts
non-zeros in a stripe (:func:`sdnet.csc.theory.local_sparsity`), the superscript P stands for the patch that one atom of
the next dictionary sees, and the noise is measured by :math:`\|E\|^P_{2,\infty}` (Theorem 7 prints
:math:`\|E\|_{0,\infty}`, which counts, and cannot be meant). Of the last code, which no dictionary sees, a patch is one
position. Atoms have length 1, and no atom is cut off by the border.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sdnet.csc.dictionary import Dictionary
from sdnet.csc.theory import local_norm, local_sparsity, mutual_coherence


@dataclass(frozen=True)
class Bound:
    """What a theorem says about one layer, for one image.

    Attributes:
        coherence: μ(D_i).
        sparsity: ‖X_i‖₀,∞.
        limit: the sparsity must be below it.
        holds: whether it is, here and in all layers before.
        lowest, highest: the threshold β_i must lie between; equal where one value is asked for, as for λ_i.
        threshold: the β_i or λ_i that ``error`` is for.
        error: ε_i, the bound on ‖X'_i − X_i‖ in every patch.
    """

    coherence: float
    sparsity: int
    limit: float
    holds: bool
    lowest: float
    highest: float
    threshold: float
    error: float


def thresholding_bounds(
    dictionaries: Sequence[Dictionary],
    codes: Sequence[Tensor],
    noise: Tensor,
    thresholds: Sequence[float] | None = None,
) -> list[Bound]:
    """Theorem 7: layered soft thresholding finds the support of every layer, with errors ε_i.

    Args:
        dictionaries: D_1 to D_K.
        codes: X_1 to X_K of one image, each (1, C, ...).
        noise: E, (1, M, ...).
        thresholds: β_i; by default 5 % above the lowest that condition b allows, since every layer's error holds its β.
    """
    bounds: list[Bound] = []
    error, holds = local_norm(noise, dictionaries[0]).item(), True
    for i, (dictionary, code) in enumerate(zip(dictionaries, codes, strict=True)):
        mu, count = mutual_coherence(dictionary), int(local_sparsity(code, dictionary))
        nonzero = code[code != 0].abs()
        least, most = nonzero.min().item(), nonzero.max().item()
        limit = math.inf if mu == 0 else (1 + least / most / mu) / 2 - error / (mu * most)
        lowest, highest = count * mu * most + error, least - (count - 1) * mu * most - error
        beta = lowest + (highest - lowest) / 20 if thresholds is None else thresholds[i]
        holds = holds and count < limit and lowest < beta < highest
        patch = _patch_sparsity(code, dictionaries[i + 1] if i + 1 < len(dictionaries) else None)
        error = math.sqrt(patch) * (error + mu * (count - 1) * most + beta)
        bounds.append(Bound(mu, count, limit, holds, lowest, highest, beta, error))
    return bounds


def pursuit_bounds(dictionaries: Sequence[Dictionary], codes: Sequence[Tensor], noise: Tensor) -> list[Bound]:
    """Layered ISTA, run to its end in every layer with λ_i = 4 ε_{i−1}: supports contained, errors ε_i, which are
    ‖E‖ 7.5^i ∏ √‖X_j‖ (slides, "Success of layered ISTA"). Without noise it recovers the codes exactly, for which
    Theorem 8 asks for half of 1 + 1/μ where this asks for a third.

    Args:
        dictionaries, codes, noise: as in :func:`thresholding_bounds`.
    """
    bounds: list[Bound] = []
    error, holds = local_norm(noise, dictionaries[0]).item(), True
    for i, (dictionary, code) in enumerate(zip(dictionaries, codes, strict=True)):
        mu, count = mutual_coherence(dictionary), int(local_sparsity(code, dictionary))
        limit = math.inf if mu == 0 else (1 + 1 / mu) / (2 if error == 0 else 3)
        holds, lam = holds and count < limit, 4 * error
        patch = _patch_sparsity(code, dictionaries[i + 1] if i + 1 < len(dictionaries) else None)
        error = 7.5 * math.sqrt(patch) * error
        bounds.append(Bound(mu, count, limit, holds, lam, lam, lam, error))
    return bounds


def patch_error(found: Tensor, planted: Tensor, following: Dictionary | None) -> float:
    """‖X' − X‖ in the worst patch, what ε_i bounds; ``following`` is D_{i+1}, or None for the last layer."""
    difference = found - planted
    if following is None:
        return difference.norm(dim=1).max().item()
    return local_norm(difference, following).max().item()


def _patch_sparsity(code: Tensor, following: Dictionary | None) -> float:
    return patch_error((code != 0).to(code.dtype), code * 0, following) ** 2
