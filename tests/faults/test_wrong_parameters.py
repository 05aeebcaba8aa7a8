"""Wrong parameters at every door: each is refused in one sentence that names it, before anything is computed."""

import ast
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import nbformat
import pytest
import torch
from click.testing import CliRunner
from faults import Tally
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import nn
from toys import TINY, untrained

import sdnet
from sdnet import models, notebook, parameters
from sdnet.cli import main
from sdnet.experiments.attacks.settings import AttackSettings
from sdnet.parameters import Annotated, Range
from sdnet.robust.attacks import Attack
from sdnet.robust.policies import Policy
from sdnet.training.declaration import Changes, training
from sdnet.training.distributed import Execution
from sdnet.training.recipes import Recipe

BOOK = Path(__file__).resolve().parents[2] / "book"
WRITTEN = st.sampled_from(["x", "", "1,5", "0x", "one", "nope", "²", "1e", "--", "NaN%", "\x00"])
STRANGE = st.sampled_from([b"1", 1j, {}, {1}, (), [[1]], [None], range(2), Ellipsis])
INFINITE = st.sampled_from([math.nan, math.inf, -math.inf])
HUGE = st.integers(min_value=10**10, max_value=10**400) | st.integers(min_value=-(10**400), max_value=-1)
Door = tuple[str, Callable[..., object], dict[str, Any]]


def wrong(kind: Any) -> SearchStrategy[Any]:
    """Values that a parameter of that type and range may not have, None, which often has a meaning, aside."""
    if NoneType in get_args(kind):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    base, limits = (get_args(kind) if get_origin(kind) is Annotated else (kind, Range(-math.inf)))[:2]
    anything = WRITTEN | STRANGE
    if base is bool:
        return anything | st.integers() | st.floats()
    if base is str:
        return anything | st.integers() | st.booleans() | INFINITE
    if base not in (int, float):  # a tuple of integers
        return WRITTEN | INFINITE | st.booleans() | HUGE | st.tuples(INFINITE | HUGE)
    outside: list[SearchStrategy[Any]] = [INFINITE]
    if math.isfinite(limits.most):
        outside.append(st.integers(min_value=max(int(limits.most) + 1, 10**10), max_value=10**400))
    if math.isfinite(limits.least):
        outside.append(st.integers(min_value=-(10**400), max_value=math.ceil(limits.least) - 1))
    if limits.most < math.inf:
        outside.append(st.floats(min_value=limits.most, exclude_min=not limits.below))
    if limits.least > -math.inf:
        outside.append(st.floats(max_value=limits.least, exclude_max=not limits.above))
    if base is int:
        outside += [st.floats().filter(lambda number: not number.is_integer()), st.just(Fraction(1, 3))]
    return anything | st.booleans() | st.one_of(outside)


def doors(found: Sequence[Door]) -> SearchStrategy[tuple[str, Callable[..., object], str, Any]]:
    """A door, one of its parameters, and a wrong value."""
    pairs = st.sampled_from([(*door[:2], name, kind) for door in found for name, kind in door[2].items()])
    return pairs.flatmap(lambda pair: st.tuples(*map(st.just, pair[:3]), wrong(pair[3])))


def many(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples, the same in every run; each is counted, so that none is shrunk."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=checks,
    )  # fmt: skip


Size = Annotated[int, Range(1, 10_000)]
LAYER = {
    **parameters.kinds(parameters.CodingOptions), **parameters.kinds(parameters.SolverOptions), "bias": bool,
    **dict.fromkeys(("in_channels", "out_channels", "groups"), Annotated[int, Range(1, 10**9)]),
    **dict.fromkeys(("kernel_size", "stride", "dilation"), Size), "padding": Annotated[int, Range(0, 10_000)],
    "padding_mode": str,
}  # fmt: skip
ATTACK = {"name": str, "norm": str, "units": str, "random_start": bool, **dict.fromkeys(("steps", "restarts"), Size)}
ATTACK |= {"epsilon": parameters.Amount, "step_size": parameters.Positive}
CHOICES = {name: ATTACK[name] for name in ("steps", "restarts", "units")} | {"preset": str, "knob": str}
CHOICES |= {"images": Size, "epsilon": parameters.Amount, "sanity": bool, "seed": parameters.Seed}
POLICY = dict.fromkeys(("slope", "intercept"), Annotated[float, Range(-math.inf)]) | {"per_image": bool}
POLICY |= dict.fromkeys(("low", "high", "lam0"), Annotated[float, Range(0)])
SPELLED = {"name": ("attack",), "source": ("network",), "official": ("corruption",)}
"""Parameters that their sentence calls by another name."""


