"""Checkpoints that survive being interrupted, and trained networks as plain safetensors files."""

import fcntl
import hashlib
import json
import os
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

_locks: set[int] = set()


def _let_go() -> None:
    """In a forked child: a worker that outlives its parent for a moment must not keep the parent's folder locked."""
    for file in _locks:
        os.close(file)
    _locks.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path, what: str, parts: str = "*.part") -> Iterator[None]:
    """Be the only process that does something; what dead ones left half-written beside it is deleted.

    The system unlocks it when the process ends, however that happens.

    Args:
        path: of the lock, in a folder of the output.
        what: is done, for the error.
        parts: the names of what may be left half-written.

    Raises:
        ValueError: at once, if another process does it, saying which.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(file, 100, 0).decode(errors="replace") or "another process"
        os.close(file)
        raise ValueError(
            f"{what} is running already, in {holder}; wait for its end, stop it, or choose another output than "
            f"{path.parent.parent}."
        ) from error
    _locks.add(file)
    try:  # on a full disk the name cannot be written, and the lock is to be given back
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        for part in path.parent.glob(parts):
            part.unlink()
        yield
    finally:
        _locks.discard(file)
        os.close(file)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` if the writing succeeds and vanishes if it does not.

    Raises:
        OSError: in one sentence, if the disk is full or does not let itself be written.
    """
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch hides the system's error behind one of its own
        causes = [cause for cause in (error, error.__context__) if isinstance(cause, OSError)]
        why = causes[-1].strerror or causes[-1] if causes else textwrap.shorten(str(error), 200, placeholder=" ...")
        raise OSError(f"cannot write {path} ({why}); make room, then start it again to resume.") from error
    finally:
        part.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that ``path`` holds either the old checkpoint or the new one, never half of one."""
    with whole(path) as part, open(part, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        ValueError: if the file is not a checkpoint.
    """
    try:
        _check_archive(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        why = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".")
        raise ValueError(f"{path} is not a readable checkpoint ({why}); delete it to start over.") from error
    return state


def _check_archive(path: Path) -> None:
    """Raise ValueError if a file that ``torch.save`` wrote has changed since, which ``torch.load`` does not look at."""
    if not path.is_file():  # a pipe would keep its reader waiting
        raise ValueError("not a file")
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("its parts are compressed")  # to unpack them could take all memory
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"its part {damaged} is damaged")


LEAST = {"lam": 0.0, "running_var": 0.0, "lipschitz": torch.finfo(torch.float32).tiny}
"""What the numbers of a tensor with this name must at least be for a network to compute."""


def check_numbers(path: Path, state: Any, remedy: str, name: str = "") -> None:
    """Refuse what would make every score NaN, of which the prediction is class 0 and the accuracy looks like one.

    Args:
        state: tensors and numbers, in dictionaries and lists of any depth; what is neither is not looked at.
        remedy: what to do, for the message.
        name: of the state, dotted.

    Raises:
        ValueError: naming file and tensor, if a number is not finite, a λ or a variance negative, or a Lipschitz
            constant not positive.
    """
    if isinstance(state, dict | list | tuple):
        for part, values in state.items() if isinstance(state, dict) else enumerate(state):
            check_numbers(path, values, remedy, f"{name}.{part}".lstrip("."))
    if isinstance(state, float):
        state = torch.tensor(state)
    if not isinstance(state, torch.Tensor):
        return
    if not state.isfinite().all():
        raise ValueError(f"{path}: '{name}' holds numbers that are not finite; {remedy}.")
    least = LEAST.get(name.rpartition(".")[2])
    if least is not None and (state < least).any():
        bound = ">= 0" if least == 0 else "> 0"
        raise ValueError(f"{path}: '{name}' must be {bound}; got {state.min().item():g}; {remedy}.")


def save_network(path: Path, model: nn.Module, description: dict[str, Any]) -> None:
    """Write weights and buffers (λ and the Lipschitz constants included) with a description that rebuilds it."""
    save_state(path, {name: tensor.detach() for name, tensor in model.state_dict().items()}, description)


def save_state(path: Path, state: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
    """Write what :func:`read_network` reads, at once or not at all."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    text = json.dumps(description)
    with whole(path) as part:
        save_file(tensors, part, metadata={"sdnet": text, "sha256": _checksum(tensors, text)})


def _checksum(tensors: dict[str, torch.Tensor], description: str) -> str:
    """SHA-256 of everything that a network's file holds, in whatever order."""
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_network(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """State dict and description of a file that :func:`save_network` or :func:`save_state` wrote.

    Raises:
        ValueError: if there is no such file, or it is damaged or something else.
    """
    if not path.is_file():
        raise ValueError(f"there is no network at {path}; train one first (book/04_train_cifar.ipynb).")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path)
        if metadata.get("sha256", digest := _checksum(state, metadata.get("sdnet", ""))) != digest:
            raise ValueError("its content does not match its checksum")
        description = json.loads(metadata.get("sdnet", "null"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path} is not a readable network ({error}): it is damaged or incomplete; copy it again or train anew."
        ) from error
    if not isinstance(description, dict):
        raise ValueError(f"{path} does not say which network it holds; it was not written by sdnet.")
    return state, description


def check_shapes(what: str, own: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError, naming the first that differs, unless tensors have the names and shapes of one's own."""
    for name in {**own, **found}:
        wanted, got = (tuple(state[name].shape) if name in state else "missing" for state in (own, found))
        if wanted != got:
            raise ValueError(f"{what}.{name}: its shape is {got}, that of this network's {wanted}")


def random_state(device: torch.device) -> list[torch.Tensor]:
    """That of PyTorch on the CPU, and on a GPU that trains."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_random_state(states: list[torch.Tensor], device: torch.device) -> None:
    """Go on with what :func:`random_state` gave, maybe on another device."""
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
