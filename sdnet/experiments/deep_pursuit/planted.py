"""Codes of two layers that satisfy what the theorems of :mod:`sdnet.csc.layered` assume, and what pursuits find."""

import pandas as pd
import torch
from torch import Tensor

from sdnet.csc.dictionary import Dictionary, unit_norm
from sdnet.csc.layered import Bound, patch_error, pursuit_bounds, thresholding_bounds
from sdnet.csc.network import Connection, Layer, Network
from sdnet.csc.prox import soft_threshold
from sdnet.csc.pursuit import fista_weights, pursue

CHANNELS, ATOMS, SUPPORT = 512, 8, 2
"""Of the signal, so many that random atoms are nearly orthogonal; atoms per dictionary; entries of an atom of D_2."""
SIZE, SPACING = 20, 10
"""Positions, and how far apart the planted entries of the last code are."""


def planted(noise: float, seed: int = 0) -> tuple[list[Dictionary], list[Tensor], Tensor]:
    """Dictionaries D_1 and D_2 in one dimension, codes X_1 = D_2 X_2 and X_2, and an error E of ‖E‖ = ``noise`` in the
    worst patch, all in double precision.

    D_1 has random atoms of three taps over many channels; each atom of D_2 has two entries of equal size in channels of
    its own, so that X_1 is sparse with entries of one size. Signals repeat: no atom is cut off.
    """
    generator = torch.Generator().manual_seed(seed)

    def circular(weight: Tensor) -> Dictionary:
        return Dictionary(unit_norm(weight), (1,), ((1, 1),), (1,), padding_mode="circular")

    first = circular(torch.randn(ATOMS, CHANNELS, 3, generator=generator, dtype=torch.float64))
    second = torch.zeros(ATOMS // SUPPORT, ATOMS, 3, dtype=torch.float64)
    for atom in range(len(second)):
        taps = torch.randint(3, (SUPPORT,), generator=generator)
        signs = 1.0 - 2 * torch.randint(2, (SUPPORT,), generator=generator)
        second[atom, torch.arange(SUPPORT) + SUPPORT * atom, taps] = signs.double()
    dictionaries = [first, circular(second)]
    code = torch.zeros(1, len(second), SIZE, dtype=torch.float64)
    for position in range(SPACING // 2, SIZE, SPACING):
        code[0, torch.randint(len(second), (), generator=generator), position] = 2.0**0.5
    codes = [dictionaries[1].synthesis(code, (SIZE,)), code]
    error = torch.randn(1, CHANNELS, SIZE, generator=generator, dtype=torch.float64)
    patch = patch_error(error, error * 0, first)
    return dictionaries, codes, error * (noise / patch)


def found_by_thresholding(dictionaries: list[Dictionary], bounds: list[Bound], signal: Tensor) -> list[Tensor]:
    """Layered soft thresholding with the thresholds of the bounds."""
    codes = []
    for dictionary, bound in zip(dictionaries, bounds, strict=True):
        signal = soft_threshold(dictionary.analysis(signal), bound.threshold)
        codes.append(signal)
    return codes


def found_by_pursuit(
    dictionaries: list[Dictionary], lams: list[float], signal: Tensor, steps: int = 300
) -> list[Tensor]:
    """Layered FISTA from zero on signed codes, each layer nearly to its minimum."""
    codes = []
    for dictionary, lam in zip(dictionaries, lams, strict=True):
        signed, bound = signal.new_ones(dictionary.atoms), signal.new_tensor(2.0)
        layer = Layer(dictionary, (Connection(0),), signal.new_tensor(lam), bound, signed=signed)
        zero = torch.zeros_like(dictionary.analysis(signal))
        (signal,) = pursue(Network((layer,)), signal, [zero], steps, "layered", extrapolation=fista_weights(steps))
        codes.append(signal)
    return codes


def table(noises: tuple[float, ...] = (0.001, 0.004, 0.016, 0.064), seed: int = 0) -> pd.DataFrame:
    """Per noise, method and layer: whether the theorem speaks, whether the support was found, error and bound."""
    rows = []
    for noise in noises:
        dictionaries, codes, error = planted(noise, seed)
        signal = dictionaries[0].synthesis(codes[0], (SIZE,)) + error
        threshold, pursuit = thresholding_bounds(dictionaries, codes, error), pursuit_bounds(dictionaries, codes, error)
        methods = {
            "layered thresholding (Theorem 7)": (threshold, found_by_thresholding(dictionaries, threshold, signal)),
            "layered ISTA": (pursuit, found_by_pursuit(dictionaries, [bound.threshold for bound in pursuit], signal)),
        }
        for method, (bounds, found) in methods.items():
            for i, (bound, ours, code) in enumerate(zip(bounds, found, codes, strict=True)):
                following = dictionaries[i + 1] if i + 1 < len(dictionaries) else None
                rows.append(
                    {
                        "method": method,
                        "‖E‖": noise,
                        "layer": i + 1,
                        "assumptions hold": bound.holds,
                        "support contained": not bool(((ours != 0) & (code == 0)).any()),
                        "support found": bool(torch.equal(ours != 0, code != 0)),
                        "error": patch_error(ours, code, following),
                        "bound": bound.error,
                    }
                )
    return pd.DataFrame(rows)
