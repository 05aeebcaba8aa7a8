"""The audit: every difference is there, every command does what its row says, and worth is counted as said."""

import re
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import t

import sdnet
from sdnet.cli import bench, evaluate, main
from sdnet.cli import train as cli_train
from sdnet.csc.dictionary import Dictionary, dense_matrix, unit_norm
from sdnet.csc.lasso import Lasso
from sdnet.experiments.ablations.grid import NOISES, Variant
from sdnet.experiments.corruptions.policies import POLICIES
from sdnet.experiments.paper_versus_code import codes, tables, worth
from sdnet.experiments.paper_versus_code.price import price
from sdnet.experiments.paper_versus_code.switches import (
    PARTS,
    SWITCHES,
    BestEpoch,
    FittedPolicy,
    Ratio,
    Switch,
    Trained,
)
from sdnet.results import networks
from sdnet.results.cells import CELL_COLUMNS, to_frame, variant
from sdnet.results.ledger import Record
from sdnet.robust.algorithm1 import DEVIATIONS

BY_NUMBER = {switch.number: switch for switch in SWITCHES}
COMMANDS = [switch for switch in SWITCHES if switch.command]
OF_THE_BOOK = (
    *("signed code", "heavy ball or FISTA", "step of 0.9/L", "L before the projection", "ReLU after the stem"),
    *("best epoch on test images", "residual as released", "fit on test images", "squared residual", "noise levels"),
)
"""What the book promises a switch for."""


def test_every_difference_of_the_audit_is_there_once() -> None:
    assert [switch.number for switch in SWITCHES] == list(range(1, 34))
    names = {switch.name: switch for switch in SWITCHES}
    assert len(names) == len(SWITCHES)
    assert all(names[name].command for name in OF_THE_BOOK)
    for switch in SWITCHES:
        assert switch.command or switch.note, f"{switch.name} has neither a command nor a reason"
        assert bool(switch.effect) <= bool(switch.command)
        assert switch.paper
        places = switch.where.split(", ")
        assert all(re.fullmatch(r"[\w/.]+(:\d+(–\d+)?)?|\d+(–\d+)?|the whole repository", place) for place in places)


def captured(command: str, monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with which a command would begin its work."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def stop(*arguments: Any, **options: Any) -> None:
        calls.append((arguments, options))
        raise ValueError("as far as it goes.")

    monkeypatch.setattr(cli_train.experiment, "run", stop)
    monkeypatch.setattr(evaluate, "run_policies", stop)
    monkeypatch.setattr(evaluate, "run_attack", stop)
    python, m, package, *words = shlex.split(command)
    assert (python, m, package) == ("python", "-m", "sdnet")
    if words[0] == "bench":
        bench.bench.commands[words[1]].make_context(words[1], words[2:])
        return (), {}
    done = CliRunner().invoke(main, words)
    assert calls, done.output
    return calls[0]


@pytest.mark.parametrize("switch", COMMANDS, ids=lambda switch: switch.name)
def test_every_command_parses_and_turns_what_its_row_says(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, options = captured(switch.command, monkeypatch)
    if isinstance(switch.effect, Trained):
        (training,) = arguments
        sides = {"paper": Variant("", switch.effect.arch, dict(switch.effect.paper)).name}
        sides["code"] = Variant("", switch.effect.arch, dict(switch.effect.code)).name
        assert training.arch == switch.effect.arch
        assert variant(training.config) == sides[switch.gives or "code"]
        assert sides["paper"] != sides["code"]
    elif isinstance(switch.effect, BestEpoch):
        assert variant(arguments[0].config) == "keep=best_on_test"
    elif isinstance(switch.effect, FittedPolicy):
        assert options["only"] == ("residual_fit", switch.effect.policy)
        assert switch.effect.policy in (*DEVIATIONS, *POLICIES)
        assert arguments[0] in networks.names()


def test_a_command_that_does_not_parse_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("python -m sdnet train --set nonegative=false", "python -m sdnet train --signed"):
        with pytest.raises(AssertionError, match=r"nonegative|--signed"):
            captured(wrong, monkeypatch)


def test_every_deviation_of_the_script_is_a_row() -> None:
    asked = {switch.effect.policy for switch in SWITCHES if isinstance(switch.effect, FittedPolicy)}
    assert asked == {*DEVIATIONS, "authors_script"}


def trained(values: dict[tuple[str, int], float], **where: Any) -> pd.DataFrame:
    """Natural accuracy of (variant, seed), and half of it under every noise and severity."""
    common = {"arch": "sdnet18", "dataset": "d", "width": 16.0, "epochs": 3.0, "precision": "fp32", "n": 100}
    common |= {"started": "2026", "metric": "top1", **where}
    rows: list[dict[str, Any]] = []
    for (name, seed), value in values.items():
        base = {**common, "variant": name, "seed": seed}
        rows.append({**base, "experiment": "train", "split": "test", "value": value})
        for noise in NOISES:
            asked = {**base, "experiment": "sweep", "knob": "lam", "strength": 0.1, "corruption": noise}
            rows += [{**asked, "severity": severity, "value": value / 2} for severity in range(1, 6)]
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *frame.columns])))