def layer(**options: Any) -> nn.Module:
    return sdnet.CSCConv2d(**{"in_channels": 4, "out_channels": 8, "kernel_size": 3, **options})


def attack(**options: Any) -> Attack:
    return Attack(**{"name": "pgd", "norm": "linf", "epsilon": 0.1, **options})


def policy(**options: Any) -> Policy:
    return Policy(**{"name": "a", "slope": 1.0, "intercept": 0.1, "low": 0.1, "high": 1.0, **options})


def converted(**options: Any) -> object:
    return sdnet.convert(nn.Conv2d(3, 4, 3), **options)


def set_lam(lam: Any) -> None:
    sdnet.set_lam(LAYER_TO_SET, lam)


def built(arch: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return models.build(arch, **{"num_classes": 10, "width": 2, **options})


def declared(arch: str, **changes: Any) -> object:
    return training(arch, changes.pop("dataset", "digits"), changes.pop("preset", "smoke"), **changes)


LAYER_TO_SET = layer()
NETWORK = {**parameters.NETWORK, "num_classes": parameters.Count, "width": parameters.Count}
TOLD = parameters.kinds(Changes) | {"seed": parameters.Seed, "dataset": str, "preset": str}
CHEAP: list[Door] = [
    ("CSCConv2d", layer, LAYER),
    ("convert", converted, {**parameters.kinds(parameters.SolverOptions), "keep_weights": bool, "where": str}),
    ("set_lam", set_lam, {"lam": parameters.Amount}),
    ("Attack", attack, ATTACK),
    ("Choices", partial(AttackSettings, norms=("linf",)), CHOICES),
    ("Policy", policy, POLICY),
    ("Execution", Execution, parameters.kinds(Execution)),
    ("Recipe", partial(Recipe, epochs=1), parameters.kinds(Recipe)),
]
BUILDERS: list[Door] = [
    (arch, partial(built, arch), {name: NETWORK[name] for name in (*known.options, "num_classes", "width", "stem")})
    for arch, known in models.ARCHITECTURES.items()
]
TRAININGS: list[Door] = [("training", partial(declared, arch), TOLD) for arch in ("sdnet18", "sdnet18_all", "dp")]


def refused(tally: Tally, kind: str, case: tuple[str, Callable[..., object], str, Any]) -> None:
    door, call, name, value = case
    spelled = (name, *SPELLED.get(name, ()))
    # A folder may have any name; it is looked for when it is loaded.
    is_folder = name == "dataset" and isinstance(value, str) and value != "" and "\0" not in value
    tally.tried(kind, f"{door}({name}={value!r})"[:150], lambda: call(**{name: value}), spelled, lambda _: is_folder)


def warm(found: Sequence[Door]) -> None:
    """Use every door once as it should be: what Python and PyTorch load at the first call is not a fault's time."""
    for _, call, _ in found:
        call()


def test_the_library_refuses(tally: Tally) -> None:
    @many(400)
    @given(doors(CHEAP))
    def try_one(case: Any) -> None:
        refused(tally, "parameters of the library", case)

    try_one()


def test_builders_and_trainings_refuse(tally: Tally) -> None:
    warm([*BUILDERS, *TRAININGS])

    @many(250)
    @given(doors(BUILDERS) | doors(TRAININGS))
    def try_one(case: Any) -> None:
        refused(tally, "parameters of networks and trainings", case)

    try_one()


LINES = [
    ("train --dataset digits --preset smoke", ("arch", "preset", "precision", "compile", "device"), str),
    ("train --dataset digits --preset smoke", ("epochs", "batch-size", "width", "accumulate", "save-every"), Size),
    ("train --dataset digits --preset smoke", ("lr", "lam", "noise", "hold-out", "timeout"), parameters.Positive),
    ("sweep NETWORK", ("knob", "preset", "corruption", "device", "official"), str),
    ("sweep NETWORK", ("images",), Size),
    ("sweep NETWORK", ("strength",), parameters.Amount),
    ("policies NETWORK", ("preset", "corruption", "policy", "device"), str),
    ("policies NETWORK", ("images",), Size),
    ("attack NETWORK", ("preset", "norm", "attack", "protocol", "knob", "units", "precision", "policy", "source"), str),
    ("attack NETWORK", ("images", "steps", "restarts"), Size),
    ("attack NETWORK --norm linf", ("epsilon", "crafted"), parameters.Amount),
    ("visual NETWORK", ("preset", "method", "depth"), str),
    ("visual NETWORK", ("images", "steps"), Size),
    ("fourier NETWORK", ("preset", "knob"), str),
    ("fourier NETWORK", ("images",), Size),
    ("certify NETWORK", ("sigma", "strength"), parameters.Amount),
    ("certify NETWORK", ("samples", "images"), Size),
    ("confidence NETWORK", ("corruption", "preset"), str),
    ("guarantee NETWORK", ("images",), Size),
    ("pursuit NETWORK", ("preset", "source"), str),
    ("pursuit NETWORK", ("images",), Size),
    ("ablate", ("group", "preset", "dataset"), str),
    ("ablate --dataset digits", ("images", "epochs"), Size),
    ("launch", ("ranks-per-node", "nodes", "max-restarts"), Size),
    ("bench networks", ("width", "batch", "repeats"), Size),
]
TYPED = {
    str: ["x", "sdnet19", "fp23", "gausian_noise", "resnet", "cud", "quik", "../x", "λ", "linff"],
    Size: ["0", "-1", "1.5", "nan", "inf", "x", "1e-3", "", "-99999999999999999999", "True"],
}
NUMBERS = ["-1", "-0.5", "nan", "inf", "-inf", "x", "1,5", "", "1e20", "-1e-30"]


def typed(network: Path) -> list[tuple[list[str], str]]:
    """Command lines with one wrong option, and its name."""
    return [
        ([*line.replace("NETWORK", str(network)).split(), f"--{name}={value}"], name)
        for line, names, kind in LINES
        for name in names
        for value in TYPED.get(kind, NUMBERS)
    ]


def said(words: list[str]) -> None:
    """Run a command line; what it says of a mistake, as an error."""
    result = CliRunner().invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise RuntimeError(f"{type(result.exception).__name__}: {result.exception}")
    _, _, message = result.output.rpartition("Error: ")
    if result.exit_code:
        raise ValueError(message.strip())


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("net") / "toy.safetensors", **TINY)


