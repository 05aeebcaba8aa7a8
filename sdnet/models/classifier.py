"""What all networks have in common: pixels in [0, 1] in, class scores out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Per-channel standardisation of pixels in [0, 1]; inside the network, so that attacks act on pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def set(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the statistics of a data set's training images (one number per channel)."""
        self.mean.copy_(torch.tensor(mean).view(-1, 1, 1))
        self.std.copy_(torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """A network that maps images (N, 3, H, W) with pixels in [0, 1] to class scores; it standardises them itself."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize()
