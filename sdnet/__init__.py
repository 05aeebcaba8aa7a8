"""SDNet: convolutional sparse coding layers for visual recognition (Dai et al., NeurIPS 2022)."""

import os
from typing import TYPE_CHECKING

import sdnet.threads  # noqa: F401  (before torch is loaded)
from sdnet.csc.convert import Conversion, convert
from sdnet.csc.export import to_onnx
from sdnet.csc.layers import CSCConv1d, CSCConv2d, csc_layers, set_lam
from sdnet.csc.projection import project_, project_after_step

if TYPE_CHECKING:
    from sdnet.results.networks import Network

__version__ = "0.1.0"
__all__ = [
    "CSCConv1d",
    "CSCConv2d",
    "Conversion",
    "convert",
    "csc_layers",
    "load",
    "project_",
    "project_after_step",
    "set_lam",
    "to_onnx",
]


def load(network: str | os.PathLike[str]) -> "Network":
    """A trained network, in eval mode: ``load("sdnet18-w16-cifar10-s0").model(images)`` are its class scores.

    ``images`` (N, 3, H, W) have pixels in [0, 1], which the network standardises itself; ``.preprocess("cat.jpg")``
    makes them of image files. ``.classes`` names its classes, ``.card`` says how it was trained and how accurate it is.

    Args:
        network: a name in ``data/networks``, or the path of a file that a training left.

    Raises:
        ValueError: if there is no such network (the message names those near it), or its file is not the one that
            its card describes.
    """
    from sdnet.results import networks  # what the layer alone does not need: models, data, the ledger

    return networks.load(network)
