"""Image folders ``<root>/{train,test|val}/<class>/*`` (:mod:`sdnet.data.listing`): checked, decoded once, cached."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from sdnet.data.images import Unreadable, open_rgb
from sdnet.data.listing import Files, class_names, has_classes, list_images

READING = 2
"""Goes up when the same file becomes other pixels than before, so that nothing decoded earlier is taken for it."""
DIGITS = 16
"""Of a file's key in its name."""
ABANDONED = 3600
"""Seconds after which a half-written file has no writer any more."""
Decoded = tuple[Tensor, Tensor]


def is_image_folder(root: Path) -> bool:
    """Whether ``root`` has a training and a test (or validation) folder."""
    return (root / "train").is_dir() and test_folder(root) is not None


def load_image_folder(root: Path) -> tuple[tuple[str, ...], Decoded, Decoded]:
    """Class names, then images (N, H, W, 3) uint8 and labels (N,) of the training and of the test split.

    Raises:
        ValueError: if a split or a class is missing or empty, an image cannot be decoded, or sizes differ. Everything
            that can be seen without decoding is checked before the first image is decoded.
    """
    held = test_folder(root)
    if held is None or not (root / "train").is_dir():
        raise ValueError(f"{root} is not complete: it needs the folders train and test (or val); unpack it again.")
    classes = class_names(root / "train", root)
    unexpected = [name for name in class_names(held, root) if name not in classes]
    if unexpected:
        raise ValueError(f"{held} has classes that the training split lacks: {', '.join(unexpected[:5])}.")
    listings = [list_images(folder, classes, root) for folder in (root / "train", held)]
    train, test = (_decode_cached(root, files) for files in listings)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"{root} has training images of {tuple(train[0].shape[1:3])} and test images of "
            f"{tuple(test[0].shape[1:3])} pixels; resize them to one size."
        )
    return classes, train, test


def test_folder(root: Path) -> Path | None:
    """The folder of the test images, or None: ``test`` or ``val``, whichever is sorted into classes, ``test`` first.

    ILSVRC as Kaggle gives it has a flat ``test`` without labels beside a sorted ``val``.
    """
    there = [root / name for name in ("test", "val") if (root / name).is_dir()]
    return next((folder for folder in there if has_classes(folder, root)), there[0] if there else None)


def _decode_cached(root: Path, files: Files) -> Decoded:
    """Decode, or read what an earlier call decoded from files of the same names, sizes and times."""
    key = hashlib.sha256(f"{READING}\n".encode())
    for path, label in files:
        status = os.stat(path)
        key.update(f"{Path(path).resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{label}\n".encode())
    cache = Path(os.environ.get("SDNET_CACHE") or Path.home() / ".cache" / "sdnet" / "decoded").expanduser()
    stored = cache / f"{root.name}-{key.hexdigest()[:DIGITS]}.safetensors"
    kept = _kept(stored, len(files))
    if kept is not None:
        return kept
    images = _decode([path for path, _ in files])
    labels = torch.tensor([label for _, label in files])
    _keep(stored, images, labels)
    return images, labels


def _keep(stored: Path, images: Tensor, labels: Tensor) -> None:
    """Write what was decoded for the next run, or say why that cannot be; what dead writers left is deleted."""
    part = stored.with_suffix(f".{os.getpid()}.part")
    try:
        stored.parent.mkdir(parents=True, exist_ok=True)
        for left in stored.parent.glob(f"*-{'?' * DIGITS}.*.part"):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink(missing_ok=True)
        save_file({"images": images, "labels": labels}, part, metadata={"sha256": _checksum(images, labels)})
        part.replace(stored)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        print(f"{stored.parent} cannot keep the decoded images ({error}); the next run decodes them again.", flush=True)


def _kept(stored: Path, count: int) -> Decoded | None:
    """What an earlier call decoded, so many images; None if nothing is kept, or if it is damaged."""
    if not os.path.lexists(stored):
        return None
    try:
        if not stored.is_file():  # a pipe would keep its reader waiting
            raise ValueError("not a file")
        with safe_open(stored, framework="pt") as file:
            checksum = (file.metadata() or {}).get("sha256")
        tensors = load_file(stored)
        images, labels = tensors["images"], tensors["labels"]
        if images.dim() != 4 or (len(images), images.shape[-1], *labels.shape) != (count, 3, count):
            raise ValueError("it holds other images")
        if (images.dtype, labels.dtype) != (torch.uint8, torch.int64) or _checksum(images, labels) != checksum:
            raise ValueError("its content does not match its checksum" if checksum else "it has no checksum")
        return images, labels
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        print(f"{stored} is damaged ({error}); the images are decoded again.", flush=True)
        return None


def _checksum(images: Tensor, labels: Tensor) -> str:
    """SHA-256 of pixels and labels, with their shapes."""
    digest = hashlib.sha256(f"{tuple(images.shape)}".encode())
    for tensor in (images, labels):
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _decode(paths: Sequence[str]) -> Tensor:
    size = _first_size(paths)
    images = np.empty((len(paths), size[1], size[0], 3), dtype=np.uint8)
    corrupt: list[str] = []
    odd: list[str] = []

    def decode(index: int) -> None:
        try:
            image = open_rgb(paths[index])
        except Unreadable as error:
            corrupt.append(f"{error.path} ({error.reason})")
            return
        if image.size == size:
            images[index] = np.asarray(image)
        else:
            odd.append(f"{paths[index]} ({image.width}×{image.height})")

    with ThreadPoolExecutor() as pool:
        decoding = pool.map(decode, range(len(paths)))
        for _ in tqdm(decoding, total=len(paths), desc="decoding", unit="image", disable=None):
            pass
    if corrupt:
        raise ValueError(f"{len(corrupt)} images cannot be decoded, the first is {sorted(corrupt)[0]}; replace them.")
    if odd:
        raise ValueError(f"{len(odd)} images are not {size[0]}×{size[1]}, the first is {sorted(odd)[0]}; resize them.")
    return torch.from_numpy(images)


def _first_size(paths: Sequence[str]) -> tuple[int, int]:
    """Width and height of the first image that can be decoded; the others must agree with it."""
    first = None
    for path in paths:
        try:
            return open_rgb(path).size
        except Unreadable as error:
            first = first or f"{error.path} ({error.reason})"
    raise ValueError(f"none of the {len(paths)} images can be decoded, the first is {first}; replace them.")