SIGNED = BY_NUMBER[1]


def test_worth_is_paired_by_seed_scale_and_number_of_images() -> None:
    """The code's choice less the paper's, over the seeds that both have; the scale with the most of them counts."""
    many = {("", 0): 0.80, ("", 1): 0.82, ("", 2): 0.9, ("nonnegative=False", 0): 0.79, ("nonnegative=False", 1): 0.80}
    wide = {("", 0): 0.95, ("nonnegative=False", 0): 0.5}
    other = trained({("nonnegative=False", 2): 0.1}, n=50)  # other images
    cells = pd.concat([trained(many), other, trained(wide, width=64.0, epochs=220.0)])
    natural, noisy = worth.worth(cells, SIGNED.effect)
    assert natural.by_seed == pytest.approx((1.0, 2.0))
    half = t.ppf(0.975, 1) * np.std([1, 2], ddof=1) / 2**0.5
    assert (natural.value, natural.low, natural.high) == pytest.approx((1.5, 1.5 - half, 1.5 + half))
    assert (natural.n, natural.scale) == (100, "d, width 16, 3 epochs")
    assert noisy.by_seed == pytest.approx((0.5, 1.0))
    assert worth.decide(SIGNED, [natural, noisy]) == "undecided"
    (one, _) = worth.worth(trained(wide), SIGNED.effect)
    assert not one.of_seeds
    assert one.high - one.value == pytest.approx(100 * 1.96 * (2 * 0.5 * 0.5 / 100) ** 0.5)
    assert worth.decide(SIGNED, [one]) == "undecided"  # whatever one seed says
    assert worth.worth(to_frame([]), SIGNED.effect) == []
    assert worth.decide(SIGNED, []) == "not run"


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.31, 2, "yes"), (-2, -0.31, "yes"), (-0.29, 0.29, "no"), (-0.1, 0.4, "undecided")]
)
def test_what_matters_lies_outside_the_margin_over_two_seeds(low: float, high: float, verdict: str) -> None:
    estimate = worth.Estimate("natural", (low + high) / 2, low, high, (low, high), 100, "")
    assert worth.decide(SIGNED, [estimate]) == verdict
    assert worth.decide(SIGNED, [replace(estimate, by_seed=(0.0,))]) == "undecided"
    speed = replace(estimate, what="speed", low=1 + low / 3, high=1 + high / 3)
    assert worth.decide(BY_NUMBER[10], [speed]) == verdict
    assert worth.decide(BY_NUMBER[3], []).startswith("no: the same code")


