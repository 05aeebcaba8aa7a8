"""SDNet: convolutional sparse coding layers for visual recognition (Dai et al., NeurIPS 2022)."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdnet.csc.convert import Conversion, convert
    from sdnet.csc.export import to_onnx
    from sdnet.csc.lam import set_lam
    from sdnet.csc.layers import CSCConv1d, CSCConv2d, csc_layers
    from sdnet.csc.projection import project_, project_after_step
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

# Public name → its module, which is imported when the name is first used: the command line must set the environment
# before torch is loaded (see __main__.py).
_MODULES = {
    "CSCConv1d": "sdnet.csc.layers",
    "CSCConv2d": "sdnet.csc.layers",
    "Conversion": "sdnet.csc.convert",
    "convert": "sdnet.csc.convert",
    "csc_layers": "sdnet.csc.layers",
    "project_": "sdnet.csc.projection",
    "project_after_step": "sdnet.csc.projection",
    "set_lam": "sdnet.csc.lam",
    "to_onnx": "sdnet.csc.export",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


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
