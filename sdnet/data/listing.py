"""What is a class and what is an image in a folder ``<split>/<class>/*``: one rule for every reader of folders.

A class is a folder, an image a regular file with a suffix of :data:`SUFFIXES` anywhere below its class folder. A link
counts as what it leads to within the data set's folder, and is left out if it leads out of it. Hidden names
(``.ipynb_checkpoints``, ``._0.png``) are neither, without a word.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

Files = tuple[tuple[str, int], ...]
"""Paths and labels."""


def has_classes(split: Path, root: Path) -> bool:
    """Whether a split of the data set at ``root`` has any class folder."""
    return any(not _leads_out(path, root) for path in _folders(split))


def class_names(split: Path, root: Path) -> tuple[str, ...]:
    """The names of the class folders of a split of the data set at ``root``, sorted.

    Raises:
        ValueError: if there is none.
    """
    folders = list(_folders(split))
    names = tuple(sorted(path.name for path in folders if not _leads_out(path, root)))
    if not names:
        raise ValueError(
            f"{split} holds no class folders{_but(folders, root)}; it needs one folder of images per class."
        )
    return names


def _folders(split: Path) -> Iterator[Path]:
    return (path for path in split.iterdir() if not _hidden(path.name) and path.is_dir())


def list_images(split: Path, classes: Sequence[str], root: Path) -> Files:
    """The images of these classes, class by class and sorted by folder and name; a label is an index into ``classes``.

    One line is printed if there are files that are no images, or links out of ``root``; hidden ones are skipped without
    it.

    Raises:
        ValueError: if a class has no images.
    """
    files: list[tuple[str, int]] = []
    others = [str(path) for path in _folders(split) if path.name not in classes and _leads_out(path, root)]
    for label, name in enumerate(classes):
        found = sorted(_files(split / name, root), key=lambda item: os.path.split(item[0]))
        images = [path for path, is_image in found if is_image]
        left_out = [path for path, is_image in found if not is_image]
        if not images:
            raise ValueError(
                f"class {name!r} has no images in {split}{_but(left_out, root)}; unpack the data again or remove the "
                "class."
            )
        files += [(path, label) for path in images]
        others += left_out
    if others:
        print(
            f"{split}: {len(others)} skipped, the first is {others[0]}; an image is a regular file that ends in "
            f"{', '.join(sorted(SUFFIXES))}, and no link out of {root} is followed.",
            flush=True,
        )
    return tuple(files)


def _files(folder: Path, root: Path) -> Iterator[tuple[str, bool]]:
    """What is below a folder and not hidden, without the folders that are looked into, and whether it is an image."""
    if _leads_out(folder, root):
        yield str(folder), False
        return
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
                if linked and _leads_out(entry.path, root):
                    yield entry.path, False
                elif os.path.isdir(entry.path) if linked else entry.is_dir():
                    waiting.append(entry.path)
                else:
                    regular = os.path.isfile(entry.path) if linked else entry.is_file()
                    yield entry.path, regular and os.path.splitext(entry.name)[1].lower() in SUFFIXES


def _leads_out(path: str | os.PathLike[str], root: Path) -> bool:
    """Whether a path is somewhere else than below a folder, once all links are followed, the folder's own too."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _but(paths: Sequence[str | os.PathLike[str]], root: Path) -> str:
    """What an error says of links that would have been something."""
    links = sum(_leads_out(path, root) for path in paths)
    return f" but {links} links out of {root}, which are not followed: put copies in their place" if links else ""


def _hidden(name: str) -> bool:
    return name.startswith(".")