def test_policies_are_compared_within_one_run_and_epochs_within_one_training() -> None:
    noises = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
    where = {"arch": "sdnet18", "variant": "", "dataset": "d", "width": 16.0, "epochs": 3.0, "precision": "fp32"}
    base = {**where, "experiment": "policies", "metric": "top1_over_severities", "n": 100}
    rows = [
        {**base, "policy": policy, "seed": seed, "started": "a", "fitted_on": on, "corruption": noise, "value": value}
        for seed in (0, 1)
        for noise in noises
        for policy, on, value in (
            ("residual_fit", noise, 0.7), ("fit_on_test", noise, 0.72 + 0.01 * seed), ("residual_fit", "other", 0.1),
        )
    ]  # fmt: skip
    rows.append({**rows[0], "seed": 2})  # alone
    epochs = {**where, "experiment": "train", "metric": "top1_after_epoch", "seed": 0, "started": "a", "n": 100}
    rows += [{**epochs, "epoch": epoch, "value": value} for epoch, value in ((3, 0.6), (1, 0.5), (2, 0.64))]
    timed = {"experiment": "benchmark", "metric": "choice_speed_ratio", "case": "reconstruction", "device": "x"}
    rows.append(
        {**timed, "value": 0.95, "low": 0.94, "high": 0.97, "n": 7, "width": 16.0, "batch": 128, "started": "a"}
    )
    cells = pd.DataFrame(rows)
    (gain,) = worth.worth(cells, FittedPolicy("fit_on_test"))
    assert gain.by_seed == pytest.approx((2.0, 3.0))
    assert worth.worth(cells, FittedPolicy("fresh_noise")) == []
    (best,) = worth.worth(cells, BestEpoch())
    assert (best.value, best.n) == pytest.approx((4.0, 100))
    (speed,) = worth.worth(cells, Ratio("reconstruction"))
    assert (speed.value, speed.low, speed.high) == (0.95, 0.94, 0.97)


def test_what_was_not_run_has_a_price() -> None:
    cells = trained({("", 0): 0.8})
    assert price(cells, [], SIGNED) == ""
    speed = {**cells.iloc[0].to_dict(), "metric": "train_images_per_second", "value": 500.0, "device": "some CPU"}
    timed = {"experiment": "benchmark", "stem": "imagenet", "arch": "sdnet18", "device": "some CPU"}
    timed |= {"metric": "train_images_per_second", "value": 100.0, "started": "a"}
    cells = pd.concat([cells, pd.DataFrame([speed, timed])])
    assert price(cells, [], SIGNED) == "25 min a training: 15 epochs at 500 images/s on some CPU"
    hours = 100 * 1_281_167 / 100 / 3600
    assert price(cells, [], BY_NUMBER[17]).startswith(f"{hours:.1f} h a training: 100 epochs")
    assert price(cells, [], BY_NUMBER[14]).startswith(f"more than {hours:.1f} h")
    run = Record("policies", {"images": 2000}, None, {"name": "some CPU"}, 600.0, [], started="a")
    assert (
        price(cells, [run], BY_NUMBER[22])
        == "less than 10 min a network, the time that all policies on 2,000 images took on some CPU"
    )
    assert price(cells, [run], BY_NUMBER[26]) == price(cells, [run], BY_NUMBER[22]).removeprefix("less than ")
    assert price(cells, [], BY_NUMBER[22]) == price(cells, [run], BY_NUMBER[8]) == ""


def test_attacks_and_benchmarks_are_priced_by_a_run_like_them() -> None:
    table_4 = {"arch": "sdnet18", "choices": {"protocols": ["oblivious", "adaptive", "worst_case"], "images": 500}}
    two = {"archs": ["resnet18", "sdnet18"], "width": 64, "stem": "cifar"}
    asked = [("attack", table_4, 600.0), ("benchmark", {"what": "choices"}, 60.0), ("benchmark", two, 30.0)]
    others = [
        ("attack", {**table_4, "arch": "resnet18"}, 5.0),
        ("attack", {**table_4, "choices": {"protocols": ["transfer"], "images": 10}}, 5.0),
        ("benchmark", {"what": "scaling", "width": 64}, 5.0),
        ("benchmark", {**two, "width": 16}, 5.0),
    ]
    runs = [Record(name, config, None, {"name": "x"}, time, [], started="a") for name, config, time in others + asked]
    cells = to_frame([])
    found = [price(cells, runs, BY_NUMBER[number]) for number in (31, 10, 21)]
    assert found == [
        "less than 10 min a network, the time that protocols a, b and c on 500 images took on x",
        "60 s, the time that a run like it took on x",
        "30 s, the time that a run like it took on x",
    ]
    assert price(cells, runs[:4], BY_NUMBER[31]) == price(cells, runs[:4], BY_NUMBER[10]) == ""


def test_a_difference_without_a_command_says_why_there_is_no_switch() -> None:
    for switch in SWITCHES:
        assert bool(switch.command) != switch.note.startswith("no switch: "), switch.name


