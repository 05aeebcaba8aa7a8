"""Checkpoints that survive being interrupted, and trained networks as plain safetensors files."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that ``path`` holds either the old checkpoint or the new one, never half of one."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with open(part, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        ValueError: if the file is not a checkpoint.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a readable checkpoint ({error}); delete it to start over.") from error
    return state


def save_network(path: Path, model: nn.Module, description: dict[str, Any]) -> None:
    """Write weights and buffers (λ and the Lipschitz constants included) with a description that rebuilds it."""
    save_state(path, {name: tensor.detach() for name, tensor in model.state_dict().items()}, description)


def save_state(path: Path, state: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
    """Write what :func:`read_network` reads, at once or not at all."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(tensors, part, metadata={"sdnet": json.dumps(description)})
    part.replace(path)


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
        description = json.loads(metadata.get("sdnet", "null"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path} is not a readable network ({error}): it is damaged or incomplete; copy it again or train anew."
        ) from error
    if not isinstance(description, dict):
        raise ValueError(f"{path} does not say which network it holds; it was not written by sdnet.")
    return state, description
