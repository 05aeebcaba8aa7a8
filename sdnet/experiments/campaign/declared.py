"""The campaign: every run that the paper's tables, figures and claims ask for, the most valuable first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from sdnet.data.common_corruptions import COMMON
from sdnet.data.corruptions import NOISES
from sdnet.experiments.ablations import grid
from sdnet.experiments.campaign.family import family
from sdnet.experiments.campaign.questions import questions
from sdnet.experiments.campaign.runs import Run, Scale, attacked, merged, swept, trained, training_of
from sdnet.experiments.corruptions.sweep import CONTROLS, KNOBS, SEVERITIES
from sdnet.names import unknown_name
from sdnet.training.declaration import Training

SEVEN = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2)
"""λ where the full grid costs too much: dense where optima were seen."""
CLEAN_POLICIES = ("residual_fit", "type_free", "per_image", "per_image_type_free")
"""Policies that look at no test label: Algorithm 1 and its relatives."""
RIVALS = ("resnet18", "resnet34", "mdeq", "scn", "scn18", "sdnet18", "sdnet34")


SCALES = {"quick": Scale("quick", 2000, 500), "paper": Scale("paper", 10_000, 10_000)}


def campaign(scale: str = "quick") -> list[Run]:
    """All runs in their order: what stands first is worth most, a network's training before its measurements.

    Raises:
        ValueError: for a scale that does not exist.
    """
    if scale not in SCALES:
        raise ValueError(unknown_name("scale", scale, SCALES))
    steps = (
        _cifar10,
        _cifar100,
        _wide,
        _iterations_and_all,
        _imagenet_stem,
        _rivals,
        _other_corruptions,
        family,
        questions,
    )
    return merged(
        replace(run, step=number) for number, step in enumerate(steps, start=1) for run in step(SCALES[scale])
    )


def adapted(of: Training, images: int, serves: str, policies: Sequence[str] = ()) -> Run:
    """Algorithm 1 and its relatives; all of them, on each other's noises too, unless told."""
    cells = {"metric": ("top1",), "policy": ("fixed", *(policies or (*CLEAN_POLICIES, "authors_script")))}
    options: dict[str, Any] = {"preset": of.preset, "images": images}
    options |= {"policy": tuple(policies)} if policies else {}
    return Run(
        "policies", of, options, {**cells, "corruption": tuple(NOISES), "severity": SEVERITIES}, images,
        serves=frozenset(serves.split()),
    )  # fmt: skip


ATTACKED = "C9 Table-4 07"
NOISE = "C5 C6 Table-2 Table-3 Figure-2 06"
ADAPTIVE = "C7 C8 C12a C12b Table-2 Table-3 Figure-3 06"


def _cifar10(size: Scale) -> Iterator[Run]:
    """Step 1: CIFAR-10, eight seeds, under noise, policies and attacks."""
    resnets = trained(size, "resnet18", range(8), "C1 Table-1 04")
    sdnets = trained(size, "sdnet18", range(8), "C1 C10 C11a Table-1 04")
    one_step = trained(size, "sdnet18", range(5), "C5 C6 C7 06", iterations=1)
    noisy = trained(size, "resnet18", range(3), "Table-2 Table-3 06", noise=0.1)
    yield from (run for both in zip(resnets, sdnets, strict=True) for run in both)
    yield from (*one_step, *noisy)
    for one_seed in zip_longest(sdnets, resnets, one_step, noisy):
        for run in one_seed:
            yield from _under_noise(size, run) if run else ()
    for trainings in zip(*([run.training for run in runs[:3]] for runs in (resnets, sdnets, one_step)), strict=True):
        yield from _under_attack(size.attacked, *trainings)
    for resnet, sdnet in zip(resnets[:3], sdnets, strict=False):
        cells = {"metric": ("coherence", "fewest")}
        yield Run("guarantee", sdnet.training, {"images": 50}, cells, 1, serves=frozenset(("C13", "02")))
        for knob in (name for name in CONTROLS if name != "stem_threshold"):
            yield swept(training_of(resnet), size.noisy, "Table-2 Table-3 06", knob)
    yield from _other_adversaries(size.attacked, training_of(resnets[0]), training_of(sdnets[0]))
    yield from _benchmarks()


