"""Networks that solve for their codes: L-TP, L-BP, DP and DP-res (Cazenavette, Murdock and Lucey, CVPR 2021).

The document calls a network without further iterations layered thresholding pursuit (L-TP); it is an ordinary one.
L-BP solves layer by layer, DP all layers together, DP-res with skip connections. Their problem and its solver are in
:mod:`sdnet.csc.network` and :mod:`sdnet.csc.pursuit`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sdnet.csc.atoms import Atoms
from sdnet.csc.dictionary import Dictionary
from sdnet.csc.network import Connection, Layer, Network, Subsampling
from sdnet.csc.pursuit import Watch, pursue
from sdnet.models.classifier import Classifier

CHAIN = (Connection(0),)
"""The inputs of a layer that is a network of its own."""


class PursuitLayer(Atoms):
    """Atoms of 3 × 3 pixels, batch normalisation, λ and β: what one layer of a pursuit learns.

    A feed-forward pass gives relu(s Bᵀu + o − λ), s and o being scale and offset of the batch normalisation. It is
    thresholding for the dictionary B diag(s) with the penalty λ − o, and that is the problem which all further
    iterations work on (Sec. 4 of the document: scale and offset are those of the feed-forward pass). λ is minus the
    learned offset of the normalisation, kept >= 0. The penalty may be negative, where o is larger: on codes w >= 0 it
    is linear and the problem convex all the same.

    Args:
        in_channels, out_channels, stride, dilation: as in ``nn.Conv2d``, with padding to the same size.
        lam: λ >= 0 to begin with, in units of the normalised correlations.
        beta: β in (0, 1] to begin with; None for a layer that makes no step after the feed-forward pass. What is
            learned is −log β >= 0, so that weight decay leads towards the conservative step size.
    """

    projected = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        lam: float = 0.0,
        beta: float | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.dilation = stride, dilation
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        nn.init.kaiming_normal_(self.weight)
        self.norm = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.norm.bias, -lam)
        if beta is not None:
            self.log_step = nn.Parameter(torch.tensor(-math.log(beta)))
        self.follow()
        self.project_(power_steps=30)

    @property
    def dictionary(self) -> Dictionary:
        """B as it is learned, without the scale of the normalisation."""
        pad = ((self.dilation,) * 2,) * 2
        return Dictionary(self.weight, (self.stride,) * 2, pad, (self.dilation,) * 2)

    @property
    def beta(self) -> Tensor:
        """β in (0, 1]; 1 for a layer that learns none."""
        return torch.exp(-self.log_step) if hasattr(self, "log_step") else self.weight.new_ones(())

    @torch.no_grad()
    def project_(self, power_steps: int = 1) -> None:
        """Keep λ >= 0 and β <= 1, and bring ‖B‖² up to date."""
        self.norm.bias.clamp_(max=0)
        if hasattr(self, "log_step"):
            self.log_step.clamp_(min=0)
        super().project_(power_steps)

    def frozen(self, correlation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scale s and offset o − λ, (C,): those of the batch whose correlations Bᵀu are given, else the running ones.

        Raises:
            ValueError: for normalisation over several ranks, whose statistics are not known here.
        """
        if isinstance(self.norm, nn.SyncBatchNorm):
            raise ValueError("a pursuit has no sync_batchnorm, since it needs the batch's statistics; leave it out.")
        variance, mean = self.norm.running_var, self.norm.running_mean
        if correlation is not None:
            exact = correlation.to(torch.promote_types(correlation.dtype, torch.float32))
            variance, mean = torch.var_mean(exact, (0, 2, 3), correction=0)
        assert variance is not None
        assert mean is not None
        scale = self.norm.weight * torch.rsqrt(variance + self.norm.eps)
        return scale, self.norm.bias - scale * mean

    def problem(self, inputs: tuple[Connection, ...] = CHAIN, correlation: Tensor | None = None) -> Layer:
        """What further iterations solve, normalised as :meth:`frozen` says.

        Raises:
            ValueError: if the weight was changed, and not L with it.
        """
        self.check_projected()
        scale, offset = self.frozen(correlation if self.training else None)
        return Layer(self.dictionary.scaled(scale), inputs, -offset, scale.square() * self.lipschitz, self.beta)


