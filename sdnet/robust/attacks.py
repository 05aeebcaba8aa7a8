"""Attacks on classifiers of images with pixels in [0, 1]: one adapter over two kept libraries.

PGD and FGSM are torchattack's (1.7, MIT): typed, for Python 3.10–3.13, without dependencies beyond torch and
torchvision, and batched in torch. AutoAttack and Square are pyautoattack's (0.2, MIT): the authors' own code as a
package, whose flags come with it. The others were left out on evidence: foolbox 3.3 (2024) imports from a module that
SciPy 2 removes and has neither AutoAttack nor Square; torchattacks 3.5 (2023) pins a version of requests from 2020;
in adversarial-robustness-toolbox 1.20 Square and AutoAttack go through NumPy at every step. Both libraries are
optional: ``pip install 'sdnet[attacks]'``.
"""

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from sdnet.models.classifier import Normalize
from sdnet.names import unknown_name
from sdnet.parameters import Amount, Count, Positive, check_fields
from sdnet.robust.smoothed import SmoothThresholds, check_smoothed

NORMS = {"linf": "Linf", "l2": "L2"}
EPSILONS = {"linf": 8 / 255, "l2": 0.5}
"""Norm → ε of Table 4."""
PGD = ("pgd", "pgd_smoothed")
GRADIENT = (*PGD, "fgsm")
"""Attacks that know other units than pixels."""
UNITS = ("pixels", "normalised")
TARGETS = 9
"""Classes that AutoAttack's targeted attacks aim at, as published."""


@dataclass(frozen=True)
class Attack:
    """An attack and its budget.

    Attributes:
        name: of :data:`ATTACKS`; ``"autoattack"`` is the standard one, ``"pgd_smoothed"`` PGD through smoothed
            thresholds (BPDA).
        norm: ``"linf"`` or ``"l2"``.
        epsilon: radius of the ball around each image.
        steps: of PGD, smoothed or not; queries of Square. FGSM and AutoAttack have their own and do not look at it.
        step_size: of PGD; None for 2.5 ε / steps (Madry et al. 2018).
        restarts: of PGD and Square: an image keeps the first perturbation that is misclassified, else the last.
        random_start: of PGD: uniform in the cube for L∞; a random direction and a uniform radius for L2.
        units: ``"pixels"``, or ``"normalised"``: the ball is measured after the network's normalisation, so that a
            radius of ε is about ε/4 in pixels. For PGD and FGSM.
    """

    name: str
    norm: str
    epsilon: Amount
    steps: Count = 20
    step_size: Positive | None = None
    restarts: Count = 1
    random_start: bool = True
    units: str = "pixels"

    def __post_init__(self) -> None:
        check_fields(self)
        for what, given, known in (
            ("attack", self.name, ATTACKS),
            ("norm", self.norm, tuple(NORMS)),
            ("units", self.units, UNITS),
        ):
            if given not in known:
                raise ValueError(unknown_name(what, given, known))
        if self.name in PGD and self.restarts > 1 and not self.random_start:
            raise ValueError(f"restarts={self.restarts} without random_start are all the same; choose one of the two.")
        if self.units != "pixels" and self.name not in GRADIENT:
            raise ValueError(f"units={self.units!r} are for {' and '.join(GRADIENT)}; {self.name} works in pixels.")

    @property
    def effective_step_size(self) -> float:
        """The step size of PGD in numbers."""
        return 2.5 * self.epsilon / self.steps if self.step_size is None else self.step_size


def perturb(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, seed: int = 0) -> Tensor:
    """Images in the attack's ball, and in [0, 1], that the model is meant to misclassify.

    White box: gradients are those of ``model`` as it is, whatever it computes. The model is left as it was, no weight
    gets a gradient, and torch's random numbers go on as if nothing had been drawn.

    Args:
        model: images in, class scores out, in eval mode; normalisation is inside it.
        images: (N, 3, H, W), float, pixels in [0, 1].
        labels: (N,), the true classes, from which the attack leads away.

    Raises:
        ValueError: for images that are not pixels in [0, 1], a model in train mode, or a library that is missing.
        RuntimeError: if what the library returns is outside the ball or not finite.
    """
    _check(model, images, labels)
    images = images.detach().contiguous()
    if attack.epsilon == 0 or len(images) == 0:
        return images.clone()
    devices = [images.device] if images.device.type == "cuda" else []
    with _frozen(model), torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seed)
        result = ATTACKS[attack.name](model, images, labels, attack, seed).detach()
    return _verified(result, images, attack, _scale(model, images, attack))


@contextmanager
def autoattack_flags() -> Iterator[list[str]]:
    """Collect what AutoAttack warns of while it runs: randomised or dynamic defences, zero gradients, Square ahead."""
    flags: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: flags.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("auto-attack")
    logger.addHandler(handler)
    try:
        yield flags
    finally:
        logger.removeHandler(handler)


def zero_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Which images have a loss whose gradient is zero in every pixel, so that no gradient attack can move: (N,)."""
    _check(model, images, labels)
    with _frozen(model), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(pixels), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, pixels)
    return gradient.flatten(1).abs().sum(1) == 0


def library(name: str) -> ModuleType:
    """An attack library, imported when it is needed.

    Raises:
        ValueError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = name.partition(".")[0]
        raise ValueError(
            f"this attack needs the library {missing}; get it with: pip install 'sdnet[attacks]' (Python below 3.14)."
        ) from error


