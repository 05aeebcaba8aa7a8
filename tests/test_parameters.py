"""Every spelling of a value becomes the value, or one sentence that says what may be given."""

import json
import math
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from torch import nn

from sdnet import CSCConv2d, models, parameters
from sdnet.cli import main
from sdnet.training.declaration import Changes, Training, training
from sdnet.training.distributed import Execution
from sdnet.training.recipes import PRESETS, Recipe

YES = ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", True]
NO = ["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", False]
SWITCHES = ["shortcut", "projected", "nonnegative", "stem_relu", "block_relu", "lipschitz_first"]


def declared(arch: str = "sdnet18_all", **changes: Any) -> Training:
    return training(arch, "digits", "smoke", **changes)


def shortcuts(run: Training) -> int:
    """Convolutions of 1×1 that stand in shortcuts."""
    network = run.build(10)
    return sum(getattr(module, "kernel_size", None) == (1, 1) for module in network.modules())


@pytest.mark.parametrize("word", NO)
def test_no_in_any_spelling_builds_a_network_without_shortcuts(word: object) -> None:
    run = declared("sdnet18", shortcut=word, width=2)
    assert run.network["shortcut"] is False
    assert shortcuts(run) == 0 < shortcuts(declared("sdnet18", shortcut="yes", width=2))


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("truth", [True, False])
def test_every_switch_is_read_from_every_spelling(name: str, truth: bool) -> None:
    assert {parameters.read(name, word, parameters.NETWORK[name]) for word in (YES if truth else NO)} == {truth}
    assert declared(**{name: YES[3] if truth else NO[3]}).name == declared(**{name: truth}).name
    assert declared(**{name: json.dumps(truth)}).network[name] is truth
    assert declared(**{name: yaml.safe_load(json.dumps(truth))}).network[name] is truth


def test_switches_of_one_architecture_and_of_the_recipe_are_read_alike() -> None:
    assert declared(csc_shortcut="off").network == {"csc_shortcut": False}
    assert declared(nesterov="no").recipe.nesterov is False


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("epochs", "3", 3), ("epochs", 3.0, 3), ("epochs", "1e2", 100), ("iterations", "4.0", 4), ("lam", "1e-1", 0.1),
        ("lr", "1e-3", 0.001), ("noise", " 0.1 ", 0.1), ("noise", 0, 0), ("hold_out", "0.5", 0.5),
        ("tolerance", "1e-4", 1e-4),
        ("milestones", [1, "2"], (1, 2)), ("milestones", "1, 2", (1, 2)), ("milestones", "[1]", (1,)),
        ("milestones", 1, (1,)), ("schedule", "steps", "steps"), ("precision", "fp32", "fp32"),
    ],
)  # fmt: skip
def test_numbers_are_read_from_every_spelling(name: str, given: object, expected: Any) -> None:
    more = {"tolerance": {"gradient": "implicit"}, "milestones": {"schedule": "steps"}, "schedule": {"milestones": 1}}
    run = declared(**{name: given, **more.get(name, {})})
    config = {**run.config, **run.config["recipe"], **run.network}
    value = tuple(config[name]) if isinstance(expected, tuple) else config[name]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("word", [None, "None", "none", "null", "NULL", "~"])
def test_nothing_means_unchanged(word: object) -> None:
    everything = dict.fromkeys(["shortcut", "lam", "epochs", "width", "precision", "method", "hold_out"], word)
    assert declared(**everything) == declared()


def test_names_of_trainings_are_what_they_were() -> None:
    assert training("sdnet18", "cifar10", "paper").name == "sdnet18-cifar10-paper-a9d6fdbe"
    assert training("sdnet18_all", "cifar10", "quick").name == "sdnet18_all-cifar10-quick-7f535562"
    changes = {"shortcut": False, "lam": 0.2, "iterations": 4, "noise": 0, "lr": 0.05, "epochs": 3, "hold_out": 0.1}
    run = training(
        "sdnet18_all", "cifar10", "quick", seed=1, precision="bf16", milestones=(1, 2), schedule="steps", **changes
    )
    assert run.name == "sdnet18_all-cifar10-quick-4ca7e1bc"


