"""Whether the code that made a row has changed since.

A row is stale if one of the modules that compute its numbers (:data:`MODULES`) differs between the row's commit and the
files here, comments, docstrings and layout aside. Configuration needs no rule: a row that was told something else
answers another run.
"""

import ast
import subprocess
from functools import lru_cache
from pathlib import Path

import sdnet
from sdnet.results.ledger import Record

LAYER = ("prox", "dictionary", "projection", "lipschitz", "lasso", "solvers", "gradients", "layers")
NETWORKS = (
    *(f"sdnet/csc/{name}.py" for name in LAYER),
    *(f"sdnet/models/{name}.py" for name in ("classifier", "resnet")),
)
KNOBS = tuple(f"sdnet/robust/{name}.py" for name in ("knobs", "sweep"))
NOISE = ("sdnet/data/batches.py", "sdnet/data/corruptions.py", "sdnet/experiments/corruptions/sweep.py")
POLICIES = tuple(f"sdnet/robust/{name}.py" for name in ("algorithm1", "policies"))
MODULES = {
    "train": ("sdnet/data/batches.py", *(f"sdnet/training/{name}.py" for name in ("loop", "recipes"))),
    "sweep": (*KNOBS, *NOISE),
    "policies": (*KNOBS, *NOISE, *POLICIES, "sdnet/experiments/corruptions/policies.py"),
    "attack": (
        *(*KNOBS, *POLICIES, "sdnet/robust/attacks.py", "sdnet/robust/smoothed.py"),
        *(f"sdnet/experiments/attacks/{name}.py" for name in ("protocols", "robust_accuracy", "sanity")),
    ),
    "visual": (
        *(f"sdnet/decoding/{name}.py" for name in ("decode", "inversion", "likeness")),
        "sdnet/experiments/visualisation/reconstruction.py",
    ),
    "pursuit": (
        *("sdnet/robust/attacks.py", "sdnet/experiments/attacks/protocols.py"),
        *("sdnet/csc/coherence.py", "sdnet/csc/theory.py", "sdnet/experiments/deep_pursuit/measure.py"),
    ),
    "guarantee": ("sdnet/csc/theory.py", "sdnet/experiments/layer/guarantee.py"),
    "fourier": (*KNOBS, "sdnet/experiments/what_is_lambda/fourier.py"),
    "confidence": (*KNOBS, *NOISE, "sdnet/robust/thresholds.py", "sdnet/experiments/what_is_lambda/confidence.py"),
    "certify": (*KNOBS, "sdnet/experiments/what_is_lambda/certify.py"),
    "solvers": ("sdnet/experiments/what_is_lambda/solvers.py",),
    "benchmark": ("sdnet/experiments/benchmark.py", "sdnet/experiments/performance/speed.py"),
}
"""Experiment → modules that compute its numbers, beside :data:`NETWORKS`."""
HERE = Path(sdnet.__file__).resolve().parent.parent
PURSUITS = ("csc/network", "csc/pursuit", "models/pursuit")
RIVALS = {
    "mdeq": ("models/mdeq",),
    "scn": ("models/scn",),
    **dict.fromkeys(("ltp", "lbp", "dp"), PURSUITS),
    **dict.fromkeys(("ml_csc", "res_csc"), (*PURSUITS, "models/multilayer")),
    **dict.fromkeys(("msdnet", "msd_csc"), (*PURSUITS, "models/mixed_scale")),
}
"""Beginning of a network's name → modules of its own."""


def changed(row: Record) -> list[str] | None:
    """The modules behind a row that have changed since; None if git cannot say."""
    commit = row.code.get("commit")
    arch = str(row.config.get("arch"))
    own = [f"sdnet/{name}.py" for start, names in RIVALS.items() if arch.startswith(start) for name in names]
    modules = [*NETWORKS, *MODULES.get(row.experiment, ()), *own]
    return changed_since(commit, tuple(modules), HERE) if commit else None


@lru_cache
def changed_since(commit: str, modules: tuple[str, ...], here: Path) -> list[str] | None:
    """Which of some modules differ from a commit in more than comments and docstrings; None if git cannot say."""
    touched = _git(here, "diff", "--name-only", commit, "--", *modules)
    if touched is None:
        return None
    before = {path: _code(_git(here, "show", f"{commit}:{path}")) for path in touched.splitlines()}
    return [path for path, code in before.items() if code != _code_of(here / path)]


def _code_of(path: Path) -> str | None:
    return _code(path.read_text()) if path.is_file() else None


def _code(text: str | None) -> str | None:
    """What a module does, as text: its syntax tree without docstrings. None if there is no module."""
    if text is None:
        return None
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _git(folder: Path, *command: str) -> str | None:
    try:
        answer = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout
