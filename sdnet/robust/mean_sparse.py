"""MeanSparse: features near their mean become it, after training; a threshold for networks without sparse coding."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdnet.robust.knobs import Knob, in_eval


class MeanSparse(Knob):
    """α of Amini et al. (2024), "MeanSparse: post-training robustness enhancement through mean-centered feature
    sparsification": a feature within α standard deviations of its channel's mean is replaced by that mean.

    Here it stands behind every batch normalisation, whose offset β and scale |γ| are mean and deviation on the training
    images; they do it before every activation, with statistics taken for the purpose. α = 0 is the network as it was
    trained. The derivative is 0 where a feature is replaced, and 1 elsewhere.

    Raises:
        ValueError: for a network without batch normalisation, or in train mode.
    """

    name = "mean_sparse"

    def __init__(self, model: nn.Module) -> None:
        self.model = in_eval(model)
        self.norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.affine]
        if not self.norms:
            raise ValueError("this network has no nn.BatchNorm2d behind which features could be made sparse.")

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        scores = []
        for strength in strengths.tolist():
            hooks = [norm.register_forward_hook(_sparse(strength)) for norm in self.norms] if strength else []
            try:
                scores.append(self.model(images))
            finally:
                for hook in hooks:
                    hook.remove()
        return torch.stack(scores)


def _sparse(alpha: float) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(norm: nn.Module, inputs: tuple[Tensor, ...], features: Tensor) -> Tensor:
        mean, deviation = (
            getattr(norm, name).detach().to(features.dtype).view(-1, 1, 1) for name in ("bias", "weight")
        )
        deviation = deviation.abs().clamp_min(torch.finfo(features.dtype).tiny)
        return mean + deviation * F.hardshrink((features - mean) / deviation, alpha)

    return hook