def _under_noise(size: Scale, run: Run) -> Iterator[Run]:
    """The sweeps and policies of one network: the first three seeds on the full grid, the others on a few λ.

    All seeds fit all policies, on each other's noises too: C8 and C12b ask for those.
    """
    of, images = training_of(run), size.noisy
    if of.arch.startswith("resnet"):
        plain = of.seed > 2 or bool(of.recipe.noise)
        yield swept(of, images, NOISE, "stem_threshold", (0.0,) if plain else ())
        return
    yield swept(of, images, NOISE + (" C10" if not of.network else ""), "lam", SEVEN if of.seed > 2 else ())
    yield adapted(of, images, ADAPTIVE)


def _under_attack(images: int, *trainings: Training | None) -> Iterator[Run]:
    """Table 4: PGD under its protocols, AutoAttack at the λ of training and at a raised one.

    Of a ResNet-18 and an SDNet-18, in this order, and perhaps more networks that get PGD only.
    """
    resnet, sdnet, *others = (one for one in trainings if one is not None)
    for of in (sdnet, resnet, *others):
        yield attacked(of, images, ATTACKED, ("oblivious", "adaptive", "worst_case"))
    yield attacked(sdnet, images, ATTACKED, ("policy",))
    for of, crafted in ((sdnet, (0.1, 0.5)), (resnet, (0.0,))):
        yield attacked(of, images, ATTACKED, attack="autoattack", crafted=crafted)


def _other_adversaries(images: int, resnet: Training, sdnet: Training) -> Iterator[Run]:
    """The rest of page 07, on one seed: filters in front, black boxes, and the authors' units."""
    for knob in ("gaussian_filter", "quantisation"):
        yield attacked(resnet, images, ATTACKED, ("oblivious", "adaptive"), knob=knob)
    for of, other, start in ((sdnet, resnet, 0.1), (resnet, sdnet, 0.0)):
        yield attacked(of, images, ATTACKED, ("transfer",), source=other)
        yield attacked(of, images, ATTACKED, attack="square", crafted=(start,), norms=("linf",))
        yield attacked(
            of, images, ATTACKED, ("oblivious",), crafted=(start,), norms=("l2",), epsilon=0.5, units="normalised"
        )  # fmt: skip


def _benchmarks() -> Iterator[Run]:
    """Speed and memory: Table 1, and what the variants of Table 5 cost."""
    pair = ("resnet18", "sdnet18")
    for archs, width, stem, batch, serves in (
        (pair, 64, "cifar", 128, "C3"), (RIVALS, 64, "cifar", 32, "C4"), (pair, 64, "imagenet", 16, "C3"),
        (pair, 16, "cifar", 128, "C3"),
    ):  # fmt: skip
        options = {"width": width, "batch": batch, "stem": stem, "arch": archs}
        options |= {"precision": "fp32"} if batch == 32 else {}
        cells = {"metric": ("train_images_per_second", "train_memory"), "arch": archs}
        yield Run(
            "bench networks", None, options, cells, settings={"width": width, "stem": stem},
            serves=frozenset((serves, "Table-1", "10")),
        )  # fmt: skip
    variants = tuple(dict.fromkeys(variant.name for group in grid.GRID.values() for variant in group))
    yield Run(
        "bench ablations", None, {}, {"metric": ("ablation_speed_ratio",), "variant": variants},
        settings={"what": "ablations"}, serves=frozenset(("Table-5", "08")),
    )  # fmt: skip


def _cifar100(size: Scale) -> Iterator[Run]:
    """Step 2: CIFAR-100."""
    pair = [trained(size, arch, range(8), "C2 Table-1 04", "cifar100") for arch in ("resnet18", "sdnet18")]
    yield from (run for both in zip(*pair, strict=True) for run in both)


