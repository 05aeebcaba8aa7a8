"""λ's two neighbours: a threshold on the other side of the batch normalisation, and λ with recomputed statistics."""

import torch
from torch import Tensor, nn

from sdnet.csc.lam import CodingLayer, coding_layers, own_lam, set_lam
from sdnet.csc.prox import soft_threshold
from sdnet.models.resnet import ResNet
from sdnet.robust.knobs import BatchStatistics, Knob, in_eval


class NormThreshold(Knob):
    """Threshold behind the batch normalisation of a CSC stem, around what it makes of a code that is zero.

    Soft: values move towards that by so much, in the units in which the normalisation gives them. For a code of one
    step it differs from λ in that alone: λ is one number before the normalisation has scaled every channel.
    """

    name, read = "norm_threshold", False

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, ResNet) or not isinstance(model.stem[0], CodingLayer):
            raise ValueError(
                f"this {type(model).__name__} has no CSC layer before a normalisation in its stem; choose an sdnet."
            )
        self.network = in_eval(model)
        self.model = self.network

    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        layer, norm, *after = self.network.stem
        code = layer(self.network.normalize(images))
        silent = norm(torch.zeros_like(code[:1, :, :1, :1]))
        values = norm(code) - silent
        shrunk = silent + soft_threshold(values, strengths.to(values.dtype).view(-1, 1, 1, 1, 1))
        features = shrunk.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        for module in after:
            features = module(features)
        return self.network.classify(features).unflatten(0, (len(strengths), len(images)))


class LamWithBatchStatistics(BatchStatistics):
    """λ, with batch normalisation that takes the statistics of the test batch at that λ: recomputed, not trained."""

    name = "lam_with_batch_statistics"

    def __init__(self, model: nn.Module) -> None:
        if not coding_layers(model):
            raise ValueError("this network has no CSC layer whose λ could be turned; convert one with sdnet.convert.")
        super().__init__(model)
        self.trained = own_lam(model)

    @property
    def start(self) -> float:
        return self.trained

    @torch.no_grad()
    def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
        rows = []
        for lam in strengths.unbind():
            set_lam(self.model, lam)  # of this knob's own copy of the network
            rows.append(super().scores(images, strengths.new_ones(1)))
        set_lam(self.model, self.trained)
        return torch.cat(rows)
