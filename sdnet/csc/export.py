"""A network as one ONNX file with λ as an input, to be run where there is no PyTorch."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from sdnet.csc.lam import at_lam
from sdnet.csc.layers import csc_layers
from sdnet.parameters import check


class WithLam(nn.Module):
    """A network as a function of (images, λ): one λ for all CSC layers, as :func:`sdnet.set_lam` would set it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not (isinstance(model, nn.Module) and csc_layers(model)):
            raise ValueError("model must hold a CSC layer for λ to be an input of; it holds none: see sdnet.convert.")
        self.model = model

    def forward(self, images: Tensor, lam: Tensor) -> Tensor:
        return at_lam(self.model, lam, images)


def to_onnx(model: nn.Module, example: Tensor, path: str | Path) -> None:
    """Write ``model`` in eval mode to an ONNX file with the inputs ``images`` and ``lam`` and the output ``scores``.

    The number of images may be chosen anew in every run; their size is the example's. ``lam`` has shape ().
    Needs the packages onnx and onnxscript.

    Args:
        model: a network with at least one CSC layer.
        example: a batch of images of the size to come, (N, M, ...).
        path: the file, in a folder that exists.

    Raises:
        ValueError: if the network has no CSC layer or cannot be run on the example, or there is no such folder.
    """
    module = WithLam(model)
    check("path", os.fspath(path) if isinstance(path, os.PathLike) else path, str)
    if not Path(path).parent.is_dir():
        raise ValueError(f"there is no folder {Path(path).parent} for the ONNX file; make it first.")
    if not isinstance(example, Tensor) or example.dim() < 2 or len(example) < 1:
        given = f"shape {tuple(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise ValueError(f"example must be a tensor of at least one image, (N, M, ...); got {given}.")
    # An example with two images: PyTorch takes the size of a batch of one for a constant.
    images = example[:1].expand(2, *example.shape[1:]).contiguous()
    training = model.training
    module.eval()
    try:
        with torch.no_grad():  # what the network refuses it says more clearly here than while it is exported
            module(images, images.new_tensor(0.1))
        torch.onnx.export(
            module,
            (images, images.new_tensor(0.1)),
            path,
            input_names=["images", "lam"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("images")}, {}),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    finally:
        model.train(training)
