"""A network as one ONNX file with λ as an input, to be run where there is no PyTorch."""

from pathlib import Path

import torch
from torch import Tensor, nn

from sdnet.csc.lam import at_lam
from sdnet.csc.layers import csc_layers


class WithLam(nn.Module):
    """A network as a function of (images, λ): one λ for all CSC layers, as :func:`sdnet.set_lam` would set it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not csc_layers(model):
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

    Raises:
        ValueError: if the network has no CSC layer.
    """
    training = model.training
    module = WithLam(model).eval()
    # An example with two images: PyTorch takes the size of a batch of one for a constant.
    images = example[:1].expand(2, *example.shape[1:]).contiguous()
    try:
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