def plan(width: int, depth: int) -> list[tuple[int, int, int]]:
    """(in, out, stride) of every layer: a stem, then three stages of ``depth`` blocks of two layers.

    Stages have width × (1, 2, 4) channels; the first layer of the second and third halves the resolution.
    """
    layers, channels = [(3, width, 1)], width
    for stage in range(3):
        for block in range(depth):
            out = width * 2**stage
            layers += [(channels, out, 2 if stage and not block else 1), (out, out, 1)]
            channels = out
    return layers


def shortcut(source: int, into: int, out: int, stride: int) -> Connection:
    """A skip connection without parameters: the identity; where the shape changes, every second pixel and channels of
    zeros, so that networks with and without skip connections have the same number of parameters (Sec. 4)."""
    same = (into, stride) == (out, 1)
    return Connection(source, None if same else Subsampling(into, out, (stride, stride)))


class PursuitNet(Classifier):
    """A chain of coding layers, or one with a skip connection around the first layer of each block (Fig. 4).

    Its codes are those of ``iterations`` − 1 steps of every layer from the feed-forward pass on, and gradients go
    through all of them; the classifier sees the mean of the last layer's code over its positions.

    Args:
        num_classes: size of the output.
        width: channels of the first stage; 64 is the full size, as for all networks here. See :func:`plan`.
        depth: blocks per stage; 1 is the document's "depth-1 network".
        iterations: T >= 1 of Figs. 6, 9 and 10; 1 is the feed-forward network.
        schedule: ``"layered"`` or ``"deep"`` (:func:`sdnet.csc.pursuit.pursue`).
        skips: with skip connections.
        extrapolation: α of Eq. 14, in [0, 1); the document gives its range and no number.
        lam, beta: to begin with, of all layers (:class:`PursuitLayer`).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        depth: int = 1,
        iterations: int = 1,
        schedule: str = "layered",
        skips: bool = False,
        extrapolation: float = 0.0,
        lam: float = 0.0,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        self.iterations, self.schedule, self.skips, self.extrapolation = iterations, schedule, skips, extrapolation
        self.plan = plan(width, depth)
        known = beta if iterations > 1 else None
        self.layers = nn.ModuleList(PursuitLayer(i, o, stride=s, lam=lam, beta=known) for i, o, s in self.plan)
        self.head = nn.Linear(self.plan[-1][1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, num_classes) of images (N, 3, H, W) with pixels in [0, 1]."""
        scores: Tensor = self.head(self.codes(self.normalize(images))[-1].mean((2, 3)))
        return scores

    def codes(self, signal: Tensor, watch: Watch | None = None) -> list[Tensor]:
        """The codes of all layers for a normalised image; ``watch`` as in :func:`sdnet.csc.pursuit.pursue`."""
        start, correlations = self.feed_forward(signal)
        steps = self.iterations - 1
        if steps == 0:
            return start
        problem = self.problem(correlations)
        return pursue(problem, signal, start, steps, self.schedule, extrapolation=self.extrapolation, watch=watch)

    def feed_forward(self, signal: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The codes of the feed-forward pass, and the correlations Bᵀu before normalisation."""
        codes, correlations = [signal], []
        for j, layer in enumerate(self.layers, start=1):
            assert isinstance(layer, PursuitLayer)
            total = codes[j - 1]
            for connection in self.inputs(j)[1:]:
                total = total + connection(codes[connection.source])
            correlations.append(layer.dictionary.analysis(total))
            codes.append(torch.relu(layer.norm(correlations[-1])))
        return codes[1:], correlations

    def problem(self, correlations: Sequence[Tensor | None] | None = None) -> Network:
        """The problem that the network poses; with the batch's statistics in training, for which it needs ``Bᵀu``."""
        given = correlations or [None] * len(self.layers)
        layers = [layer for layer in self.layers if isinstance(layer, PursuitLayer)]
        each = zip(layers, given, strict=True)
        return Network(tuple(layer.problem(self.inputs(j), seen) for j, (layer, seen) in enumerate(each, start=1)))

    def inputs(self, j: int) -> tuple[Connection, ...]:
        """The connections of layer j: to the layer before; in a block's second layer, also to the one before that."""
        if not self.skips or j % 2 == 0 or j == 1:
            return (Connection(j - 1),)
        return Connection(j - 1), shortcut(j - 2, *self.plan[j - 2])
