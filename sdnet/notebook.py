"""What the notebooks need beside the library: a guard against misspelt papermill parameters, and fresh outputs."""

import ast
from collections.abc import Mapping
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any

import nbformat
from nbclient import NotebookClient

from sdnet.names import unknown_name
from sdnet.parameters import MANY, Amount, Count, Range, Seed, read

INJECTED = "# Parameters"
"""The first line of the cell that papermill inserts after the one tagged ``parameters``."""


LISTS: dict[str, Any] = {"groups": str, "seeds": Seed, "lams": Amount, "depths": str}
"""Parameter that is a list → what it lists."""
NAMES = ("networks",)
"""Parameters that are names separated by commas."""
NUMBERS: dict[str, Any] = {
    "size": Annotated[int, Range(2, 10_000)],  # one pixel has no standard deviation
    "atoms": Count,
    "lam": Amount,
    "iterations": Annotated[int, Range(100, MANY)],  # page 01 shows the hundredth
    "seed": Seed,
    "width": Count,
    "num_classes": Count,
}
"""Parameter of a page that computes by itself, with no training or measurement that would check it → what it may be."""


def check_parameters(*names: str) -> None:
    """Check a notebook's parameters, however they were given, in the cell after them.

    Papermill itself only warns of a parameter that the notebook does not have, and runs for hours with the default.
    A list may be text with commas, which is all that papermill's ``-p`` can say, and is a list from here on; a number
    may have any spelling.

    Args:
        names: those of the notebook's parameters that are :data:`LISTS` or :data:`NAMES`, and :data:`NUMBERS` where
            nothing else checks them. No other variable is looked at.

    Raises:
        ValueError: naming the unknown parameter and the ones that exist, or one that is something else.
    """
    from IPython import get_ipython  # only notebooks have it running

    shell = get_ipython()
    history: list[str] = shell.user_ns["In"] if shell else []
    check_injected(history)
    if shell:
        given = {name: shell.user_ns.get(name) for name in names}
        numbers = {name: read(name, given[name], NUMBERS[name]) for name in names if name in NUMBERS}
        shell.user_ns.update(as_lists(given) | numbers)


def as_lists(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the parameters that are :data:`LISTS` as lists, and :data:`NAMES` as text; without what is None.

    Raises:
        ValueError: naming a list that holds something else, or nothing.
    """
    found: dict[str, Any] = {}
    for name in (*LISTS, *NAMES):
        if given.get(name) is None:
            continue
        values = read(name, given[name], GenericAlias(tuple, (LISTS.get(name, str), ...)))
        if not values:
            raise ValueError(f"{name} must hold at least one; got {given[name]!r}.")
        found[name] = ",".join(values) if name in NAMES else list(values)
    return found


def check_injected(cells: list[str]) -> None:
    """The check behind :func:`check_parameters`, on the sources of the cells executed so far."""
    injected = [source for source in cells if source.startswith(INJECTED)]
    if not injected:
        return
    # A reader may run cells again, in any order, and others between them: any of them may declare a parameter.
    declared = {name: None for source in cells if source not in injected for name in assigned_names(source)}
    for name in assigned_names(injected[-1]):
        if name not in declared:
            raise ValueError(unknown_name("parameter", name, declared))


def assigned_names(source: str) -> list[str]:
    """The names that a cell assigns at its top level, in order; of one that is not Python alone, none."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # such as IPython's %magic
        return []
    targets = [
        target
        for statement in statements
        for target in (statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)])
    ]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def renew(path: Path) -> None:
    """Execute a notebook in its own folder and store its outputs in it, without times or other traces of the run.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails; the file stays as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=None, record_timing=False, resources=resources).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)
