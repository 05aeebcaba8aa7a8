"""Question 9, who solves Eq. 4: our duality gap of what other libraries' solvers and ours have after n iterations.

The problem is the same for all: the stem's atoms of a trained network, pieces of photographs, z >= 0, and a circular
boundary, which is the one that SPORCO's solvers have. Everything is computed in float64. An iteration is a solver's
own: a proximal step, a step of ADMM, or a pass of coordinate descent over all entries of the code; they cost
differently, and no time is measured.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdnet.csc.dictionary import Dictionary
from sdnet.csc.lam import coding_layers
from sdnet.csc.lasso import Lasso
from sdnet.csc.solvers import solve
from sdnet.experiments.benchmark import recorded
from sdnet.names import unknown_name
from sdnet.results import networks

NETWORKS = tuple(f"sdnet18-w16-cifar10-s{seed}" for seed in range(3))
"""Stored networks whose atoms are taken, in the order of their seeds."""
ITERATIONS = (1, 2, 4, 8, 16, 64, 256)
LAMS = (0.1, 0.5)
DATA = "photographs"
"""As the ledger names the pieces."""
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
"""Of scikit-learn, which brings them."""
PIECES, SIDE, SHRINK = 8, 8, 8
"""Pieces of the photographs, their side in pixels, and by how much the photographs are made smaller before."""
Solver = Callable[[Lasso, int], Tensor]


def _ours(method: str, restart: bool = False) -> Solver:
    return lambda lasso, iterations: solve(lasso, method, iterations=iterations, restart=restart).code


def sporco(lasso: Lasso, iterations: int, family: str) -> Tensor:
    """SPORCO's convolutional basis pursuit denoising, ``"admm"`` or ``"pgm"`` (FISTA with backtracking).

    Its ADMM adapts the penalty ρ at every tenth iteration. At every one, as by default, it may go on in circles.

    Raises:
        ImportError: without the library.
    """
    from importlib import import_module

    problem = import_module(f"sporco.{family}.cbpdn").ConvBPDN
    told: dict[str, Any] = {"MaxMainIter": iterations, "RelStopTol": 0.0, "NonNegCoef": True, "Verbose": False}
    if family == "pgm":
        told["Backtrack"] = import_module("sporco.pgm.backtrack").BacktrackStandard()
    else:
        told["AutoRho"] = {"Period": 10}
    atoms = lasso.dictionary.weight.permute(2, 3, 1, 0).numpy()
    codes = []
    for signal, lam in zip(lasso.signal, lasso.lam.expand(len(lasso.signal)).tolist(), strict=True):
        solver = problem(atoms, signal.permute(1, 2, 0).numpy(), lam, problem.Options(told), dimK=0)
        code = torch.from_numpy(solver.solve()).reshape(*signal.shape[1:], -1).permute(2, 0, 1)
        # SPORCO lays an atom down by its first corner, a convolution with padding by its middle.
        codes.append(code.roll([pads[0] for pads in lasso.dictionary.padding], (1, 2)))
    return torch.stack(codes).clamp_min(0)


def coordinate_descent(lasso: Lasso, iterations: int) -> Tensor:
    """scikit-learn's ``Lasso(positive=True)``, on the dictionary written out as a matrix."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso as Regression

    _, *shape = lasso.code_shape
    units = torch.eye(lasso.signal[0].numel(), dtype=lasso.signal.dtype).view(-1, *lasso.signal.shape[1:])
    matrix = lasso.dictionary.analysis(units).flatten(1).numpy()
    codes = []
    for signal, lam in zip(lasso.signal, lasso.lam.expand(len(lasso.signal)).tolist(), strict=True):
        told = {"positive": True, "fit_intercept": False, "max_iter": iterations, "tol": 0.0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = Regression(lam / signal.numel(), **told).fit(matrix, signal.flatten().numpy())
        codes.append(torch.from_numpy(fitted.coef_).view(*shape))
    return torch.stack(codes)


OURS: dict[str, Solver] = {"ista": _ours("ista"), "fista": _ours("fista"), "fista, restarts": _ours("fista", True)}
OTHERS: dict[str, Solver] = {
    "SPORCO, ADMM": lambda lasso, iterations: sporco(lasso, iterations, "admm"),
    "SPORCO, PGM": lambda lasso, iterations: sporco(lasso, iterations, "pgm"),
    "scikit-learn": coordinate_descent,
}
SOLVERS = {**OURS, **OTHERS}
"""Name → the code (N, C, H, W) of a problem after so many iterations from zero."""


def pieces(count: int = PIECES, side: int = SIDE) -> Tensor:
    """Pieces (count, 3, side, side) of scikit-learn's photographs, pixels in [0, 1], float64, the same each time."""
    from sklearn.datasets import load_sample_image

    generator, found = torch.Generator().manual_seed(0), []
    for index in range(count):
        picture = torch.from_numpy(load_sample_image(PHOTOGRAPHS[index % len(PHOTOGRAPHS)]).copy())
        small = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1).double() / 255, SHRINK)
        top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for size in small.shape[1:])
        found.append(small[:, top : top + side, left : left + side])
    return torch.stack(found)


def problem(network: str, signals: Tensor, lam: float) -> Lasso:
    """Eq. 4 with the atoms of a network's stem, a circular boundary, and signals that it has normalised."""
    model = networks.load(network).model
    weight = coding_layers(model)[0][1].weight.detach().double()
    pad = weight.shape[-1] // 2
    dictionary = Dictionary(weight, (1, 1), ((pad, pad), (pad, pad)), (1, 1), padding_mode="circular")
    return Lasso(dictionary, model.normalize(signals), torch.tensor(lam, dtype=torch.float64))


@torch.no_grad()
def measure(
    names: Sequence[str], solvers: Sequence[str], iterations: Sequence[int] = ITERATIONS, count: int = PIECES
) -> list[dict[str, Any]]:
    """Ledger cells ``relative_gap``: by network (``seed``), λ, solver and iterations the geometric mean over pieces.

    A solver whose library is not there has no cells.
    """
    cells: list[dict[str, Any]] = []
    signals = pieces(count)
    for seed, name in enumerate(names):
        for lam in LAMS:
            lasso = problem(name, signals, lam)
            for solver in solvers:
                for steps in iterations:
                    try:
                        gap = lasso.relative_gap(SOLVERS[solver](lasso, steps))
                    except ImportError:
                        break
                    value = gap.clamp_min(torch.finfo(gap.dtype).tiny).log().mean().exp().item()
                    about = {"seed": seed, "strength": lam, "method": solver, "iteration": steps}
                    cells.append({"metric": "relative_gap", **about, "value": value, "n": count})
    return cells


def record(
    device: torch.device, *, names: Sequence[str] = NETWORKS, solvers: Sequence[str] = tuple(SOLVERS)
) -> tuple[Path, list[dict[str, Any]]]:
    """Run :func:`measure` on a CPU and write its cells to the ledger.

    Raises:
        ValueError: for a solver that does not exist, or a device that is no CPU.
    """
    for solver in solvers:
        if solver not in SOLVERS:
            raise ValueError(unknown_name("solver", solver, SOLVERS))
    if device.type != "cpu":
        raise ValueError(f"other libraries' solvers run on a CPU; got the device {device}: choose --device cpu.")
    scale = networks.load(names[0]).training.config
    config = {name: scale[name] for name in ("preset", "recipe")}
    config |= {"what": "solvers", "dataset": DATA, "arch": "sdnet18", "precision": "fp64", "images": PIECES}
    return recorded(lambda: measure(names, solvers), device, config, "solvers")
