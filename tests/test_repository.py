"""The repository as a whole: dependencies, the direction of imports, the size of files."""

import ast
import itertools
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "sdnet").rglob("*.py"))

# Every room may import itself and the rooms above it. Only the command line imports the experiments.
ORDER = [
    ["names", "parameters"],
    ["runtime"],
    ["csc"],
    ["models"],
    ["data"],
    ["training"],
    ["robust", "decoding"],
    ["results"],
    ["report", "notebook"],
    ["experiments"],
    ["cli"],
    ["__main__"],
]
# The same within the mathematics, a line of the paper's Sec. 3 after the other.
CSC = [
    ["prox", "dictionary", "projection"],
    ["lipschitz", "lasso"],
    ["atoms", "lam", "solvers"],
    ["gradients"],
    ["arguments"],
    ["layers"],
    ["convert", "theory", "export", "network"],
    ["pursuit", "coherence", "layered"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
CSC_LEVEL = {name: level for level, names in enumerate(CSC) for name in names}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    found: set[str] = set()
    known = {module_name(source) for source in SOURCES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return {name for name in found if name in known and name != "sdnet"}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_run_one_way(path: Path) -> None:
    name = module_name(path)
    if name == "sdnet":
        return
    part = name.split(".")[1]
    for imported in imported_modules(path):
        other = imported.split(".")[1]
        assert part == other or LEVEL[other] < LEVEL[part], f"{name} imports {imported}, which stands below it"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parent.name == "csc"], ids=module_name)
def test_the_mathematics_builds_up_line_by_line(path: Path) -> None:
    for imported in imported_modules(path):
        if imported.startswith("sdnet.csc."):
            assert CSC_LEVEL[imported.split(".")[2]] < CSC_LEVEL[path.stem], f"{path.stem} imports {imported}"


SHOWS = re.compile(r"(^|_)(figures?|tables?|table\d|scorecard|curves)$")


def test_what_only_shows_imports_no_network() -> None:
    """The look of the book, verdicts, and the tables and figures of every page read cells of the ledger."""
    shows = [one for one in SOURCES if {"report", "claims"} & set(one.parts) or SHOWS.search(one.stem)]
    assert len(shows) > 25
    for path in shows:
        rooms = {name.split(".")[1] for name in imported_modules(path) - {"sdnet.models"}}  # whose registry has labels
        assert not rooms & {"csc", "models", "robust", "decoding"}, f"{path} imports a network"


def test_every_page_of_experiments_has_its_notebook() -> None:
    """The folders of ``sdnet/experiments`` say which notebook they serve, and that notebook imports them."""
    for init in sorted((ROOT / "sdnet" / "experiments").glob("*/__init__.py")):
        said = ast.get_docstring(ast.parse(init.read_text())) or ""
        numbers = re.findall(r"\b\d\d\b", said.partition(":")[0]) or ["index"]
        pages = [page for number in numbers for page in (ROOT / "book").glob(f"{number}*.ipynb")]
        assert len(pages) == len(numbers), f"{init.parent.name} names a notebook that does not exist"


def test_imports_have_no_cycle() -> None:
    graph = {module_name(path): imported_modules(path) for path in SOURCES}
    done: set[str] = set()
    while open_modules := set(graph) - done:
        ready = {name for name in open_modules if graph[name] <= done}
        assert ready, f"a cycle among {sorted(open_modules)}"
        done |= ready


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            assert length <= 50, f"{node.name} has {length} lines"


def test_environment_and_pyproject_name_the_same_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = [*project["dependencies"], *project["optional-dependencies"]["book"]]
    declared = {str(Requirement(line)) for line in own if Requirement(line).name != project["name"]}
    tests = {str(Requirement(line)) for line in project["optional-dependencies"]["test"]}
    declared.add(str(Requirement(f"python{project['requires-python']}")))
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    lines = {str(Requirement(line)) for line in [*conda, *pip["pip"]] if line != "pip" and not line.startswith("--")}
    assert declared <= lines <= declared | tests
    assert "--editable .[test]" in pip["pip"]


def test_the_exact_versions_are_those_that_pyproject_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [Requirement(line) for line in (ROOT / "data" / "environment.txt").read_text().splitlines()[1:]]
    exact = {canonicalize_name(line.name): str(line.specifier).removeprefix("==") for line in lines}
    for line in [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]:
        wanted = Requirement(line)
        if wanted.name != project["name"]:
            assert wanted.specifier.contains(exact[canonicalize_name(wanted.name)]), line


def in_a_new_process(code: str) -> str:
    """What ``code`` prints."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(
        command, env=environment, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout


def test_the_library_needs_its_five_dependencies_only() -> None:
    assert in_a_new_process(
        """
        import importlib, pkgutil, sys

        for name in ("pandas", "seaborn", "skimage", "sklearn", "scipy", "click", "matplotlib", "yaml",
                     "papermill", "IPython", "nbclient", "nbformat"):
            sys.modules[name] = None
        import sdnet, sdnet.results.networks, sdnet.runtime
        for folder in ("csc", "models", "training", "robust"):
            package = importlib.import_module(f"sdnet.{folder}")
            for module in pkgutil.iter_modules(package.__path__, f"sdnet.{folder}."):
                importlib.import_module(module.name)
        import torch
        from sdnet.data import datasets
        from sdnet.robust.algorithm1 import Point, fit_line
        from sdnet.robust.denoisers import median
        line = fit_line([Point("shot_noise", 60.0, r, r * r, lam) for r, lam in ((1.0, 0.1), (2.0, 0.4))])
        try:
            median(torch.zeros(1, 3, 4, 4), 2.0)
        except ValueError as error:
            print(error)
        print("all there", all(hasattr(sdnet, name) for name in sdnet.__all__), round(line.slope, 6))
        """
    ).splitlines() == [
        "this filter needs scipy.ndimage; get it with: pip install 'sdnet[book]'.",
        "all there True 0.3",
    ]


def test_importing_the_library_changes_nothing_in_the_process() -> None:
    assert in_a_new_process(
        """
        import os, random
        import numpy, torch
        def state():
            random_states = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
            return dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(), random_states
        before = state()
        import sdnet
        sdnet.CSCConv2d, sdnet.convert, sdnet.to_onnx
        print(state() == before)
        """
    ).startswith("True")


def test_the_command_line_sets_how_long_threads_spin_before_torch_is_loaded() -> None:
    assert in_a_new_process(
        """
        import os, sys
        class Watch:
            def find_spec(self, name, path=None, target=None):
                if name == "torch":
                    print("torch with", os.environ.get("GOMP_SPINCOUNT"))
        sys.meta_path.insert(0, Watch())
        sys.argv = ["sdnet", "train", "--version-that-is-not-there"]
        import runpy
        try:
            runpy.run_module("sdnet", run_name="__main__")
        except SystemExit:
            pass
        """
    ).startswith("torch with 20000")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("click", "The command line needs click; install it with pip install 'sdnet[book]'."),
        ("pandas", "Error: `sweep` needs pandas; install it with pip install 'sdnet[book]'."),
    ],
)
def test_a_missing_extra_is_named_by_the_command_line(missing: str, message: str) -> None:
    code = f"""
        import runpy, sys
        sys.modules[{missing!r}] = None
        sys.argv = ["sdnet", "sweep", "network"]
        runpy.run_module("sdnet", run_name="__main__")
        """
    assert in_a_new_process(code).strip() == message


def test_a_command_loads_what_it_needs_and_no_more() -> None:
    """torchvision, matplotlib and pandas take longer to load than a training on digits to start."""
    code = """
        import sys
        from sdnet.cli import main
        assert main.get_command(None, "train").name == "train"
        heavy = ("torchvision", "torch._dynamo", "matplotlib", "pandas", "scipy.stats")
        print([name for name in heavy if name in sys.modules])
        """
    assert in_a_new_process(code).strip() == "[]"


def test_version_is_said_once_and_cited() -> None:
    import sdnet

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == sdnet.__version__ == citation["version"]
    assert sdnet.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_no_image_of_a_data_set_is_in_the_repository() -> None:
    images = [
        path
        for path in ROOT.rglob("*")
        if re.fullmatch(r"\.(jpe?g|png|bmp|webp)", path.suffix, re.IGNORECASE)
        and not any(part.startswith((".", "_build")) or part == "outputs" for part in path.relative_to(ROOT).parts[:-1])
    ]
    assert not images
