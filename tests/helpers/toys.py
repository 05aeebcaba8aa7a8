"""Networks, images, trainings and attacks small enough for a test."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdnet import models
from sdnet.data.datasets import Split
from sdnet.models.resnet import ResNet
from sdnet.robust.attacks import EPSILONS, Attack
from sdnet.training.checkpoint import save_network
from sdnet.training.declaration import training

TINY = {"epochs": 1, "width": 2, "atoms": 4, "precision": "fp32"}
LINF = Attack("pgd", "linf", EPSILONS["linf"], steps=5)
L2 = Attack("pgd", "l2", EPSILONS["l2"], steps=5)


class Linear(nn.Module):
    """Two classes apart by a plane: the class is the sign of ⟨w, x⟩ + b, the margin the distance from it times ‖w‖."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3 * 8 * 8) * torch.rand(3 * 8 * 8))
        self.b = nn.Parameter(-(pixels.flatten(1) @ self.w).mean())
        self.eval()

    def value(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1) @ self.w + self.b

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(pixels)), self.value(pixels)], 1)


def network(arch: str = "sdnet18", **options: object) -> ResNet:
    """A tiny network whose batch normalisation has seen data, so that its outputs are neither constant nor huge."""
    atoms = 8 if models.ARCHITECTURES[arch].depths else None
    model = models.build(arch, 10, width=4, atoms=atoms, **options)
    model.normalize.set([0.5] * 3, [0.25] * 3)
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.rand(32, 3, 16, 16))
    return model.eval()


def untrained(path: Path, arch: str = "sdnet18", **options: Any) -> Path:
    """A file as a training on the digits leaves it, with weights as they begin."""
    declared = training(arch, "digits", "smoke", **options)
    save_network(path, declared.build(10), {"training": declared.config, "classes": list("0123456789")})
    return path


def all_csc(**options: object) -> ResNet:
    """A network of CSC layers alone and without shortcuts, which can be decoded."""
    return network("sdnet18_all", shortcut=False, **options)


def images(count: int = 12) -> Split:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 16, 16, 3), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.arange(count) % 10)
