"""What can be turned at test time: λ of an SDNet, and what stands beside it as a control.

A knob is a classifier with one strength. It classifies a batch at many strengths at once and computes what
does not depend on the strength only once. Networks stay in ``eval`` mode and are left as they were found.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from sdnet.csc.lam import at_lams, coding_layers, own_lam
from sdnet.csc.lasso import check_lam
from sdnet.csc.layers import csc_layers
from sdnet.models.resnet import ResNet

Model = TypeVar("Model", bound=nn.Module)
MOST = 64
"""Strengths at a time, however many there are."""


class Knob(ABC):
    """A classifier with one strength that can be turned.

    Attributes:
        name: what is turned, as the ledger says it.
        model: the network, in eval mode.
        batch: number of images that are classified together, where the result depends on that; else None.
        read: whether strengths are read as numbers, one after the other, or computed with.
    """

    name: str
    model: nn.Module
    batch: int | None = None
    read = True

    @property
    def start(self) -> float:
        """The strength at which the network is as it was trained."""
        return 0.0

    def ready(self, strengths: Sequence[float] | Tensor) -> Tensor:
        """Strengths (K,) where :meth:`scores` wants them, for many batches: so that none of these waits for a device.

        On the CPU if they are ``read`` as numbers, else on the network's device.
        """
        turned = torch.as_tensor(strengths)
        return turned.cpu() if self.read else turned.to(next(self.model.parameters()).device)

    @abstractmethod
    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        """Class scores (K, N, classes) of images (N, 3, H, W), pixels in [0, 1], at K strengths (K,)."""

    def many_scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        """:meth:`scores` at however many strengths, of which :data:`MOST` go together."""
        return torch.cat([self.scores(images, part) for part in strengths.split(MOST)])


class Lam(Knob):
    """λ of every layer of a network that has one: the paper's knob. See :func:`sdnet.csc.lam.at_lams`."""

    name, read = "lam", False

    def __init__(self, model: nn.Module) -> None:
        if not coding_layers(model):
            raise ValueError("this network has no CSC layer whose λ could be turned; convert one with sdnet.convert.")
        self.model = in_eval(model)

    @property
    def start(self) -> float:
        return own_lam(self.model)

    def ready(self, strengths: Sequence[float] | Tensor) -> Tensor:
        turned = torch.as_tensor(strengths)
        check_lam(turned)  # before it goes to a device, where at_lams does not look
        return super().ready(turned)

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        return at_lams(self.model, strengths, images)


class LamShift(Lam):
    """What is added to the λ of every layer: a knob for SCN, each of whose layers has learned a λ of its own."""

    name = "lam_shift"

    @property
    def start(self) -> float:
        return 0.0

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        return at_lams(self.model, strengths, images, shift=True)


class Iterations(Knob):
    """Number of steps of every CSC layer of a network at test time, whatever it was trained with.

    Args:
        method: the solver that takes them, one of :data:`sdnet.csc.solvers.METHODS`.
    """

    def __init__(self, model: nn.Module, method: str) -> None:
        self.layers = [layer for _, layer in csc_layers(model)]
        if not self.layers:
            raise ValueError("this network has no CSC layer whose steps could be counted; choose an sdnet.")
        self.model, self.method, self.name = in_eval(model), method, f"{method}_iterations"

    @property
    def start(self) -> float:
        return self.layers[0].iterations

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        before = [(layer.method, layer.iterations) for layer in self.layers]
        scores = []
        try:
            for strength in strengths.tolist():
                if strength < 1 or strength != int(strength):
                    raise ValueError(f"a number of iterations must be an integer >= 1; got {strength}.")
                for layer in self.layers:
                    layer.method, layer.iterations = self.method, int(strength)
                scores.append(self.model(images))
        finally:
            for layer, (method, iterations) in zip(self.layers, before, strict=True):
                layer.method, layer.iterations = method, iterations
        return torch.stack(scores)


class StemThreshold(Knob):
    """The threshold t of ReLU(v − t) after the stem's batch normalisation: a λ for networks without sparse coding.

    t = 0 is the network as it was trained. For a residual network of :mod:`sdnet.models` with a ReLU in its stem.
    """

    name, read = "stem_threshold", False

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, ResNet) or not isinstance(model.stem[2], nn.ReLU):
            raise ValueError(
                f"this {type(model).__name__} has no ReLU whose threshold could be shifted, as a resnet has behind its "
                "stem; choose a resnet, or another knob."
            )
        self.network = in_eval(model)
        self.model = self.network

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        conv, norm, _, pool = self.network.stem
        values = norm(conv(self.network.normalize(images)))
        shifts = strengths.to(values.dtype).view(-1, 1, 1, 1, 1)
        features = torch.relu(values - shifts).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.network.classify(pool(features)).unflatten(0, (len(strengths), len(images)))


class Denoiser(Knob):
    """Strength of a denoiser in front of a network.

    Args:
        denoise: (images, strength) ↦ images, pixels in [0, 1]; see :mod:`sdnet.robust.denoisers`.
    """

    def __init__(self, model: nn.Module, denoise: Callable[[Tensor, float], Tensor], name: str) -> None:
        self.model, self.denoise, self.name = in_eval(model), denoise, name

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        return torch.stack([self.model(self.denoise(images, strength)) for strength in strengths.tolist()])


class BatchStatistics(Knob):
    """How far batch normalisation follows the test batch: 0 keeps the training statistics, 1 takes the batch's own.

    Schneider et al. (2020), "Improving robustness against common corruptions by covariate shift adaptation": means
    and variances are interpolated linearly. Predictions depend on the other images of their batch of 500, as those of
    Algorithm 1 do through the averaged residual.
    """

    name, batch = "batch_statistics", 500

    def __init__(self, model: nn.Module) -> None:
        self.model = deepcopy(in_eval(model))
        self.norms = [module for module in self.model.modules() if isinstance(module, nn.BatchNorm2d)]
        if not self.norms:
            raise ValueError("this network has no nn.BatchNorm2d whose statistics could be adapted.")

    @torch.no_grad()
    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        saved = [deepcopy(norm.state_dict()) for norm in self.norms]
        scores = []
        for strength in strengths.tolist():
            if not 0 <= strength <= 1:
                raise ValueError(f"the share of the batch's statistics must lie in [0, 1]; got {strength}.")
            hooks = [norm.register_forward_pre_hook(_follow(strength)) for norm in self.norms]
            scores.append(self.model(images))
            for hook, norm, state in zip(hooks, self.norms, saved, strict=True):
                hook.remove()
                norm.load_state_dict(state)
        return torch.stack(scores)


def _follow(share: float) -> Callable[[nn.Module, tuple[Tensor]], None]:
    def hook(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance, share)

    return hook


def in_eval(model: Model) -> Model:
    """The network itself; ValueError unless it is in eval mode."""
    if model.training:
        raise ValueError("the network is in train mode, where its predictions depend on the batch; call eval() first.")
    return model
