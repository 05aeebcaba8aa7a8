"""Files from outside, damaged in every way: each is named in one sentence, or what is read of it is exactly right."""

import io
import json
import math
import os
import pickle
import random
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults import Tally
from safetensors.torch import save_file
from toys import TINY, untrained

from sdnet.data import corruption_benchmarks, folders
from sdnet.results import ledger, networks
from sdnet.results.unfinished import Unfinished
from sdnet.robust.policies import Policy, load_policy
from sdnet.training.checkpoint import load_checkpoint, read_network, save_checkpoint

GIGABYTE = 2**20
"""In KiB, as the system counts a process's memory."""
STATE = {"key": {"data": "a"}, "step": 3, "wall": 1.0, "model": {"weight": torch.arange(99.0)}, "history": []}
KEY = {"asked": 1}


class Code:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def archived(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return bool(one == other)


def read_unfinished(path: Path) -> Any:
    """The parts that a run resumes with; a file that it does not take is a sentence that it prints."""
    with Unfinished(path.parent, "sweep", KEY, ledger.start()) as found:
        assert found.path == path
    if not found.parts:
        raise ValueError(f"starting over: {path}")  # printed; see test_a_damaged_file_costs_a_sentence
    return found.parts


def read_network_file(path: Path) -> Any:
    found = networks.load(path)
    return {**found.model.state_dict(), "about": (found.training, found.classes, found.size)}


def read_row(path: Path) -> Any:
    return ledger.read(path.parent)


def read_labels(path: Path) -> Any:
    split = corruption_benchmarks.cifar_c(path.parent, "fog", 1, classes=10)
    return {"images": split.images, "labels": split.labels}


def read_decoded(path: Path) -> Any:
    """What is kept of an image folder; a damaged file is a sentence that is printed."""
    kept = folders._kept(path, 2)
    if kept is None:
        raise ValueError(f"decoded again: {path}")
    return dict(zip(("images", "labels"), kept, strict=True))


READERS: dict[str, Callable[[Path], Any]] = {
    "network.safetensors": read_network_file,
    "checkpoint.pt": load_checkpoint,
    "policy.json": load_policy,
    "row.json": read_row,
    "labels.npy": read_labels,
    "decoded.safetensors": read_decoded,
    "unfinished.pt": read_unfinished,
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A valid file of each kind, each in a folder of its own; four images stand for CIFAR-10-C's ten thousand."""
    folder = tmp_path_factory.mktemp("valid")
    files = {name: folder / name.partition(".")[0] / name for name in READERS}
    for path in files.values():
        path.parent.mkdir()
    untrained(files["network.safetensors"], **TINY)
    save_checkpoint(files["checkpoint.pt"], STATE)
    Policy("residual_fit", 0.25, 0.125, 0.1, 1.5, network="00ff").save(files["policy.json"])
    results = [{"metric": "top1", "value": 0.5, "n": 10}]
    row = ledger.start().record(experiment="train", config={"seed": 0}, data_hash="00", device={}, results=results)
    ledger.write(row, files["row.json"].parent).rename(files["row.json"])
    np.save(files["labels.npy"], np.tile(np.array([3, 9, 9, 0], dtype=np.uint8), 5))
    np.save(files["labels.npy"].with_name("fog.npy"), np.zeros((20, 32, 32, 3), dtype=np.uint8))
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 2, 2, 3)
    folders._keep(files["decoded.safetensors"], images, torch.arange(2))
    kept = Unfinished(files["unfinished.pt"].parent, "sweep", KEY, ledger.start())
    kept("clean", lambda: torch.ones(5, dtype=torch.bool))
    files["unfinished.pt"] = kept.path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corruption_benchmarks, "IMAGES", 4)
        yield files


def contents(name: str, whole: bytes, flips: int, cuts: int) -> Iterator[tuple[str, bytes]]:
    """Damaged contents of a file, with what was done."""
    dice = random.Random(name)
    for cut in [0, 1, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(cuts))]:
        yield f"cut to {cut} bytes", whole[:cut]
    for number in range(flips):
        # Half of the flips hit the beginning, where a format's own numbers stand.
        at = dice.randrange(min(256, len(whole)) if number % 2 else len(whole))
        bit = 1 << dice.randrange(8)
        yield f"byte {at} flipped by {bit}", whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
    yield "text", b"not what you think\n"
    yield "zeros", bytes(len(whole))
    yield "noise", random.Random(name).randbytes(len(whole))
    yield "giant safetensors header", struct.pack("<Q", 2**62) + b"{" * 1000
    yield "large safetensors header", struct.pack("<Q", 90_000_000) + b" " * 1000
    text = '{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    yield "giant tensor", struct.pack("<Q", len(text)) + text.encode() + bytes(8)
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + "\n"
    yield "giant array", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    yield "deep JSON", b"[" * 100_000
    yield "a long number", b'{"slope": 1' + b"0" * 5000 + b"}"


