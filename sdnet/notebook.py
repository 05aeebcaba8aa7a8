"""What the notebooks need beside the library: a guard against misspelt papermill parameters, and fresh outputs."""

import ast
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from sdnet.names import unknown_name

INJECTED = "# Parameters"
"""The first line of the cell that papermill inserts after the one tagged ``parameters``."""


def check_parameters() -> None:
    """Raise if papermill was given a parameter that the notebook does not have.

    Papermill itself only warns and runs for hours with the default. Call this in the cell after the
    parameters. Outside papermill it does nothing.

    Raises:
        ValueError: naming the unknown parameter and the ones that exist.
    """
    from IPython import get_ipython  # only notebooks have it running

    shell = get_ipython()
    history: list[str] = shell.user_ns["In"] if shell else []
    check_injected(history)


def check_injected(cells: list[str]) -> None:
    """The check behind :func:`check_parameters`, on the sources of the cells executed so far."""
    injected = [index for index, source in enumerate(cells) if source.startswith(INJECTED)]
    if not injected:
        return
    last = injected[-1]
    declared = assigned_names(cells[last - 1])
    for name in assigned_names(cells[last]):
        if name not in declared:
            raise ValueError(unknown_name("parameter", name, declared))


def assigned_names(source: str) -> list[str]:
    """The names that a cell assigns at its top level, in order."""
    statements = ast.parse(source).body
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