def _wide(size: Scale) -> Iterator[Run]:
    """Step 3: the paper's own width, which a campaign at the paper's scale has anyway."""
    if size.preset == "paper":
        return
    for seed in range(3):
        resnet, sdnet, single = (
            trained(size, arch, (seed,), "C1 Table-1 04", width=64, iterations=iterations)[0]
            for arch, iterations in (("resnet18", None), ("sdnet18", None), ("sdnet18", 1))
        )
        yield from (resnet, sdnet)
        for run in (resnet, sdnet):
            yield from _under_noise(size, run)
        yield from _under_attack(size.attacked, resnet.training, sdnet.training)
        yield single
        yield from _under_noise(size, single)


def _iterations_and_all(size: Scale) -> Iterator[Run]:
    """Step 4: more steps, CSC layers everywhere with their decoding, and the designs of the ablation grid."""
    for seed in range(5):
        for serves, arch, changes in (
            ("C10 Table-5 08", "sdnet18", {"iterations": 8}), ("C10 Table-5 08", "sdnet18", {"iterations": 4}),
            ("C11a 08", "sdnet18_all", {}),
        ):  # fmt: skip
            yield from _measured_like_the_grid(size, serves, arch, seed, changes, SEVEN)
    yield from _decoded(size)
    for variant in grid.variants(tuple(grid.GRID)):
        yield from _measured_like_the_grid(size, "Table-5 08", variant.arch, 0, variant.network)


def _measured_like_the_grid(
    size: Scale, serves: str, arch: str, seed: int, network: dict[str, Any], lams: Sequence[float] = ()
) -> Iterator[Run]:
    (run,) = trained(size, arch, (seed,), serves, **network)
    yield run
    knob, own = grid.knob_and_strengths(training_of(run))
    yield swept(training_of(run), size.noisy, serves, knob, lams or own, grid.NOISES)


def _decoded(size: Scale) -> Iterator[Run]:
    """Sec. 4.4: decoding from every depth, and inversion and random weights beside it."""
    serves = "C11b 09"
    for run in trained(size, "sdnet18_all", range(3), serves, shortcut=False):
        yield run
        for methods, images in ((("decode", "decode_centred"), 256), (("inversion",), 32)):
            cells = {"metric": ("psnr",), "method": methods, "weights_are": ("trained", "random")}
            options = {"preset": size.preset, "images": images, "method": methods}
            yield Run("visual", run.training, options, cells, images, serves=frozenset(serves.split()))
    for run in trained(size, "resnet18", range(3), serves):
        cells = {"metric": ("psnr",), "method": ("inversion",), "weights_are": ("trained", "random")}
        options = {"preset": size.preset, "images": 32, "method": ("inversion",)}
        yield Run("visual", run.training, options, cells, 32, serves=frozenset(serves.split()))


def _imagenet_stem(size: Scale) -> Iterator[Run]:
    """Step 5: behind ImageNet's stem, in place of the ImageNet blocks of Tables 1 and 3."""
    for seed in range(3):
        for arch in ("resnet18", "sdnet18"):
            (run,) = trained(size, arch, (seed,), "Table-1 04", "tiny-imagenet-64", stem="imagenet")
            yield run
            yield from _under_noise(size, run)


def _rivals(size: Scale) -> Iterator[Run]:
    """Step 6: SCN and MDEQ for as many epochs as an hour of a core allows, our pair beside them, and 34 layers."""
    epochs = {} if size.preset == "paper" else {"mdeq": 1, "scn": 1, "scn18": 2}
    for arch in ("scn", "scn18", "mdeq"):
        yield from trained(size, arch, (0,), "Table-1 03 04", epochs=epochs.get(arch))
    for beside in sorted(set(epochs.values())):
        for arch in ("resnet18", "sdnet18"):
            yield from trained(size, arch, (0,), "Table-1 04", epochs=beside)
    for arch in ("resnet34", "sdnet34"):
        yield from trained(size, arch, (0,), "Table-1 04")


def _other_corruptions(size: Scale) -> Iterator[Run]:
    """Step 7: blur, weather and digital corruptions, where λ was never said to help; and steps at test time."""
    for run in trained(size, "sdnet18", range(3), "C1 Table-1 04"):
        yield swept(training_of(run), 1000, "06", "lam", SEVEN, COMMON)
        for knob in (name for name in KNOBS if name.endswith("_iterations")):
            yield swept(training_of(run), 1000, "08", knob, noises=("gaussian_noise",))
