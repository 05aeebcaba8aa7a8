"""One residual network for every row of the paper: ResNet, SDNet and SDNet-All differ by what they are given.

The body is He et al.'s ResNet of basic blocks, with the CIFAR stem of kuangliu/pytorch-cifar (3×3, no
pooling) or the ImageNet stem (7×7, stride 2, max-pooling), as Sec. 4 of the paper says.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sdnet.models.classifier import Classifier

STEMS = ("cifar", "imagenet")


class Conv(Protocol):
    """Builds a convolution-like layer: ``nn.Conv2d``, ``sdnet.CSCConv2d``, or a partial of either."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int, padding: int, bias: bool
    ) -> nn.Module: ...


class BasicBlock(nn.Module):
    """conv–BN–ReLU–conv–BN, plus the shortcut, then ReLU.

    Args:
        conv: builds both 3×3 convolutions.
        inner_relu: keep the ReLU between them (the authors' SDNet-All has none: its codes are non-negative).
        shortcut: add the input (through a 1×1 convolution where the shape changes). Without a shortcut the
            authors' network drops the final ReLU too, which makes the block invertible by decoding.
        shortcut_conv: builds that 1×1 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        conv: Conv,
        *,
        inner_relu: bool,
        shortcut: bool,
        shortcut_conv: Conv = nn.Conv2d,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True) if inner_relu else nn.Identity()
        self.conv2 = conv(out_channels, out_channels, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module | None = None
        if shortcut and (stride != 1 or in_channels != out_channels):
            self.shortcut = nn.Sequential(
                shortcut_conv(in_channels, out_channels, 1, stride=stride, padding=0, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        elif shortcut:
            self.shortcut = nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(features)))))
        return out if self.shortcut is None else torch.relu(out + self.shortcut(features))


class ResNet(Classifier):
    """A residual network whose convolutions are injected.

    Args:
        depths: number of basic blocks in each of the four stages: (2, 2, 2, 2) for 18 layers.
        num_classes: size of the output.
        width: channels of the first stage; 64 is the paper's. Stages have width × (1, 2, 4, 8) channels.
        atoms: channels of the stem; 64 is the paper's.
        stem: ``"cifar"`` or ``"imagenet"``.
        kernel: side of the stem's filters, odd; None for the stem's own, 3 or 7.
        first: builds the stem's convolution.
        conv: builds the 3×3 convolutions of the blocks.
        stem_relu: apply ReLU after the stem's batch normalisation.
        block_relu: the ReLU inside the blocks.
        shortcut: residual connections.
        shortcut_conv: builds the 1×1 convolutions of the shortcuts.
        pool: builds a 3×3 layer of stride 2 in place of the ImageNet stem's max-pooling; None for max-pooling.
    """

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int,
        *,
        width: int = 64,
        atoms: int = 64,
        stem: str = "cifar",
        kernel: int | None = None,
        first: Conv = nn.Conv2d,
        conv: Conv = nn.Conv2d,
        stem_relu: bool = True,
        block_relu: bool = True,
        shortcut: bool = True,
        shortcut_conv: Conv = nn.Conv2d,
        pool: Conv | None = None,
    ) -> None:
        super().__init__()
        default, stride = (3, 1) if stem == "cifar" else (7, 2)
        kernel = kernel or default
        self.stem = nn.Sequential(
            first(3, atoms, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(atoms),
            nn.ReLU(inplace=True) if stem_relu else nn.Identity(),
            nn.Identity(),
        )
        if stem == "imagenet":
            self.stem[3] = (
                nn.MaxPool2d(3, stride=2, padding=1)
                if pool is None
                else pool(atoms, atoms, 3, stride=2, padding=1, bias=False)
            )
        stages, channels = [], atoms
        for index, depth in enumerate(depths):
            blocks = []
            for block in range(depth):
                out_channels = width * 2**index
                stride = 2 if index > 0 and block == 0 else 1
                options: dict[str, Any] = {"inner_relu": block_relu, "shortcut": shortcut}
                blocks.append(BasicBlock(channels, out_channels, stride, conv, shortcut_conv=shortcut_conv, **options))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (N, num_classes) of images (N, 3, H, W) with pixels in [0, 1]."""
        return self.classify(self.stem(self.normalize(images)))

    def classify(self, features: Tensor) -> Tensor:
        """Class scores from what the stem gives: all that comes after it."""
        scores: Tensor = self.head(self.stages(features).mean((2, 3)))
        return scores
