"""What is measured on a trained member of the family: attacks, reconstruction, coherence; one ledger row."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdnet.csc.coherence import deep_coherence
from sdnet.csc.dictionary import Dictionary
from sdnet.csc.layers import CSCConv2d
from sdnet.csc.network import Network
from sdnet.csc.theory import local_sparsity, mutual_coherence, sparsity_limit
from sdnet.data.batches import evaluation_batches, to_pixels
from sdnet.data.datasets import Split
from sdnet.experiments.attacks.protocols import correct_by, craft
from sdnet.experiments.attacks.settings import IMAGES
from sdnet.experiments.corruptions.sweep import subset
from sdnet.models.classifier import Classifier
from sdnet.models.mixed_scale import MSDCSC, MixedScaleLayer
from sdnet.models.multilayer import MultiLayer
from sdnet.models.pursuit import PursuitNet
from sdnet.names import unknown_name
from sdnet.results import networks
from sdnet.results.evaluation import prepare
from sdnet.results.ledger import Record
from sdnet.results.unfinished import Keep, computed
from sdnet.robust.attacks import Attack, perturb
from sdnet.robust.policies import fingerprint
from sdnet.training import loop
from sdnet.training.stopping import stoppable

EPSILONS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
"""Radii of the L∞ ball in pixels; the document writes "appropriate values of ε"."""
PGD_STEPS = {"paper": 20, "quick": 20, "smoke": 3}
CODED = 100
"""Images whose codes are looked at; the errors of single images differ little."""
Cell = dict[str, Any]


@stoppable()
def run(
    network: str | os.PathLike[str],
    *,
    preset: str = "quick",
    images: int | None = None,
    source: str | os.PathLike[str] | None = None,
    attacked: bool = True,
    data_root: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> tuple[Record, Path]:
    """Measure a trained network; write a ledger row ``"pursuit"``.

    Its cells, each with ``blocks`` (depth) and ``iterations``: ``top1`` on all test images; ``robust_top1`` under FGSM,
    PGD and, with a source, under FGSM and PGD crafted there (``protocol`` ``"transfer"``), gradients passing through
    all iterations; ``reconstruction_error`` and ``reconstruction_share`` per layer and iteration; ``coherence``,
    ``frame_potential`` and ``welch_bound`` of a pursuit's block dictionary; and what the theorems of
    :mod:`sdnet.csc.layered` ask of every layer (:func:`stability`). Every crafting is kept when it is scored: a run
    that was stopped resumes when it is called again.

    Args:
        network: a name of :func:`sdnet.results.networks.names`, or a path.
        preset: says how many images are attacked by PGD (:data:`IMAGES`), with how many steps.
        images: test images that are attacked by FGSM, in random order; all by default. PGD takes the first of them.
        source: the network on which perturbations are crafted for the transfer attack.
        attacked: False to leave attacks out.

    Raises:
        ValueError: for a network or preset that does not exist, a source of other data or classes, or a number of
            images below 1.
        sdnet.training.distributed.Preempted: after SIGTERM or Ctrl-C.
    """
    if preset not in IMAGES:
        raise ValueError(unknown_name("preset", preset, IMAGES))
    if images is not None and images < 1:
        raise ValueError(f"images must be at least 1; got {images}.")
    evaluation = prepare(network, data_root=data_root, device=device, precision="fp32")
    model, test = evaluation.model, evaluation.data.test.to(evaluation.device)
    chosen = subset(test, len(test) if images is None else images)
    other = None
    if source is not None and not attacked:
        raise ValueError(f"source {os.fspath(source)!r} has no effect without attacks; leave it out, or attack.")
    if source is not None:
        other = networks.load_source(source, evaluation.trained).model.to(evaluation.device)
    inputs = {"source": None if other is None else fingerprint(other, with_lam=True)}
    said = {"source": None if other is None else networks.label(str(source)), "attacked": attacked}
    measurement = evaluation.measurement("pursuit", inputs, size=preset, images=len(chosen), **said)
    with loop.exact_float32(), measurement.keep as keep:
        right = keep("clean", lambda: loop.accuracy(model, test))
        cells: list[Cell] = [{"metric": "top1", "split": "test", "value": right, "n": len(test)}]
        if attacked:
            cells += attack_cells(model, chosen, IMAGES[preset], PGD_STEPS[preset], other, keep)
        signal = model.normalize(to_pixels(subset(chosen, CODED).images))
        cells += reconstruction(model, signal) + coherence(model) + stability(model, signal)
        where = {"blocks": evaluation.trained.training.network.get("depth"), "iterations": iterations_of(model)}
        return measurement.finish([{**where, **cell} for cell in cells])


def iterations_of(model: nn.Module) -> int:
    """T of a network; 1 where it does not iterate."""
    return int(getattr(model, "iterations", 1))


def attack_cells(
    model: nn.Module, split: Split, few: int, steps: int, source: nn.Module | None = None, keep: Keep = computed
) -> list[Cell]:
    """Accuracy on images that were right before, under each attack and radius; ``protocol`` says where it was made.

    Args:
        few: so many of the images are attacked by PGD.
        steps: of PGD.
    """
    makers = {"white_box": model, **({} if source is None else {"transfer": source})}
    cells: list[Cell] = []
    for name, images, count in (("fgsm", split, 1), ("pgd", Split(split.images[:few], split.labels[:few]), steps)):
        pixels = torch.cat([pixels for pixels, _ in evaluation_batches(images)])
        clean = correct_by(model, pixels, images.labels)
        for epsilon in EPSILONS:
            attack = Attack(name, "linf", epsilon, count, random_start=name == "pgd")
            for protocol, maker in makers.items():

                def under_attack(attack: Attack = attack, maker: nn.Module = maker, images: Split = images) -> Tensor:
                    return correct_by(model, craft(maker, images, attack), images.labels)

                right = clean & keep(f"{name} {epsilon:.6f} {protocol}", under_attack)
                where = {"attack": name, "norm": "linf", "epsilon": epsilon, "steps": count}
                value = right.double().mean().item()
                cells.append({"metric": "robust_top1", "protocol": protocol, **where, "value": value, "n": len(right)})
    return cells


def fgsm_accuracy(model: nn.Module, split: Split, epsilon: float) -> float:
    """Accuracy under FGSM (Eq. 19), whatever the network said before."""
    right = 0
    for images, labels in evaluation_batches(split, 250):
        bent = perturb(model, images, labels, Attack("fgsm", "linf", epsilon, 1, random_start=False))
        right += int(correct_by(model, bent, labels).sum())
    return right / len(split)


@torch.no_grad()
def reconstruction(model: Classifier, signal: Tensor) -> list[Cell]:
    """How well the codes of a normalised image explain what they are codes of, per layer and iteration (Fig. 8).

    ``reconstruction_error`` is the mean square of u_j − B_j w_j, ``reconstruction_share`` its sum of squares as a share
    of that of u_j: the errors of networks whose codes have different sizes can be compared by the latter only.
    Iteration 1 is the feed-forward pass. Of networks that solve layer by layer and have no block dictionary there is
    the last iteration only; of others, nothing.
    """
    cells: list[Cell] = []

    def note(layer: int, iteration: int, target: Tensor, left: Tensor) -> None:
        error, size = left.square().mean().item(), target.square().mean().item()
        where = {"layer": layer, "iteration": iteration, "n": len(signal)}
        cells.append({"metric": "reconstruction_error", **where, "value": error})
        cells.append({"metric": "reconstruction_share", **where, "value": error / max(size, 1e-12)})

    if isinstance(model, PursuitNet):
        problem = model.problem()

        def watch(layer: int, step: int, codes: list[Tensor]) -> None:
            target = problem.target(layer, [signal, *codes])
            image = problem.layers[layer - 1].operator.synthesis(codes[layer - 1], target.shape[2:])
            note(layer, step + 1, target, target - image)

        start, _ = model.feed_forward(signal)
        for layer in range(1, len(start) + 1):
            watch(layer, 0, start)
        model.codes(signal, watch)
    for layer, (target, left) in enumerate(_last(model, signal), start=1):
        note(layer, iterations_of(model), target, left)
    return cells


def _last(model: Classifier, signal: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each layer that is solved on its own, what it codes and what its code leaves over."""
    pairs = []
    if isinstance(model, MultiLayer):
        for layer, norm, code in zip(model.layers, model.norms, model.codes(signal), strict=True):
            assert isinstance(layer, CSCConv2d)
            pairs.append((signal, layer.lasso(signal).residual(code)))
            signal = norm(code)
    elif isinstance(model, MSDCSC):
        for layer, code in zip(model.layers, model.codes(signal), strict=True):
            assert isinstance(layer, MixedScaleLayer)
            (left,) = Network((layer.problem(),)).residuals(signal, [code])
            pairs.append((signal, left))
            signal = code
    return pairs