@pytest.mark.parametrize(
    ("preset", "given", "said"),
    [
        (
            "quick",
            {"milestones": (5, 10)},
            r"milestones \[5, 10\] have no effect with schedule 'cosine'; choose schedule",
        ),
        ("paper_imagenet", {"schedule": "cosine"}, r"milestones \[30, 60, 90\] have no effect with schedule 'cosine'"),
        ("quick", {"schedule": "steps"}, "schedule 'steps' needs milestones, the epochs of its steps; got none"),
        ("paper_imagenet", {"noise": 0.1}, "noise 0.1 has no effect with preset 'paper_imagenet', which crops"),
        ("paper_imagenet", {"padding": 8}, "padding 8 has no effect with preset 'paper_imagenet', which crops"),
    ],
)
def test_what_has_no_effect_is_refused(preset: str, given: dict[str, Any], said: str) -> None:
    """It was recorded, as if it had been done."""
    with pytest.raises(ValueError, match=said):
        training("sdnet18", None, preset, **given)


def test_what_changes_nothing_may_be_said() -> None:
    usual = training("sdnet18", None, "paper_imagenet")
    assert training("sdnet18", None, "paper_imagenet", noise=0, padding=4, milestones=(30, 60, 90)) == usual
    assert training("sdnet18", None, "paper_imagenet", schedule="cosine", milestones="[]").recipe.milestones == ()


def test_a_seed_is_an_integer() -> None:
    assert declared(seed="3").seed == declared(seed=3.0).seed == declared(seed=3).seed == 3
    for bad in (1.5, -1, "one", True, 1e20, None, math.nan):
        with pytest.raises(ValueError, match=r"^seed must be an integer >= 0, at most 4,294,967,295; got .*\.$"):
            declared(seed=bad)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        *((name, value, "true or false") for name in [*SWITCHES, "csc_shortcut"] for value in ("nope", 0, 2, 1.0)),
        *(("lam", value, "finite and >= 0, at most 1,000,000") for value in (1e20, -1, math.nan, "x", "nan", True)),
        *(("lr", value, "finite and > 0") for value in (math.inf, math.nan, "inf", 0, -0.1, True)),
        *(("noise", value, "finite and >= 0, at most 1,000,000") for value in (1e7, -1, math.inf)),
        *(("iterations", value, "an integer >= 1, at most 10,000") for value in (10**20, 0, 1.5, "1.5", True)),
        *(("epochs", value, "an integer >= 1, at most 1,000,000") for value in (10**6 + 1, "1e99", "inf", [3])),
        ("width", 10**7, "an integer >= 1, at most 1,000,000"),
        ("batch_size", 10**7, "an integer >= 2, at most 1,000,000"),
        ("batch_size", 1, "an integer >= 2, at most 1,000,000"),
        ("atoms", "many", "an integer >= 1, at most 1,000,000"),
        ("kernel", 3.5, "an integer"),
        ("ridge", math.nan, "finite and >= 0, at most 1,000,000"),
        ("momentum", 1.0, "finite and >= 0 and < 1"),
        ("hold_out", 1.0, "finite and >= 0 and < 1"),
        ("weight_decay", math.inf, "finite and >= 0, at most 1,000,000"),
        ("padding", -1, "an integer >= 0, at most 1,000,000"),
        ("milestones", {1: 2}, "a list of integers"),
        ("method", 3, "text"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(name: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        declared(**{name: value})
    assert str(error.value) == f"{name} must be {allowed}; got {value!r}."


def test_of_a_list_the_item_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"^milestones must be an integer >= 0, at most 1,000,000; got 'x'\.$"):
        declared(milestones="1,x")


def test_names_that_are_no_text_are_refused() -> None:
    for given in ((3, "digits", "smoke"), ("sdnet18", 3, "smoke"), ("sdnet18", "digits", ["smoke"])):
        with pytest.raises(ValueError, match="must be text; got"):
            training(*given)  # type: ignore[arg-type]


def test_every_option_of_a_network_has_a_type() -> None:
    known = {name for architecture in models.ARCHITECTURES.values() for name in architecture.options}
    assert {*known, "stem"} == set(parameters.NETWORK)  # which every network is asked for


def test_what_a_training_may_be_told_is_named_once_and_typed_alike() -> None:
    """The parameters that a signature names are those of recipe, network and declaration, with the same types."""
    own = {name: parameters.kinds(Training)[name] for name in ("hold_out", "precision", "keep")}
    expected = {name: kind | None for name, kind in {**parameters.kinds(Recipe), **own}.items()}
    assert parameters.kinds(Changes) == {**parameters.NETWORK, **expected, "stem": str | None}


@pytest.mark.parametrize("name", [*SWITCHES, "csc_shortcut"])
def test_a_network_takes_no_text_for_a_switch(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be true or false; got 'false'"):
        models.build("sdnet18_all", width=4, **{name: "false"})


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="nesterov needs a momentum > 0"):
        Recipe(epochs=1, momentum=0.0)
    assert all(isinstance(recipe, Recipe) for recipe in PRESETS.values())


def test_holding_out_all_but_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hold_out 0\.9999 leaves 0 of 1437 training images"):
        declared(hold_out=0.9999).load(None)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("timeout", math.inf, "finite and > 0, at most 1,000,000"),
        ("timeout", math.nan, "finite and > 0, at most 1,000,000"),
        ("timeout", "300", "finite and > 0, at most 1,000,000"),
        ("sync_batchnorm", "false", "true or false"),
        ("accumulate", True, "an integer >= 1, at most 1,000,000"),
        ("save_every", 1.5, "an integer >= 1, at most 1,000,000"),
        ("workers", 10**9, "an integer >= 0, at most 1,000,000"),
    ],
)
def test_an_execution_refuses_in_one_sentence(name: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Execution(**{name: value})  # type: ignore[arg-type]
    assert str(error.value) == f"{name} must be {allowed}; got {value!r}."


def test_more_pieces_than_a_batch_has_are_refused() -> None:
    Execution(accumulate=32).check_batch(128, 2)
    with pytest.raises(ValueError, match="fewer than two images of a batch of 128 for each piece; take at most 64"):
        Execution(accumulate=1000).check_batch(128, 1)
    result = CliRunner().invoke(main, ["train", "--dataset", "digits", "--preset", "paper", "--accumulate", "1000"])
    assert result.exit_code == 1
    assert "Error: accumulate 1000 on 1 ranks leaves fewer than two images" in result.output


def test_the_command_line_reads_numbers_as_everything_else_does() -> None:
    command = main.get_command(click.Context(main), "train")
    assert command is not None
    words = ["--epochs=1e3", "--batch-size=1_28", "--lr=1E-2", "--seed= 7 ", "--timeout=60", "--workers=0", "--lam=0"]
    given = command.make_context("train", words).params
    read = {name: given[name] for name in ("epochs", "batch_size", "lr", "seed", "timeout", "workers", "lam")}
    assert read == {"epochs": 1000, "batch_size": 128, "lr": 0.01, "seed": 7, "timeout": 60.0, "workers": 0, "lam": 0.0}
    assert isinstance(read["epochs"], int)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --epochs=0.5", "--epochs must be an integer >= 1, at most 1,000,000; got '0.5'."),
        ("train --hold-out=1", "--hold-out must be finite and >= 0 and < 1; got '1'."),
        ("sweep NETWORK --strength=nan", "--strength must be finite and >= 0, at most 1,000,000; got 'nan'."),
        ("certify NETWORK --sigma=0", "--sigma must be finite and > 0, at most 1,000,000; got '0'."),
        ("launch -- --lr=", "--lr must be finite and > 0; got ''."),
        ("campaign --budget=1h --workers=0", "--workers must be an integer >= 1, at most 1,000,000; got '0'."),
        ("bench networks --width=0", "--width must be an integer >= 1, at most 1,000,000; got '0'."),
    ],
)
def test_the_command_line_refuses_a_number_in_one_sentence(words: str, said: str) -> None:
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 1
    assert result.output == f"Error: {said}\n"


