"""The repository as a whole: dependencies, the direction of imports, the size of files."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "sdnet").rglob("*.py"))

# Every room may import itself and the rooms above it. Only the command line imports the experiments.
ORDER = [
    ["threads", "names", "parameters"],
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
    ["solvers", "atoms"],
    ["gradients"],
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


def test_what_only_shows_imports_no_network() -> None:
    for path in (source for source in SOURCES if {"report", "claims"} & set(source.parts)):
        rooms = {imported.split(".")[1] for imported in imported_modules(path)}
        assert not rooms & {"csc", "models", "data", "robust", "decoding"}, f"{path} imports a network"


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
    declared = {str(Requirement(line)) for line in project["dependencies"]}
    declared.add(str(Requirement(f"python{project['requires-python']}")))
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    lines = [line for line in [*conda, *pip["pip"]] if line != "pip" and not line.startswith("--")]
    assert {str(Requirement(line)) for line in lines} == declared
    assert "--editable .[test]" in pip["pip"]


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
