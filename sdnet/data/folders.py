"""Image folders ``<root>/{train,test|val}/<class>/*``: checked, decoded once, cached as uint8."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
DECODE_ERRORS = (UnidentifiedImageError, OSError, SyntaxError)
Decoded = tuple[Tensor, Tensor]


def is_image_folder(root: Path) -> bool:
    """Whether ``root`` has a training and a test (or validation) folder."""
    return (root / "train").is_dir() and test_folder(root) is not None


def load_image_folder(root: Path) -> tuple[tuple[str, ...], Decoded, Decoded]:
    """Class names, then images (N, H, W, 3) uint8 and labels (N,) of the training and of the test split.

    Raises:
        ValueError: if a split or a class is missing or empty, an image is corrupt, or sizes differ. Everything
            that can be seen without decoding is checked before the first image is decoded.
    """
    held = test_folder(root)
    if held is None or not (root / "train").is_dir():
        raise ValueError(f"{root} is not complete: it needs the folders train and test (or val); unpack it again.")
    classes = tuple(sorted(path.name for path in (root / "train").iterdir() if path.is_dir()))
    if not classes:
        raise ValueError(f"{root / 'train'} holds no class folders; it needs one folder of images per class.")
    listings = [_list_images(folder, classes) for folder in (root / "train", held)]
    train, test = (_decode_cached(root, files) for files in listings)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"{root} has training images of {tuple(train[0].shape[1:3])} and test images of "
            f"{tuple(test[0].shape[1:3])} pixels; resize them to one size."
        )
    return classes, train, test


def test_folder(root: Path) -> Path | None:
    """The folder of the test images, or None."""
    return next((root / name for name in ("test", "val") if (root / name).is_dir()), None)


def _list_images(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    unexpected = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in classes)
    if unexpected:
        raise ValueError(f"{folder} has classes that the training split lacks: {', '.join(unexpected[:5])}.")
    files = []
    for label, name in enumerate(classes):
        found = sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"class {name!r} has no images in {folder}; unpack the data again or remove the class.")
        files += [(path, label) for path in found]
    return files


def _decode_cached(root: Path, files: Sequence[tuple[Path, int]]) -> Decoded:
    """Decode, or read what an earlier call decoded from files of the same names, sizes and times."""
    key = hashlib.sha256()
    for path, label in files:
        status = path.stat()
        key.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{label}\n".encode())
    cache = Path(os.environ.get("SDNET_CACHE") or Path.home() / ".cache" / "sdnet" / "decoded").expanduser()
    stored = cache / f"{root.name}-{key.hexdigest()[:16]}.safetensors"
    if stored.exists():
        tensors = load_file(stored)
        return tensors["images"], tensors["labels"]
    images = _decode([path for path, _ in files])
    labels = torch.tensor([label for _, label in files])
    cache.mkdir(parents=True, exist_ok=True)
    part = stored.with_suffix(f".{os.getpid()}.part")
    save_file({"images": images, "labels": labels}, part)
    part.replace(stored)
    return images, labels


def _decode(paths: Sequence[Path]) -> Tensor:
    size = _first_size(paths)
    images = np.empty((len(paths), size[1], size[0], 3), dtype=np.uint8)
    corrupt: list[str] = []
    odd: list[str] = []

    def decode(index: int) -> None:
        try:
            with Image.open(paths[index]) as image:
                if image.size == size:
                    images[index] = np.asarray(image.convert("RGB"))
                else:
                    odd.append(f"{paths[index]} ({image.size[0]}×{image.size[1]})")
        except DECODE_ERRORS:
            corrupt.append(str(paths[index]))

    with ThreadPoolExecutor() as pool:
        decoding = pool.map(decode, range(len(paths)))
        for _ in tqdm(decoding, total=len(paths), desc="decoding", unit="image", disable=None):
            pass
    if corrupt:
        raise ValueError(f"{len(corrupt)} images cannot be decoded, the first is {sorted(corrupt)[0]}; replace them.")
    if odd:
        raise ValueError(f"{len(odd)} images are not {size[0]}×{size[1]}, the first is {sorted(odd)[0]}; resize them.")
    return torch.from_numpy(images)


def _first_size(paths: Sequence[Path]) -> tuple[int, int]:
    """Width and height of the first image that can be opened; the others must agree with it."""
    for path in paths:
        try:
            with Image.open(path) as image:
                return image.size
        except DECODE_ERRORS:
            continue
    raise ValueError(f"none of the {len(paths)} images below {paths[0].parent.parent} can be opened; replace them.")
