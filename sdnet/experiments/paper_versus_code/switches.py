"""The audit as a table: what the paper says, what the released code does, and the command that turns the difference.

The released code is Delay-Xili/SDNet at :data:`COMMIT`; files and lines are those of that commit. Nothing of it stands
here: each difference is described, and built anew where it was missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REPOSITORY, COMMIT = "Delay-Xili/SDNet", "57461875b4e4fdabd12f5d8a9e9a60525ce08836"
TRAIN = "python -m sdnet train"
ALL = f"{TRAIN} --arch sdnet18_all"
IMAGENET = "--preset paper_imagenet --dataset imagenet"
FIT = "python -m sdnet policies sdnet18-w16-cifar10-s0"


@dataclass(frozen=True)
class Trained:
    """Worth measured by training twice: with what the paper says, and with what the code does.

    Attributes:
        arch: the network.
        paper, code: options of network or recipe that differ from the defaults here.
    """

    arch: str
    paper: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FittedPolicy:
    """Worth measured by asking a policy that does as the code does beside Algorithm 1's own, ``residual_fit``."""

    policy: str


@dataclass(frozen=True)
class BestEpoch:
    """Worth measured within one training: test accuracy of the best epoch less that of the last."""


@dataclass(frozen=True)
class Ratio:
    """Worth measured in time: a case of ``bench choices``, speed of a training step over that of the step as it is."""

    case: str


Effect = Trained | FittedPolicy | BestEpoch | Ratio


@dataclass(frozen=True)
class Switch:
    """One difference.

    Attributes:
        number: of the audit.
        name: of the difference.
        paper: what the paper says, and where; "—" if it says nothing.
        code: what the released code does.
        where: file:lines, at :data:`COMMIT`.
        command: the exact command that turns it; empty where there is nothing to turn.
        gives: what the command gives: ``"paper"``, ``"code"`` or ``"both"``; the other is the default here.
        effect: how its worth is measured; None where no run could tell.
        note: how the page computes it, why there is no switch, or what else a reader should know.
        exact: what follows from arithmetic, if it decides whether the difference matters.
    """

    number: int
    name: str
    paper: str
    code: str
    where: str
    command: str = ""
    gives: str = ""
    effect: Effect | None = None
    note: str = ""
    exact: str = ""