def test_the_tables_show_every_switch() -> None:
    shown = "".join(tables.show_switches([], part, f"audit-{name}").content for name, part in PARTS.items())
    assert all(tables.html.escape(switch.command) in shown for switch in SWITCHES)
    assert shown.count("not run") == sum(switch.effect is not None for switch in SWITCHES)
    priceless = shown.count("no price: the ledger has no run like it")
    assert priceless + shown.count("nothing to measure") == len(SWITCHES)
    summary = tables.show_summary([], SWITCHES).data
    assert "33 differences" in summary
    assert "FISTA at two steps (3)" in summary


@pytest.fixture
def lasso() -> Lasso:
    torch.manual_seed(0)
    weight = unit_norm(torch.randn(6, 3, 3, 3, dtype=torch.float64))
    dictionary = Dictionary(weight, (1, 1), ((1, 1), (1, 1)), (1, 1))
    return Lasso(dictionary, torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64))


def test_the_released_l_is_the_operators_norm(lasso: Lasso) -> None:
    exact = torch.linalg.matrix_norm(dense_matrix(lasso.dictionary, (8, 8)), 2) ** 2
    found, probe = codes.released_lipschitz(lasso.dictionary, 8)
    assert 0.97 * exact < found <= exact
    for _ in range(20):
        found, probe = codes.released_lipschitz(lasso.dictionary, 8, probe)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=0)


def test_the_step_of_the_switch_is_the_released_one() -> None:
    """0.9/L with L by power iteration: within 2 % of 0.9/‖A‖² for an image of usual size."""
    layer = sdnet.CSCConv2d(3, 16, 3, padding=1, lipschitz_method="power")
    found, probe = codes.released_lipschitz(layer.dictionary, 24)
    for _ in range(10):
        found, probe = codes.released_lipschitz(layer.dictionary, 24, probe)
    layer.project_(power_steps=200)
    assert (1 / layer.lipschitz * found / 0.9).item() == pytest.approx(1, abs=0.02)


def test_the_heavy_ball_is_the_released_recursion(lasso: Lasso) -> None:
    """c₃ = S(a + η Aᵀ(x − A c₂)), a = ((t₁ + t₂ − 1) c₂ + (1 − t₁) c₁)/t₂, as the released code combines them."""
    dictionary, step, lam = lasso.dictionary, torch.tensor(0.05, dtype=torch.float64), lasso.lam

    def shrunk(values: torch.Tensor) -> torch.Tensor:
        return torch.relu(values - step * lam)

    def gradient(code: torch.Tensor) -> torch.Tensor:
        return dictionary.analysis(lasso.signal - dictionary.synthesis(code, (8, 8)))

    first = shrunk(step * dictionary.analysis(lasso.signal))
    second = shrunk(first + step * gradient(first))
    t_1 = (5**0.5 + 1) / 2
    t_2 = ((1 + 4 * t_1**2) ** 0.5 + 1) / 2
    ahead = (t_1 + t_2 - 1) / t_2 * second + (1 - t_1) / t_2 * first
    third = shrunk(ahead + step * gradient(second))
    for count, expected in enumerate((first, second, third), start=1):
        torch.testing.assert_close(codes.unroll(lasso, step, count, "heavy_ball"), expected)


def test_what_the_page_computes(lasso: Lasso) -> None:
    found = codes.solvers(lasso, (2, 3))
    assert (found.loc[2] == 0).all()
    assert (found.loc[3, ["heavy ball: distance of the code", "ISTA: distance of the code"]] > 0).all()
    assert codes.signed(lasso)["negative"].tolist() == pytest.approx([0, 0.45], abs=0.2)
    sizes = codes.steps(lasso)
    assert sizes["times 1/‖A‖²"].iloc[-1] == pytest.approx(0.9)
    assert sizes["change of the code"].iloc[0] == 0 < sizes["change of the code"].iloc[1]
    ratios = codes.projection(2)
    assert all(0.9 < ratio < 1.1 and ratio != 1 for ratio in ratios)
    assert codes.unit_of_lam("sdnet18-w16-cifar10-s0") == pytest.approx(0.0802, abs=1e-3)
    levels = codes.levels()
    assert levels.loc["shot noise", "severities outside"] == "4 of 5"
    assert levels.loc["gaussian noise", "severities outside"] == "0 of 5"
    assert codes.posed("sdnet18-w16-cifar10-s0").signal.shape == (2, 3, 32, 32)