def test_every_number_on_the_command_line_is_read_the_same_way() -> None:
    context = click.Context(main)
    found = [command for name in main.list_commands(context) if (command := main.get_command(context, name))]
    for command in found:
        found += command.commands.values() if isinstance(command, click.Group) else []
        for option in command.params:
            assert not isinstance(option.type, click.types.IntParamType | click.types.FloatParamType), option.name


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("nonnegative", "nope", "true or false"),
        ("projected", 0, "true or false"),
        ("bias", "no", "true or false"),
        ("iterations", 10**20, "an integer >= 1, at most 10,000"),
        ("iterations", True, "an integer >= 1, at most 10,000"),
        ("lam", 1e20, "finite and >= 0, at most 1,000,000"),
        ("lam", "0.1", "finite and >= 0, at most 1,000,000"),
        ("ridge", math.nan, "finite and >= 0, at most 1,000,000"),
        ("tolerance", math.inf, "finite and > 0, at most 1,000,000"),
    ],
)
def test_a_layer_refuses_in_one_sentence(name: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        CSCConv2d(3, 8, 3, **{name: value})  # type: ignore[arg-type]
    assert str(error.value) == f"{name} must be {allowed}; got {value!r}."
    assert isinstance(CSCConv2d(3, 8, 3), nn.Module)


@pytest.mark.parametrize("command", ["train", "ablate", "sweep", "policies", "attack", "visual"])
def test_the_command_line_is_quick_unless_told_otherwise(command: str) -> None:
    found = main.get_command(None, command)
    assert found is not None
    (preset,) = (option for option in found.params if option.name == "preset")
    assert isinstance(preset, click.Option)
    assert preset.default == "quick"