LAYER = (
    Switch(
        1, "signed code", "Eq. 4: a signed Lasso", "soft threshold, then ReLU: the code is non-negative",
        "Lib/models/csc_layer.py:159, Lib/config/default.py:32",
        f"{TRAIN} --set nonnegative=false", "paper", Trained("sdnet18", paper={"nonnegative": False}),
    ),
    Switch(
        2, "ReLU after the stem", "Sec. 4: all other layers are retained, nonlinear ones too",
        "none after the stem's batch normalisation", "Lib/models/sdnet.py:78, 84",
        f"{TRAIN} --set stem_relu=true", "paper", Trained("sdnet18", paper={"stem_relu": True}),
    ),
    Switch(
        3, "FISTA at two steps", "FISTA", "momentum sets in with the third step: at two, FISTA is ISTA",
        "Lib/models/csc_layer.py:107–136", f"{TRAIN} --set method=ista", "code",
        note="computed below", exact="no: the same code, bit by bit",
    ),
    Switch(
        4, "heavy ball or FISTA", "Table 5: FISTA with 4 and 8 steps",
        "gradient at the last code, momentum added: a heavy ball", "Lib/models/csc_layer.py:136–157",
        f"{TRAIN} --iterations 4 --set method=heavy_ball", "code",
        Trained("sdnet18", {"iterations": 4}, {"iterations": 4, "method": "heavy_ball"}), "codes compared below",
    ),
    Switch(
        5, "step of 0.9/L", "the step size is not stated",
        "0.9/L, L by up to 50 warm power iterations before every batch, in evaluation too",
        "Lib/models/csc_layer.py:203, 216–251, Lib/cls_function.py:74, 155",
        f"{TRAIN} --set lipschitz_method=power", "code", Trained("sdnet18", code={"lipschitz_method": "power"}),
        "one warm power iteration per step, and a step of 0.9/L; compared below",
    ),
    Switch(
        6, "L before the projection", "below Eq. 5: project after each step",
        "projects when the next batch arrives, and finds L before that: for other atoms than it uses",
        "Lib/models/csc_layer.py:173, 209–214, Lib/cls_function.py:74–75",
        f"{TRAIN} --set lipschitz_first=true", "code", Trained("sdnet18", code={"lipschitz_first": True}),
        "L compared below. After the last step the code does so for the first batch of a test, the switch for all",
    ),
    Switch(
        7, "projection on several GPUs", "below Eq. 5: project after each step",
        "normalises the replicas of DataParallel: by reading, the dictionary itself is never projected",
        "Lib/models/__init__.py:35, README.md:57",
        f"{TRAIN} --set projected=false", "code", Trained("sdnet18", code={"projected": False}),
        "the nearest switch: the replicas still code with unit atoms, and L is that of the others",
    ),
    Switch(
        8, "weight decay on the dictionary", "—", "acts on every parameter", "train.py:33–39",
        note="no switch: the paper does not say which parameters decay, and all do here, too. What decay takes from an "
        "atom's length, the projection gives back",
    ),
    Switch(
        9, "initial atoms", "—", "kaiming_uniform, normalised by a first batch of zeros",
        "Lib/models/csc_layer.py:77, Lib/models/__init__.py:40–42",
        note="no switch: the paper names no other choice, and atoms begin in the same way here, without the batch",
    ),
    Switch(
        10, "unused reconstruction", "—", "every forward pass ends with A(z) and two losses that nothing uses",
        "Lib/models/csc_layer.py:180–184, Lib/config/default.py:34",
        "python -m sdnet bench choices", "both", Ratio("reconstruction"),
    ),
    Switch(
        11, "options without effect", "—",
        "PAD_MODE, ARCH, STEP_SIZE are read by nothing; ADAPTIVELAMBDA, off, would make λ 3/64 of itself",
        "Lib/models/csc_layer.py:59, 192–194, Lib/config/default.py:24, 31, 38, 41",
        f"{TRAIN} --lam 0.0046875", "", Trained("sdnet18", code={"lam": 0.0046875}), "what ADAPTIVELAMBDA would do",
    ),
    Switch(
        12, "λ and L outside the state dict", "—",
        "neither the threshold nor the power iteration's vector is saved: stale after loading until the next update",
        "Lib/models/csc_layer.py:66, 80, 206, 250",
        note="no switch: both are buffers here, without which a saved network would not be whole. The authors' scripts "
        "update before every batch, so their numbers are right",
        exact="no, within the authors' own scripts",
    ),
    Switch(
        33, "unit of λ", "—",
        "images are divided by (0.2023, 0.1994, 0.2010), which is not CIFAR-10's deviation; CIFAR-100 takes the same",
        "train.py:62", f"{TRAIN} --lam 0.08", "code", Trained("sdnet18", code={"lam": 0.08}),
        "the same λ in units of pixels, up to the channel; computed below",
    ),
)  # fmt: skip

EVERYWHERE = (
    Switch(
        13, "shortcuts of CSC layers", "Sec. 4.4: all convolution layers",
        "the three 1×1 convolutions of the shortcuts stay ordinary (an early version replaced them)",
        "Lib/models/sdnet_inverse.py:88–92", f"{ALL} --set csc_shortcut=true", "paper",
        Trained("sdnet18_all", paper={"csc_shortcut": True}),
    ),
    Switch(
        14, "a CSC layer for max-pooling", "—", "on ImageNet an 18th CSC layer, stride 2, replaces max-pooling",
        "Lib/models/sdnet_inverse.py:218–219", f"{ALL} {IMAGENET} --set csc_pool=true", "code",
        Trained("sdnet18_all", code={"csc_pool": True}),
    ),
    Switch(
        15, "ReLU inside the blocks", "Sec. 4: all other layers are retained, nonlinear ones too",
        "none inside a block, one after the shortcut; without shortcuts none at all",
        "Lib/models/sdnet_inverse.py:94–100", f"{ALL} --set block_relu=true", "paper",
        Trained("sdnet18_all", paper={"block_relu": True}),
    ),
    Switch(
        16, "shortcuts of the printed command", "README: SDNet-18-All with shortcuts",
        "all three yaml files say SHORTCUT: False, and the command does not change it",
        "experiments/cifar10.yaml:18, README.md:62", f"{ALL} --no-shortcut", "code",
        Trained("sdnet18_all", code={"shortcut": False}),
    ),
)  # fmt: skip

