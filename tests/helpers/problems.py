"""Small convolutional Lassos that the tests solve."""

import torch
from torch import Tensor

from sdnet.csc.dictionary import Dictionary, unit_norm
from sdnet.csc.lasso import Lasso
from sdnet.csc.solvers import solve

GEOMETRIES = {
    "3x3": ((6, 2, 3, 3), 1, 1, 1, 1, "zeros", (6, 5)),
    "strided": ((8, 2, 3, 3), 2, 1, 1, 1, "zeros", (9, 8)),
    "dilated": ((5, 2, 2, 2), 1, 1, 2, 1, "zeros", (7, 6)),
    "grouped": ((8, 2, 3, 3), 1, 1, 1, 2, "zeros", (5, 5)),
    "circular": ((4, 2, 3, 3), 1, 1, 1, 1, "circular", (6, 6)),
    "1x1": ((6, 3, 1, 1), 1, 0, 1, 1, "zeros", (4, 4)),
    "1d": ((5, 2, 4), 1, 2, 1, 1, "zeros", (15,)),
}


def tensor(value: object) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def problem(geometry: str = "3x3", lam: object = 0.3, nonnegative: bool = False, ridge: float = 0.0) -> Lasso:
    """Three images of uniform pixels and random unit atoms."""
    shape, stride, padding, dilation, groups, mode, size = GEOMETRIES[geometry]
    dims = len(size)
    weight = unit_norm(torch.randn(shape, dtype=torch.float64))
    dictionary = Dictionary(weight, (stride,) * dims, ((padding, padding),) * dims, (dilation,) * dims, groups, mode)
    signal = torch.rand(3, dictionary.signal_channels, *size, dtype=torch.float64)
    return Lasso(dictionary, signal, tensor(lam), nonnegative, ridge)


def alone(lasso: Lasso, image: int, lam: Tensor | None = None) -> Lasso:
    """The problem of one image."""
    lam = lasso.lam if lam is None else lam
    return Lasso(lasso.dictionary, lasso.signal[image : image + 1], lam, lasso.nonnegative, lasso.ridge)


def minimiser(lasso: Lasso) -> Tensor:
    solution = solve(lasso, iterations=20000, tolerance=2e-14, restart=True)
    assert solution.gap.max() < 1e-13
    return solution.code