@pytest.mark.parametrize("name", list(READERS))
def test_a_damaged_file_is_named_or_harmless(name: str, valid: dict[str, Path], tally: Tally) -> None:
    path, read = valid[name], READERS[name]
    whole, expected = path.read_bytes(), read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    right = partial(same, expected)
    try:
        for what, content in contents(name, whole, flips=40, cuts=8):
            path.write_bytes(content)
            tally.tried(f"damaged {name}", what, lambda: read(path), [path], right, (ValueError, OSError))
        path.unlink()
        for what, make in (("a folder", os.mkdir), ("a named pipe", os.mkfifo)):
            make(path)
            tally.tried(f"damaged {name}", what, lambda: read(path), [path], right, (ValueError, OSError))
            path.rmdir() if path.is_dir() else path.unlink()
        path.symlink_to(path)
        tally.tried(f"damaged {name}", "a link to itself", lambda: read(path), [path], right, (ValueError, OSError))
        path.unlink()
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIGABYTE


@pytest.mark.parametrize("name", list(READERS))
def test_nothing_in_a_file_is_executed(name: str, valid: dict[str, Path], tally: Tally, tmp_path: Path) -> None:
    path, read, marker = valid[name], READERS[name], tmp_path / "executed"
    whole = path.read_bytes()
    writers: dict[str, Callable[[], object]] = {
        "pickle": lambda: path.write_bytes(pickle.dumps(Code(marker))),
        "torch.save": lambda: torch.save({**STATE, "key": Code(marker)}, path),
        "torch.save, legacy": lambda: torch.save(Code(marker), path, _use_new_zipfile_serialization=False),
        "np.save": lambda: path.write_bytes(archived(np.array([Code(marker)], dtype=object))),
    }
    for what, write in writers.items():
        write()
        tally.tried("code in a file", f"{what} as {name}", lambda: read(path), [path], errors=(ValueError, OSError))
        assert not marker.exists()
    path.write_bytes(whole)


def test_a_checkpoint_that_unpacks_to_far_more_than_it_is_is_refused(valid: dict[str, Path], tally: Tally) -> None:
    path = valid["checkpoint.pt"]
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/data.pkl", bytes(2 * 10**8))
        archive.writestr("a/data/0", bytes(2 * 10**8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally.tried("damaged checkpoint.pt", "a bomb", lambda: load_checkpoint(path), [path])
    path.write_bytes(whole)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**5


WRONG = [math.nan, math.inf, -1.0, "0.1", None, [], {}, True, 10**400]


def test_fields_of_other_types_and_missing_ones_are_named(valid: dict[str, Path], tally: Tally) -> None:
    path = valid["policy.json"]
    fields = asdict(load_policy(path))
    for name in ("slope", "intercept", "low", "high", "lam0"):
        for value in WRONG:
            if name in ("slope", "intercept") and value == -1.0:
                continue
            path.write_text(json.dumps({**fields, name: value}))
            tally.tried("fields of policies", f"{name}={value!r}"[:60], lambda: load_policy(path), [path])
    for name in ("slope", "name", "low"):
        path.write_text(json.dumps({key: value for key, value in fields.items() if key != name}))
        tally.tried("fields of policies", f"no {name}", lambda: load_policy(path), [path])
    path = valid["network.safetensors"]
    whole, (state, description) = path.read_bytes(), read_network(path)
    for name in list(state)[::7]:
        for value in (math.nan, math.inf):
            if state[name].is_floating_point():
                changed = {**state, name: torch.full_like(state[name], value)}
                save_file(changed, path, metadata={"sdnet": json.dumps(description)})
                tally.tried("tensors of networks", f"{name} is {value}", lambda: networks.load(path), [path])
        for what, tensor in (("larger", torch.ones(3, *state[name].shape)), ("of no number", torch.ones(0))):
            save_file({**state, name: tensor}, path, metadata={"sdnet": json.dumps(description)})
            tally.tried("tensors of networks", f"{name} is {what}", lambda: networks.load(path), [path])
    for name, values in {"classes": ["0123456789", [1], None], "size": ["x", -1, math.nan, True]}.items():
        for value in values:
            save_file(state, path, metadata={"sdnet": json.dumps({**description, name: value})})
            tally.tried("descriptions of networks", f"{name}={value!r}", lambda: networks.load(path), [path])
    own = description["training"]
    changes: list[dict[str, Any]] = [
        {name: value}
        for name in ("arch", "recipe", "seed", "network", "precision", "hold_out", "keep")
        for value in WRONG
    ]
    for change in [*changes, {"network": {"lam": -1}}, {"network": {"iterations": 10**9}}, {"more": 1}]:
        if change.get("seed") == "0.1" or change == {"network": {}}:
            continue
        about = {**description, "training": {**own, **change}}
        save_file(state, path, metadata={"sdnet": json.dumps(about)})
        tally.tried("descriptions of networks", str(change)[:60], lambda: networks.load(path), [path])
    path.write_bytes(whole)