TRAINING = (
    Switch(
        17, "Nesterov momentum on ImageNet", "Sec. 4: Nesterov momentum", "NESTEROV: False; weight decay 1e-4",
        "experiments/ImageNet.yaml:31–32", f"{TRAIN} {IMAGENET} --set nesterov=false", "code",
        Trained("sdnet18", code={"nesterov": False}),
    ),
    Switch(
        18, "best epoch on test images", "accuracy on the test set",
        "tests after every epoch and keeps the best network, which the robustness command loads",
        "train.py:241–259, README.md:91", f"{TRAIN} --set keep=best_on_test", "code", BestEpoch(),
        "the epochs themselves are the same",
    ),
    Switch(
        19, "one seed", "CIFAR-10 95.20, CIFAR-100 78.31, ImageNet 69.47", "README: 95.34, 78.45, 69.78; seed 1 always",
        "README.md:76–84, train.py:25", f"{TRAIN} --seed 1", "code",
        note="which of the two is right cannot be told: the weights are the README's; the spread over seeds is that of "
        "every number here",
    ),
    Switch(
        20, "augmentation", "—", "crops after padding by 4, flips", "train.py:62–66",
        note="no switch: the paper names no other choice, and the augmentation is the same here",
    ),
    Switch(
        21, "hardware", "2080Ti", "RTX 3090", "README.md:54", "python -m sdnet bench networks --width 64", "",
        note="speeds are compared side by side on one machine here, as ratios",
    ),
)  # fmt: skip


def _fit(policy: str) -> str:
    return f"{FIT} --policy residual_fit --policy {policy}"


ROBUST = (
    Switch(
        22, "fit on test images", "Algorithm 1: fit on training images",
        "fits on CIFAR-10's test images and labels; the block for training images is commented out",
        "robust_inference.py:143, 183, 186–188", _fit("fit_on_test"), "code", FittedPolicy("fit_on_test"),
    ),
    Switch(
        23, "residual at the best λ", "Algorithm 1: r at λ₀", "r of the row with the best λ",
        "robust_inference.py:101–103", _fit("residual_at_best_lam"), "code", FittedPolicy("residual_at_best_lam"),
    ),
    Switch(
        24, "residual as released", "Algorithm 1: r averaged over the images of a level",
        "the list that is averaged is never emptied: a mean over every λ and level so far",
        "Lib/models/sdnet.py:22, 35, robust_inference.py:89", _fit("residual_as_released"), "code",
        FittedPolicy("residual_as_released"), "read at the best λ, as in 23",
    ),
    Switch(
        25, "squared residual", "Algorithm 1: the magnitude of the residual", "‖r‖² per image, and a line in that",
        "Lib/models/csc_layer.py:183", _fit("squared_residual"), "code", FittedPolicy("squared_residual"),
    ),
    Switch(
        26, "classification at λ(r)", "Algorithm 1, lines 13–14",
        "stops at the fit; no evaluation on CIFAR-10-C or ImageNet-C", "robust_inference.py:119–190",
        FIT, "paper",
        note="no difference in accuracy: the code has nothing to compare with. Tables 2 and 3 need it; see the page on "
        "corruptions",
    ),
    Switch(
        27, "grid of λ", "Λ, a subset of [0.1, 1.5]", "0.1 to 1.4 in steps of 0.1", "robust_inference.py:180",
        _fit("lams_as_released"), "code", FittedPolicy("lams_as_released"),
    ),
    Switch(
        28, "noise levels", "C is not given", "other levels than CIFAR-10-C's, compared below",
        "robust_inference.py:41–51", _fit("levels_as_released"), "code", FittedPolicy("levels_as_released"),
    ),
    Switch(
        29, "fresh noise for every λ", "—",
        "noise on bytes before normalisation, fractions cut off, drawn anew for every λ",
        "robust_inference.py:170–176", _fit("fresh_noise"), "code", FittedPolicy("fresh_noise"),
        "bytes and fractions are the same here; what differs is that all λ see one noise",
    ),
    Switch(
        30, "the script itself", "—",
        "ends at config.GPUS, which does not exist; np.long; a second run reads its own figure as data",
        "robust_inference.py:99, 114, 147, Lib/datasets/robust.py:94", _fit("authors_script"), "code",
        FittedPolicy("authors_script"), "22, 23, 24, 25, 27 and 28 together, as the script would fit if it ran",
    ),
    Switch(
        31, "attacks", "Table 4: PGD", "no attack, at this commit or before", "the whole repository",
        "python -m sdnet attack sdnet18-w16-cifar10-s0 --protocol oblivious", "paper",
        note="no difference in accuracy: the code has nothing to compare with. Our reading of Sec. 4.3; the page on "
        "attacks has the results, beside those of adaptive attacks",
    ),
    Switch(
        32, "rivals", "Tables 1 to 3: SCN, SCN-18, MDEQ", "no code for them", "Lib/models/",
        f"{TRAIN} --arch scn18", "paper",
        note="no difference in accuracy: the code has nothing to compare with. Also scn and mdeq",
    ),
)  # fmt: skip

PARTS = {"layer": LAYER, "everywhere": EVERYWHERE, "training": TRAINING, "robust": ROBUST}
"""Part of the page → its switches."""
SWITCHES = tuple(sorted((switch for part in PARTS.values() for switch in part), key=lambda switch: switch.number))
