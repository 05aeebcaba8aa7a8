"""Ranks over Gloo: equal weights, the batches of one process, checkpoints, and everything that can go wrong."""

import itertools
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ranks import (
    RECIPE,
    accuracy,
    dictionaries,
    fall_silent,
    free_port,
    on_ranks,
    own_value,
    own_weights,
    steps,
    told_to_stop,
    trained,
    vanish,
)
from torch import nn

from sdnet import CSCConv2d, models
from sdnet.data.batches import training_batches
from sdnet.data.datasets import Split, load
from sdnet.training import loop
from sdnet.training.checkpoint import load_checkpoint
from sdnet.training.distributed import ALONE, Execution, Ranks, environment, joined, own_device

CPU = torch.device("cpu")


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def is_statistic(name: str) -> bool:
    """Of batch normalisation: a rank has them from its own images, one process from every piece."""
    return "running" in name or "num_batches" in name


def test_dictionaries_are_equal_bit_by_bit_on_every_rank_and_on_the_sphere() -> None:
    first, second = on_ranks(2, dictionaries)
    assert len(first) == 5 * 17
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for atoms in first:
        norms = atoms.flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
    assert not torch.equal(first[0], first[-17])


def test_ranks_compute_what_one_process_computes_in_as_many_pieces() -> None:
    """45 images in batches of 12: the last batch of 9 falls to the ranks as 5 and 4."""
    (two, losses), (other, _) = on_ranks(2, trained)
    one, expected = trained(execution=Execution(accumulate=2))
    assert losses == pytest.approx(expected, rel=1e-5)
    for name, tensor in two.items():
        if not is_statistic(name):
            torch.testing.assert_close(tensor, one[name], rtol=1e-3, atol=1e-5)
            assert torch.equal(tensor, other[name])


@pytest.mark.parametrize("size", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_told_to_stop_goes_on_to_the_weights_of_an_undisturbed_one(tmp_path: Path, size: int) -> None:
    """Bit by bit, on the same number of ranks; random numbers of dropout included."""
    checkpoint = tmp_path / "checkpoint.pt"
    ((undisturbed, losses), *_) = on_ranks(size, trained, None, Execution(), 0.2)
    stopped = on_ranks(size, trained, checkpoint, Execution(), 0.2, told_to_stop)
    assert stopped == ["Preempted: told to stop; saved after step 2 of epoch 2."] * size
    assert load_checkpoint(checkpoint)["step"] == 2
    ((resumed, rest), *_) = on_ranks(size, trained, checkpoint, Execution(), 0.2)
    assert_equal(resumed, undisturbed)
    assert rest == pytest.approx(losses)


def test_a_run_goes_on_with_its_batches_on_fewer_ranks(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    ((undisturbed, losses), _) = on_ranks(2, trained)
    on_ranks(2, trained, checkpoint, Execution(), 0.0, told_to_stop)
    resumed, rest = trained(ALONE, checkpoint, Execution(accumulate=2))
    assert rest == pytest.approx(losses, rel=1e-5)
    for name, tensor in undisturbed.items():
        if not is_statistic(name):
            torch.testing.assert_close(resumed[name], tensor, rtol=1e-3, atol=1e-5)


def test_checkpoints_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    monkeypatch.setattr("sdnet.training.run.save_checkpoint", lambda _, state: saved.append(state["step"]))
    trained(ALONE, tmp_path / "checkpoint.pt", Execution(save_every=3))
    assert saved == [3, 0] * RECIPE.epochs


def test_accuracy_is_that_of_one_process() -> None:
    assert on_ranks(2, accuracy) == [accuracy(ALONE)] * 2


def test_shares_are_a_partition() -> None:
    for size in (1, 2, 3, 5):
        for count in (0, 1, 7, 10):
            parts = [list(range(count))[Ranks(rank, size).shard(count)] for rank in range(size)]
            assert [item for part in parts for item in part] == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_parts_of_batches_are_parts_of_the_batches_of_one_process() -> None:
    split = Split(torch.randint(256, (23, 4, 4, 3), dtype=torch.uint8), torch.arange(23))
    options = {"seed": 1, "epoch": 2, "padding": 1, "noise": 0.1}
    whole = list(training_batches(split, 8, **options))
    parts = [list(training_batches(split, 8, **options, start=1, shard=Ranks(rank, 3).shard)) for rank in range(3)]
    for (pixels, labels), *pieces in zip(whole[1:], *parts, strict=True):
        assert torch.equal(torch.cat([x for x, _ in pieces]), pixels)
        assert torch.equal(torch.cat([y for _, y in pieces]), labels)
    assert len(list(training_batches(split, 8, **options, least=8))) == 2


def test_ranks_that_disagree_all_say_so() -> None:
    said = on_ranks(2, own_value)
    assert said[0] == said[1]
    assert "ranks disagree about the data: rank 0 has {'images': 10}, rank 1 has {'images': 11}" in said[0]


def test_weights_that_drift_apart_by_one_bit_are_noticed_at_the_checkpoint(tmp_path: Path) -> None:
    said = on_ranks(2, own_weights, tmp_path / "checkpoint.pt")
    assert all("ranks disagree about the weights" in sentence for sentence in said)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("die", [vanish, pytest.param(fall_silent, marks=pytest.mark.slow)])
def test_a_lost_rank_ends_the_others_in_time(die: object) -> None:
    """At once if it is dead, after the timeout, here four seconds, if it is silent."""
    first, _ = on_ranks(2, trained, None, Execution(), 0.0, die, timeout=4, within=40)
    assert first.startswith("RankLost: rank 0 lost another rank")
    assert "silent for 4 s" in first


def set_environment(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    usual = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in {**usual, **values}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_missing_rank_ends_in_time(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    set_environment(monkeypatch, RANK=rank)
    start = time.monotonic()
    message = r"did not meet the other 1 at 127.0.0.1:\d+ within 1 s: a rank is missing"
    with pytest.raises(ValueError, match=message), joined(CPU, 1):
        pass
    assert time.monotonic() - start < 20


def test_a_busy_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        set_environment(monkeypatch, MASTER_PORT=other.getsockname()[1])
        with pytest.raises(ValueError, match=r"within 1 s: the port is busy; choose another"), joined(CPU, 1):
            pass


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"RANK": None}, "WORLD_SIZE is set, but RANK not"),
        ({"WORLD_SIZE": "two"}, "must be integers"),
        ({"RANK": 2}, r"rank 2 \(local 0\) does not exist among 2 ranks"),
        ({"LOCAL_RANK": 3}, r"rank 0 \(local 3\) does not exist among 2 ranks"),
    ],
)
def test_a_wrong_world_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, object], message: str
) -> None:
    set_environment(monkeypatch, **values)
    with pytest.raises(ValueError, match=message):
        environment()


