"""SDNet: convolutional sparse coding layers for visual recognition (Dai et al., NeurIPS 2022)."""

import sdnet.threads  # noqa: F401  (before torch is loaded)
from sdnet.csc.convert import Conversion, convert
from sdnet.csc.export import to_onnx
from sdnet.csc.lam import set_lam
from sdnet.csc.layers import CSCConv1d, CSCConv2d, csc_layers
from sdnet.csc.projection import project_, project_after_step

__version__ = "0.1.0"
__all__ = [
    "CSCConv1d",
    "CSCConv2d",
    "Conversion",
    "convert",
    "csc_layers",
    "project_",
    "project_after_step",
    "set_lam",
    "to_onnx",
]