def _pgd(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, seed: int) -> Tensor:
    return _descend(model, images, labels, attack, attack.effective_step_size, attack.steps, attack.random_start)


def _pgd_smoothed(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, seed: int) -> Tensor:
    """PGD whose gradient passes through thresholds that are smoothed backwards (:mod:`sdnet.robust.smoothed`)."""
    with SmoothThresholds():
        check_smoothed(model(images[:1].clone().requires_grad_()))
        return _pgd(model, images, labels, attack, seed)


def _fgsm(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, seed: int) -> Tensor:
    """One step of size ε from the image itself; under L2 along the gradient instead of its sign."""
    return _descend(model, images, labels, attack, attack.epsilon, 1, False)


def _descend(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, step_size: float, steps: int, random_start: bool
) -> Tensor:
    torchattack = library("torchattack")
    kind = torchattack.PGD if attack.norm == "linf" else torchattack.PGDL2
    scale = _scale(model, images, attack)
    low, high = torch.zeros_like(scale), 1 / scale
    inner = kind(
        model,
        normalize=partial(torch.mul, scale),
        device=images.device,
        eps=attack.epsilon,
        steps=steps,
        alpha=step_size,
        random_start=random_start,
        clip_min=low,
        clip_max=high,
    )
    # Of each image its own loss: with the mean, a step would depend on the size of the batch once gradients are tiny.
    inner.lossfn = nn.CrossEntropyLoss(reduction="sum")
    result = images.clone()
    left = torch.arange(len(images), device=images.device)
    for _ in range(attack.restarts if random_start else 1):
        result[left] = inner(images[left] / scale, labels[left]).detach() * scale
        if attack.restarts > 1:
            with torch.no_grad():
                left = left[model(result[left]).argmax(1) == labels[left]]
        if len(left) == 0:
            break
    return result


def _square(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, seed: int) -> Tensor:
    kind = library("pyautoattack.square").SquareAttack
    inner = kind(
        model,
        norm=NORMS[attack.norm],
        n_queries=attack.steps,
        eps=attack.epsilon,
        n_restarts=attack.restarts,
        seed=seed,
        device=images.device,
        resc_schedule=False,
    )
    result: Tensor = inner.perturb(images, labels)
    return result


def _autoattack(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, seed: int) -> Tensor:
    kind = library("pyautoattack").AutoAttack
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    if classes < 4:
        raise ValueError(
            f"AutoAttack's losses need at least 4 classes; this model has {classes}. Choose pgd or square."
        )
    version = "rand" if attack.name == "autoattack_rand" else "standard"
    inner: Any = kind(
        model, norm=NORMS[attack.norm], eps=attack.epsilon, seed=seed, version=version, device=images.device
    )
    for targeted in (inner.apgd_targeted, inner.fab):
        targeted.n_target_classes = min(TARGETS, classes - 1)
    result: Tensor = inner.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    return result


ATTACKS: dict[str, Callable[[nn.Module, Tensor, Tensor, Attack, int], Tensor]] = {
    "pgd": _pgd,
    "pgd_smoothed": _pgd_smoothed,
    "fgsm": _fgsm,
    "autoattack": _autoattack,
    "autoattack_rand": _autoattack,
    "square": _square,
}
"""Name → (model, images, labels, attack, seed) ↦ images in the attack's ball; :func:`perturb` checks that they are."""


def _scale(model: nn.Module, images: Tensor, attack: Attack) -> Tensor:
    """What one unit of the ball is in pixels, per channel: 1, or the standard deviation of the normalisation."""
    if attack.units == "pixels":
        return images.new_ones(images.shape[1], 1, 1)
    found = [module for module in model.modules() if isinstance(module, Normalize)]
    if len(found) != 1:
        raise ValueError(f"normalised units need a model with one Normalize module; this one has {len(found)}.")
    return found[0].std.detach()


def _check(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    if any(module.training for module in model.modules()):
        raise ValueError("the network is in train mode, where its predictions depend on the batch; call eval() first.")
    if not images.is_floating_point() or images.dim() != 4:
        raise ValueError(f"images must be floats (N, 3, H, W); got {images.dtype}, shape {tuple(images.shape)}.")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        low, high = images.min().item(), images.max().item()
        raise ValueError(
            f"images must be pixels in [0, 1]; got [{low:.3g}, {high:.3g}]. Normalisation belongs inside the model."
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise ValueError(f"labels must be {len(images)} integers; got {labels.dtype}, shape {tuple(labels.shape)}.")


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Within, no weight asks for a gradient."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _verified(result: Tensor, images: Tensor, attack: Attack, scale: Tensor) -> Tensor:
    """The result, clipped to [0, 1], if it lies there and in the ball up to rounding."""
    inside = bool(((result >= -1e-5) & (result <= 1 + 1e-5)).all())
    result = result.clamp(0, 1)
    shift = ((result - images) / scale).flatten(1).double()
    radius = (shift.abs().amax(1) if attack.norm == "linf" else shift.norm(dim=1)).max().item()
    if not (inside and radius <= attack.epsilon * (1 + 1e-4) + 1e-5):
        ball = f"radius {radius:.6g}, ε = {attack.epsilon:.6g}"
        raise RuntimeError(f"{attack.name} left [0, 1] or its ball ({ball}); report it with the seed.")
    return result