def test_every_rank_needs_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert own_device(torch.device("cuda"), Ranks(0, 2, 0)) == torch.device("cuda", 0)
    with pytest.raises(ValueError, match=r"rank 1 has no GPU: this node has 1. Start at most 1"):
        own_device(torch.device("cuda"), Ranks(1, 2, 1))


def test_synchronised_batch_normalisation_needs_gpus() -> None:
    with pytest.raises(ValueError, match="sync_batchnorm needs GPUs"):
        ALONE.wrap(nn.Linear(2, 2), Execution(sync_batchnorm=True))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_compiled_steps_are_the_plain_ones(size: int) -> None:
    """Traced through forward and backward; what the default backend makes of it is a slow test."""
    plain, compiled = on_ranks(size, steps, None)[0], on_ranks(size, steps, "default")[0]
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-7, atol=1e-9, msg=name)


def tiny() -> nn.Module:
    coder = CSCConv2d(3, 8, 3, padding=1, iterations=3)
    return nn.Sequential(coder, nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(512, 10))


def sdnet() -> nn.Module:
    return models.build("sdnet18", 10, width=16)


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own, about the machine it finds
@pytest.mark.parametrize(
    ("build", "steps"), [(tiny, 5), pytest.param(sdnet, 20, marks=pytest.mark.slow)], ids=["quick", "sdnet18"]
)
def test_compiled_training_is_the_plain_one(build: Callable[[], nn.Module], steps: int) -> None:
    """In float64. In float32 a relative change of 1e-7 of the initial weights, compiled or not, SDNet or ResNet, is one
    of a third of some gradient after two steps: batch normalisation of small batches magnifies rounding."""
    found = {}
    for mode in (None, "default"):
        torch.manual_seed(0)
        model = build().double()
        together = ALONE.wrap(model, Execution(compile=mode))
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=5e-4)
        batches = training_batches(load("digits").train, 32, seed=0, epoch=0, padding=2, flip=False)
        totals = [
            loop.training_step(together, optimizer, images.double(), labels, 0.01, "fp32")
            for images, labels in itertools.islice(batches, steps)
        ]
        found[mode] = {"totals": torch.stack(totals), **model.state_dict()}
    assert found[None]["totals"].shape == (steps, 3)
    for name, tensor in found[None].items():
        torch.testing.assert_close(found["default"][name], tensor, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"accumulate": 0}, "accumulate must be an integer >= 1, at most 1,000,000; got 0"),
        ({"save_every": 0}, "save_every must be an integer >= 1, at most 1,000,000; got 0"),
        ({"workers": -1}, "workers must be an integer >= 0"),
        ({"compile": "fast"}, "compile 'fast' does not exist. Available: default, reduce-overhead, max-autotune"),
        ({"timeout": 0.0}, "timeout must be finite and > 0, at most 1,000,000; got 0.0"),
    ],
)
def test_execution_refuses(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Execution(**fields)  # type: ignore[arg-type]


def test_alone_nothing_is_sent() -> None:
    assert "WORLD_SIZE" not in os.environ
    with joined(CPU, 1) as ranks:
        assert ranks == ALONE
        assert ranks.all_gather("a") == ["a"]
        assert ranks.from_main(lambda: 3) == 3
