"""MSDNet and MSD-CSC: dense connections and dilations, as a network and as sparse coding.

MSDNet is the mixed-scale dense network of Pelt and Sethian (PNAS 115(2), 2018), not the multi-scale DenseNet of the
same letters: every layer convolves all features so far, the image among them, at a dilation of its own, and adds a few
features to them. MSD-CSC explains it (Z. Zhang and S. Zhang, National Science Review 8(3), 2021; S. Zhang's slides of
2024): layer i codes all features so far with the dictionary [I Fᵀ], whose identity copies what is there. One pass of
thresholding, without a threshold on the copy, is MSDNet (Proposition 1); further steps of ISTA unfold it.
"""

import torch
from torch import Tensor, nn

from sdnet.csc.network import Connection, Layer, MixedScale, Network
from sdnet.csc.prox import soft_threshold
from sdnet.csc.pursuit import pursue
from sdnet.models.classifier import Classifier
from sdnet.models.pursuit import CHAIN, PursuitLayer

IMAGE_CHANNELS = 3


def dilation_of(index: int, dilations: int) -> int:
    """Of layer ``index`` from 0: 1, 2, ..., ``dilations``, and again."""
    return 1 + index % dilations


def check_size(images: Tensor, dilation: int) -> None:
    """Raise ValueError if the outer taps of a filter of 3 × 3 lie outside the image wherever it stands."""
    height, width = images.shape[2:]
    if dilation >= min(height, width):
        raise ValueError(
            f"a dilation of {dilation} reaches beyond images of {height} x {width} pixels; choose dilations below "
            f"{min(height, width)}."
        )


class MSDNet(Classifier):
    """The mixed-scale dense network, with batch normalisation and, for classes, a linear map of the features' means.

    Args:
        num_classes: size of the output.
        width: features that a layer adds. (The authors' add one in each of a hundred layers; few wide layers are faster
            on the hardware that is.)
        depth: layers.
        dilations: the largest dilation; layers go through 1, 2, ..., and begin again.
    """

    def __init__(self, num_classes: int, *, width: int = 64, depth: int = 5, dilations: int = 10) -> None:
        super().__init__()
        channels = IMAGE_CHANNELS
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for index in range(depth):
            dilation = dilation_of(index, dilations)
            self.convs.append(nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation, bias=False))
            self.norms.append(nn.BatchNorm2d(width))
            channels += width
        self.largest = min(depth, dilations)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, num_classes) of images (N, 3, H, W) with pixels in [0, 1]."""
        check_size(images, self.largest)
        features = self.normalize(images)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            features = torch.cat([features, torch.relu(norm(conv(features)))], 1)
        scores: Tensor = self.head(features.mean((2, 3)))
        return scores


class MixedScaleLayer(PursuitLayer):
    """A coding layer whose dictionary is [I Fᵀ]; the copies have a λ >= 0 of their own, 0 to begin with.

    The image's channels stay signed; all other features are non-negative, and so are their copies.
    """

    signed: Tensor

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int, lam: float, beta: float | None) -> None:
        super().__init__(in_channels, out_channels, dilation=dilation, lam=lam, beta=beta)
        self.copy_lam = nn.Parameter(torch.zeros(in_channels))
        signed = torch.zeros(in_channels + out_channels)
        signed[:IMAGE_CHANNELS] = 1
        self.register_buffer("signed", signed)

    @torch.no_grad()
    def project_(self, power_steps: int = 1) -> None:
        """Keep the copies' λ >= 0 too."""
        if hasattr(self, "copy_lam"):
            self.copy_lam.clamp_(min=0)
        super().project_(power_steps)

    def problem(self, inputs: tuple[Connection, ...] = CHAIN, correlation: Tensor | None = None) -> Layer:
        """The problem with the dictionary [I Fᵀ], whose norm is ‖[I Fᵀ]‖² = 1 + ‖F‖²."""
        self.check_projected()
        scale, offset = self.frozen(correlation if self.training else None)
        ones = torch.ones_like(self.copy_lam)
        operator = MixedScale(self.dictionary.scaled(scale), ones)
        curvature = torch.cat([ones, scale.square()]) * (1 + self.lipschitz)
        return Layer(operator, inputs, torch.cat([self.copy_lam, -offset]), curvature, self.beta, self.signed)


class MSDCSC(Classifier):
    """MSD-CSC: MSDNet's features as codes, found by ``iterations`` steps in each layer.

    Args:
        num_classes, width, depth, dilations: as in :class:`MSDNet`.
        iterations: T >= 1; 1 is the pass of thresholding that is MSDNet, T unfolds T − 1 steps of ISTA after it.
        lam, beta: to begin with, of all layers (:class:`sdnet.models.pursuit.PursuitLayer`).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        depth: int = 5,
        dilations: int = 10,
        iterations: int = 1,
        lam: float = 0.0,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        channels = IMAGE_CHANNELS
        self.iterations, self.largest = iterations, min(depth, dilations)
        layers = []
        for index in range(depth):
            known, dilation = beta if iterations > 1 else None, dilation_of(index, dilations)
            layers.append(MixedScaleLayer(channels, width, dilation=dilation, lam=lam, beta=known))
            channels += width
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, num_classes) of images (N, 3, H, W) with pixels in [0, 1]."""
        check_size(images, self.largest)
        scores: Tensor = self.head(self.codes(self.normalize(images))[-1].mean((2, 3)))
        return scores

    def codes(self, signal: Tensor) -> list[Tensor]:
        """The codes of all layers for a normalised image: all features so far, in MSDNet's order."""
        codes = [signal]
        for layer in self.layers:
            assert isinstance(layer, MixedScaleLayer)
            correlation = layer.dictionary.analysis(codes[-1])
            copies = soft_threshold(codes[-1], layer.copy_lam.view(-1, 1, 1))
            first = torch.cat([copies, torch.relu(layer.norm(correlation))], 1)
            if self.iterations == 1:
                codes.append(first)
                continue
            network = Network((layer.problem(correlation=correlation),))
            codes += pursue(network, codes[-1], [first], self.iterations - 1, "layered")
        return codes[1:]
