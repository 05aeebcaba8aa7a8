"""Atoms that are learned: their constraint after every step of an optimizer, and L, which follows them."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from sdnet.csc.dictionary import Dictionary, unit_norm
from sdnet.csc.lipschitz import fourier_bound, power_iteration, random_probe
from sdnet.csc.projection import Projected

SMALL_SIDE = 16
"""Up to this many signal (or code) channels the Fourier bound is the cheaper way to L."""


class Atoms(Projected):
    """A layer with a dictionary, and with L of it as a buffer."""

    weight: nn.Parameter
    lipschitz: Tensor
    probe: Tensor
    projected: bool
    """Whether the atoms stay on the unit sphere."""
    lipschitz_first: bool = False
    """Whether L is brought up to date before the atoms are put back on the sphere."""
    lipschitz_method: str
    """``"fourier"`` (certified bound) or ``"power"`` (warm-started power iteration)."""

    @property
    @abstractmethod
    def dictionary(self) -> Dictionary:
        """The layer's dictionary A, sharing its weight."""

    def follow(self, method: str | None = None) -> None:
        """Make the buffers; by default L is the Fourier bound where that is cheap. Call it once the weight is there."""
        dictionary = self.dictionary
        channels, atoms = dictionary.weight.shape[1], len(dictionary.weight) // dictionary.groups
        small_side = min(channels * math.prod(dictionary.stride), atoms)
        self.lipschitz_method = method or ("fourier" if small_side <= SMALL_SIDE else "power")
        self.register_buffer("lipschitz", torch.ones((), dtype=self.weight.dtype, device=self.weight.device))
        if self.lipschitz_method == "power":
            self.register_buffer("probe", random_probe(dictionary))

    @torch.no_grad()
    def project_(self, power_steps: int = 1) -> None:
        """Put the atoms back on the unit sphere (Eq. 5) and bring the Lipschitz constant up to date.

        A layer with ``projected=False`` does the latter only, one with ``lipschitz_first=True`` the latter first.

        Call it after every change of the weight: :func:`sdnet.project_` does so for a whole network, and
        :func:`sdnet.project_after_step` after every step of an optimizer. ``power_steps`` counts the power
        iterations where the layer uses these; a warm start makes one enough during training.
        """
        if self.lipschitz_first:
            self._update_lipschitz(power_steps)
        if self.projected:
            self.weight.copy_(unit_norm(self.weight))
        if not self.lipschitz_first:
            self._update_lipschitz(power_steps)

    def _update_lipschitz(self, power_steps: int) -> None:
        if self.lipschitz_method == "fourier":
            self.lipschitz.copy_(fourier_bound(self.dictionary))
        else:
            norm, probe = power_iteration(self.dictionary, self.probe, power_steps)
            # An estimate from below: the margin keeps the step size under 1/L.
            self.lipschitz.copy_((norm / 0.9).clamp_min(torch.finfo(norm.dtype).tiny))
            self.probe.copy_(probe)