def coherence(model: Classifier) -> list[Cell]:
    """Deep mutual coherence, frame potential and Welch bound of a pursuit's block dictionary (Figs. 9 and 10)."""
    if not isinstance(model, PursuitNet):
        return []
    found = deep_coherence(model.problem(), 3)
    values = {"coherence": found.largest, "frame_potential": found.frame_potential, "welch_bound": found.welch_bound}
    return [{"metric": metric, "value": value, "n": 1} for metric, value in values.items()]


@torch.no_grad()
def stability(model: Classifier, signal: Tensor) -> list[Cell]:
    """What the theorems of layered pursuits ask for, layer by layer: ``layer_coherence`` μ(B_j), ``layer_limit``
    (1 + 1/μ)/3 on the non-zeros in a stripe, and ``layer_sparsity``, the fewest that the code of any image has."""
    if not isinstance(model, PursuitNet | MultiLayer):
        return []
    cells: list[Cell] = []
    for layer, (module, code) in enumerate(zip(model.layers, model.codes(signal), strict=True), start=1):
        dictionary = module.dictionary
        assert isinstance(dictionary, Dictionary)
        mu = mutual_coherence(dictionary)
        values = {
            "layer_coherence": mu,
            "layer_limit": sparsity_limit(mu),
            "layer_sparsity": int(local_sparsity(code, dictionary).min()),
        }
        cells += [{"metric": name, "layer": layer, "value": value, "n": len(code)} for name, value in values.items()]
    return cells