def test_the_command_line_refuses(tally: Tally, network: Path, folders: Path) -> None:
    for line, _, _ in LINES:  # whose modules are loaded when they are first asked for
        CliRunner().invoke(main, [*line.replace("NETWORK", str(network)).split(), "--nope"])

    @many(60)
    @given(st.sampled_from(typed(network)))
    def try_one(case: tuple[list[str], str]) -> None:
        words, name = case
        tally.tried(
            "command lines", " ".join(words), lambda: said(words), (name.replace("-", "_"), *SPELLED.get(name, ()))
        )
        assert not [path for path in folders.rglob("*") if path.is_file() and path.name != "lock"]

    try_one()


def test_notebooks_refuse_a_parameter_that_they_do_not_have(tally: Tally) -> None:
    cells = [
        cell.source
        for path in sorted(BOOK.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if "parameters" in cell.metadata.get("tags", [])
    ]
    assert len(cells) > 5

    @many(150)
    @given(st.sampled_from(cells), st.data())
    def try_one(cell: str, data: Any) -> None:
        name = data.draw(st.sampled_from(notebook.assigned_names(cell)))
        at = data.draw(st.integers(0, len(name) - 1))
        other = name[:at] + data.draw(st.sampled_from("_axé")) + name[at + data.draw(st.integers(0, 1)) :]
        if other in notebook.assigned_names(cell) or not other.isidentifier():
            return
        injected = f"{notebook.INJECTED}\n{other} = {data.draw(st.sampled_from(['3', 'None', repr('x')]))}"
        ast.parse(injected)
        job = partial(notebook.check_injected, [cell, injected])
        tally.tried("parameters of notebooks", injected, job, [other])

    try_one()
