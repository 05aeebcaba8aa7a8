"""Atoms that are learned: their constraint after every step of an optimizer, and L, which follows them."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from sdnet.csc.dictionary import Dictionary, unit_norm
from sdnet.csc.lipschitz import falls_short, fourier_bound, power_iteration, random_probe
from sdnet.csc.projection import Projected
from sdnet.runtime import is_traced

SMALL_SIDE = 16
"""Up to this many signal (or code) channels the Fourier bound is the cheaper way to L."""
COMPUTED = ("weight_orig", "weight_g", "parametrizations")
"""What a layer holds whose weight PyTorch computes anew from something else: pruning, weight and spectral norm."""


class Atoms(Projected):
    """A layer with a dictionary, and with L of it as a buffer, which notices when one was changed and not the other."""

    weight: nn.Parameter
    lipschitz: Tensor
    probe: Tensor
    projected: bool
    """Whether the atoms stay on the unit sphere."""
    lipschitz_first: bool = False
    """Whether L is brought up to date before the atoms are put back on the sphere."""
    lipschitz_method: str
    """``"fourier"`` (certified bound) or ``"power"`` (warm-started power iteration)."""
    _seen: tuple[float, ...] = ()
    """The :meth:`_state` in which the weight was projected or found to be."""

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

        Raises:
            ValueError: if the weight is computed from something else, so that projecting it would not last.
        """
        if self._is_computed():
            raise ValueError(
                f"{type(self).__name__}: its weight is computed anew at every call by pruning or a parametrization, so "
                "a projection would not last; make the weight permanent with torch.nn.utils.prune.remove or "
                "torch.nn.utils.parametrize.remove_parametrizations, then project."
            )
        if self.weight.is_meta:  # no values to project, and working out the shapes of L takes longer than of a network
            return
        if self.lipschitz_first:
            self._update_lipschitz(power_steps)
        if self.projected:
            self.weight.copy_(unit_norm(self.weight))
        if not self.lipschitz_first:
            self._update_lipschitz(power_steps)
        self.see()

    @torch.no_grad()
    def begin_(self) -> None:
        """Take up a weight that no step has led to: L is that of the atoms on the sphere, also where it is usually
        found before they are put there."""
        if self.lipschitz_first:
            self.weight.copy_(unit_norm(self.weight))
        self.project_(power_steps=30)

    def see(self) -> None:
        """Take the weight as it is for projected, until it changes."""
        self._seen = self._state()

    def _state(self) -> tuple[float, ...]:
        """Where weight and L lie, and how often they were written into; what is written through ``.data`` counts as
        nothing, so on a CPU, where looking waits for no device, the first atom is added up too."""
        weight, lipschitz = self.weight, self.lipschitz
        sample = weight.detach()[0].sum().item() if weight.device.type == "cpu" else 0.0
        sample = 0.0 if math.isnan(sample) else sample  # which equals not even itself
        return weight.data_ptr(), weight._version, lipschitz.data_ptr(), lipschitz._version, sample

    def check_projected(self) -> None:
        """Raise ValueError if the weight was changed and not projected, or L set to what does not suit it.

        As long as nothing changes it costs nothing.

        A weight that is no parameter is another's affair (``torch.func.functional_call``, sharding), unless pruning or
        the like computes it. Where values cannot be looked at, as under ``torch.func.vmap`` or in a program that is
        being traced, nothing is.
        """
        if is_traced():
            return
        if not self._is_computed() and not isinstance(self.weight, nn.Parameter):
            return
        try:
            if self._seen == self._state():
                return
            fault = self.fault()
        except RuntimeError:
            return
        if fault is not None:
            raise ValueError(
                f"{type(self).__name__}: {fault}; after averaging, pruning (torch.nn.utils.prune.remove comes first) "
                "or setting weights by hand call sdnet.project_(model, power_steps=30), and before training "
                "sdnet.project_after_step(optimizer, model)."
            )
        self.see()

    @torch.no_grad()
    def fault(self) -> str | None:
        """What is wrong with the weight, as the end of a sentence, or None: it is as ``project_`` leaves it, up
        to rounding."""
        if not 0 < self.lipschitz.item() < math.inf:
            return f"its Lipschitz constant is {self.lipschitz.item():.4g}, where it must be finite and > 0"
        off = off_sphere(self.weight) if self.projected else None
        if off or self.lipschitz_first:  # whose L is that of other atoms than these
            return off
        return falls_short(self.lipschitz, self.dictionary, self._buffers.get("probe"))

    def _is_computed(self) -> bool:
        return any(hasattr(self, name) for name in COMPUTED)

    def _update_lipschitz(self, power_steps: int) -> None:
        if self.lipschitz_method == "fourier":
            self.lipschitz.copy_(fourier_bound(self.dictionary))
        else:
            if power_steps > 1:  # it may be as to_empty leaves it
                norm = self.probe.norm()
                self.probe.copy_(torch.where((norm > 0) & norm.isfinite(), self.probe, random_probe(self.dictionary)))
            norm, probe = power_iteration(self.dictionary, self.probe, power_steps)
            # An estimate from below: the margin keeps the step size under 1/L.
            self.lipschitz.copy_((norm / 0.9).clamp_min(torch.finfo(norm.dtype).tiny))
            self.probe.copy_(torch.where(norm > 0, probe, self.probe))  # atoms of zeros leave none to go on from


@torch.no_grad()
def off_sphere(weight: Tensor) -> str | None:
    """Says of atoms (C, ...) of which one has neither norm 1 nor norm 0, up to rounding (also to bfloat16 and
    back), how long it is; or None."""
    norms = torch.linalg.vector_norm(weight.flatten(1).float(), dim=1)
    off = torch.where(norms == 0, 0, (norms - 1).abs())
    rounding = max(5e-3, 4 * torch.finfo(weight.dtype).eps)
    if off.max().item() <= rounding:
        return None
    return f"it has an atom of norm {norms[off.argmax()].item():.4g}, where each should have norm 1"
