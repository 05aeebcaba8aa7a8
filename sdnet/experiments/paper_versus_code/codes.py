"""What can be computed within seconds: how far the released code's arithmetic is from the paper's, on one stem.

All on the stem of a trained network and crops of photographs, in float64. The released computations are written here
from what the code does, not with its code.
"""

from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from sdnet.csc.dictionary import Dictionary
from sdnet.csc.lasso import Lasso
from sdnet.csc.layers import CSCConv2d
from sdnet.csc.lipschitz import fourier_bound, power_iteration, random_probe
from sdnet.csc.solvers import unroll
from sdnet.data.batches import to_pixels
from sdnet.data.corruptions import SEVERITIES
from sdnet.data.datasets import load
from sdnet.data.pictures import photo_crops
from sdnet.models import build
from sdnet.results import networks
from sdnet.robust.algorithm1 import RELEASED_LEVELS
from sdnet.training import loop

POWER_STEPS, TOLERANCE = 50, 1e-5
"""Of the released power iteration: at most so many steps, and the squared change of the vector at which it ends."""
RELEASED_STD = (0.2023, 0.1994, 0.2010)
"""What the released code divides the channels of CIFAR-10 and CIFAR-100 by."""


def posed(network: str, images: int = 2, size: int = 32) -> Lasso:
    """The problem that the stem of a network of the repository poses for crops of photographs, in float64."""
    model = networks.load(network).model
    layer = model.get_submodule("stem.0")
    assert isinstance(layer, CSCConv2d)
    weight = layer.weight.detach().double()
    signal = model.normalize(photo_crops(images, size)).double()
    return Lasso(layer.dictionary.with_weight(weight), signal, layer.lam.double())


def released_lipschitz(dictionary: Dictionary, size: int, probe: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """L as the released code finds it: power iterations on AᵀA over the code of an image, and its vector.

    Args:
        size: side of the image.
        probe: the vector of the last call; None to begin with a random one, drawn with a fixed seed.
    """
    signal_size = (size, size)
    if probe is None:
        generator = torch.Generator().manual_seed(0)
        shape = (1, len(dictionary.weight), *dictionary.code_size(signal_size))
        probe = torch.randn(shape, generator=generator).to(dictionary.weight)
    for _ in range(POWER_STEPS):
        image = dictionary.analysis(dictionary.synthesis(probe, signal_size))
        last, probe = probe, image / image.norm()
        if (probe - last).square().sum() <= TOLERANCE:
            break
    return dictionary.synthesis(probe, signal_size).square().sum(), probe


NAMES = {"heavy_ball": "heavy ball", "ista": "ISTA"}


def solvers(lasso: Lasso, counts: tuple[int, ...] = (1, 2, 3, 4, 8)) -> pd.DataFrame:
    """Steps → of ISTA and of the released heavy ball ‖z − z_FISTA‖/‖z_FISTA‖ and P(z)/P(z_FISTA) − 1 (Eq. 4)."""
    step, lines = 1 / fourier_bound(lasso.dictionary, lasso.signal_size), []
    for count in counts:
        codes = {method: unroll(lasso, step, count, method) for method in ("fista", "heavy_ball", "ista")}
        line: dict[str, float] = {"steps": count}
        fista = codes.pop("fista")
        for method, code in codes.items():
            line[f"{NAMES[method]}: distance of the code"] = float((code - fista).norm() / fista.norm())
            line[f"{NAMES[method]}: objective"] = float((lasso.objective(code) / lasso.objective(fista) - 1).mean())
        lines.append(line)
    return pd.DataFrame(lines).set_index("steps")


def steps(lasso: Lasso) -> pd.DataFrame:
    """Step sizes, as multiples of 1/‖A‖² for the image at hand, and the relative change of the code after two steps."""
    size, dictionary = lasso.signal_size[0], lasso.dictionary
    norm, probe = released_lipschitz(dictionary, size)
    cold = norm
    for _ in range(5):
        norm, probe = released_lipschitz(dictionary, size, probe)
    power, _ = power_iteration(dictionary, random_probe(dictionary), 100)
    found = {
        "1/L, L bounded in closed form (default)": 1 / fourier_bound(dictionary),
        "0.9/L, L by power iteration (the switch)": 0.9 / power,
        "0.9/L as released, at the start": 0.9 / cold,
        "0.9/L as released, warm": 0.9 / norm,
    }
    base = unroll(lasso, found["1/L, L bounded in closed form (default)"], 2)
    lines = []
    for name, step in found.items():
        change = (unroll(lasso, step, 2) - base).norm() / base.norm()
        lines.append({"step": name, "times 1/‖A‖²": float(step * norm), "change of the code": float(change)})
    return pd.DataFrame(lines).set_index("step")


def signed(lasso: Lasso, count: int = 2) -> pd.DataFrame:
    """Two steps on the Lasso with and without the constraint z >= 0: density, share of negative entries, residual."""
    step, lines = 1 / fourier_bound(lasso.dictionary, lasso.signal_size), []
    for name, nonnegative in (("non-negative (the code)", True), ("signed (Eq. 4)", False)):
        problem = replace(lasso, nonnegative=nonnegative)
        code = unroll(problem, step, count)
        residual = problem.residual(code).norm() / problem.signal.norm()
        line = {
            "code": name,
            "non-zero": float((code != 0).double().mean()),
            "negative": float((code < 0).double().mean()),
        }
        lines.append({**line, "‖x − A(z)‖/‖x‖": float(residual)})
    return pd.DataFrame(lines).set_index("code")


def projection(count: int = 5, seed: int = 0) -> pd.Series:
    """L of the atoms before their projection over L after it, at each of some first steps of a training on digits.

    Batches of 128 at the learning rate 0.1 without a warm-up, as in the paper.
    """
    torch.manual_seed(seed)
    model = build("sdnet18", width=16, lipschitz_first=True)
    data = load("digits").train
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    layer, ratios = model.get_submodule("stem.0"), []
    assert isinstance(layer, CSCConv2d)
    for step in range(count):
        some = slice(128 * step, 128 * (step + 1))
        loop.training_step(model, optimizer, to_pixels(data.images[some]), data.labels[some], 0.1, "fp32")
        projected = layer.dictionary.with_weight(layer.weight.detach())
        ratios.append(float(layer.lipschitz / fourier_bound(projected)))
    return pd.Series(ratios, index=pd.RangeIndex(1, count + 1, name="step"))


def unit_of_lam(network: str) -> float:
    """λ of the network here that is the released code's 0.1 in units of pixels, on average over the channels."""
    std = networks.load(network).model.normalize.std.flatten()
    return float((0.1 * torch.tensor(RELEASED_STD) / std).mean())


def levels() -> pd.DataFrame:
    """The noise levels that the released script fits on, CIFAR-10-C's, and which of these lie outside its range."""
    lines = []
    for noise, released in RELEASED_LEVELS.items():
        benchmark = SEVERITIES["cifar"][noise]
        outside = [level for level in benchmark if not min(released) <= level <= max(released)]
        lines.append(
            {
                "noise": noise.replace("_", " "),
                "released": f"{released[0]:g} to {released[-1]:g}",
                "CIFAR-10-C": f"{benchmark[0]:g} to {benchmark[-1]:g}",
                "severities outside": f"{len(outside)} of {len(benchmark)}",
            }
        )
    return pd.DataFrame(lines).set_index("noise")
