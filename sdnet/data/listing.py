"""What is a class and what is an image in a folder ``<split>/<class>/*``: one rule for every reader of folders.

A class is a folder, an image a regular file with a suffix of :data:`SUFFIXES` anywhere below its class folder. Links
count as what they lead to. Hidden names (``.ipynb_checkpoints``, ``._0.png``) are neither, without a word.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

Files = tuple[tuple[str, int], ...]
"""Paths and labels."""


def has_classes(split: Path) -> bool:
    """Whether a split has any class folder."""
    return any(_class_folders(split))


def class_names(split: Path) -> tuple[str, ...]:
    """The names of the class folders of a split, sorted.

    Raises:
        ValueError: if there is none.
    """
    names = tuple(sorted(_class_folders(split)))
    if not names:
        raise ValueError(f"{split} holds no class folders; it needs one folder of images per class.")
    return names


def _class_folders(split: Path) -> Iterator[str]:
    return (path.name for path in split.iterdir() if not _hidden(path.name) and path.is_dir())


def list_images(split: Path, classes: Sequence[str]) -> Files:
    """The images of these classes, class by class and sorted by folder and name; a label is an index into ``classes``.

    One line is printed if there are files that are no images; hidden ones are skipped without it.

    Raises:
        ValueError: if a class has no images.
    """
    files: list[tuple[str, int]] = []
    others: list[str] = []
    for label, name in enumerate(classes):
        found = sorted(_files(split / name), key=lambda item: os.path.split(item[0]))
        images = [path for path, is_image in found if is_image]
        if not images:
            raise ValueError(f"class {name!r} has no images in {split}; unpack the data again or remove the class.")
        files += [(path, label) for path in images]
        others += [path for path, is_image in found if not is_image]
    if others:
        print(
            f"{split}: {len(others)} skipped, the first is {others[0]}; an image is a regular file that ends in "
            f"{', '.join(sorted(SUFFIXES))}.",
            flush=True,
        )
    return tuple(files)


def _files(folder: Path) -> Iterator[tuple[str, bool]]:
    """What is below a folder and not hidden, without the folders, and whether it is an image."""
    waiting, seen = [str(folder)], set[str]()
    while waiting:
        here = waiting.pop()
        if os.path.realpath(here) in seen or not os.path.isdir(here):
            continue  # a link back to where it lies would list the same files again and again
        seen.add(os.path.realpath(here))
        with os.scandir(here) as entries:
            for entry in entries:
                # os.path answers False for a link that leads nowhere or to itself, where an entry may raise.
                linked = entry.is_symlink()
                if _hidden(entry.name):
                    continue
                if os.path.isdir(entry.path) if linked else entry.is_dir():
                    waiting.append(entry.path)
                else:
                    regular = os.path.isfile(entry.path) if linked else entry.is_file()
                    yield entry.path, regular and os.path.splitext(entry.name)[1].lower() in SUFFIXES


def _hidden(name: str) -> bool:
    return name.startswith(".")
