"""The notebooks as files: thin, complete, without errors; and the guard against misspelt parameters."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
import yaml

from sdnet.experiments.ablations import grid
from sdnet.experiments.deep_pursuit import study as deep_pursuit
from sdnet.experiments.mixed_scale import study as mixed_scale
from sdnet.notebook import LISTS, NAMES, NUMBERS, as_lists, assigned_names, check_injected, check_parameters
from sdnet.training.declaration import training

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_valid_and_thin(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef), "definitions belong in sdnet/"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_with_outputs_and_without_errors(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_name_no_machine(path: Path) -> None:
    text = path.read_text()
    assert "/home/" not in text
    assert str(ROOT) not in text
    metadata = json.loads(text)["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert "papermill" not in metadata


NO_PROSE = re.compile(r"`[^`]*`|\$[^$]*\$|\([^()]*\)|\[[^\]]*\]")
SENTENCE_ENDS = re.compile(
    r"(?<!\b[A-Z])(?<!\*\*\d)(?<!e\.g)(?<!i\.e)(?<!Sec)(?<!Eq)(?<!Fig)(?<! al)(?<! vs)(?<! cf)[.!?][)*_\"]* (?=[A-Z])"
)


def crowded(text: str) -> list[str]:
    """The lines of Markdown, outside code, tables and headings, on which a second sentence begins."""
    lines = re.sub(r"(?ms)^ *```.*?^ *```", "", text).splitlines()
    return [
        line
        for line in lines
        if not line.lstrip().startswith(("|", "#", ">", "<")) and SENTENCE_ENDS.search(NO_PROSE.sub("x", line))
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_sentence_has_a_line_of_its_own(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in crowded(cell.source)]
    assert not lines, f"one sentence per line, so that a change shows what changed: {lines}"


def test_a_second_sentence_on_a_line_is_found() -> None:
    assert crowded("One, e.g. Two.\nThree (four. Five).") == []
    assert crowded("# A. Title\n| a. B |\n```\na. B\n```\nOne `x`. Two.") == ["One `x`. Two."]


def prose() -> list[str]:
    """What a reader reads: the text of every page, the README and the guide for contributors."""
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells]
    written = [*(ROOT / "book").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return [*(cell.source for cell in cells if cell.cell_type == "markdown"), *(path.read_text() for path in written)]


def test_what_an_example_imports_exists() -> None:
    blocks = [block for text in prose() for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    assert len(blocks) >= 3
    imports = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    for module, name in {(node.module, alias.name) for node in imports for alias in node.names}:
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")


def test_every_file_of_the_package_that_a_text_names_exists() -> None:
    named = {name for text in prose() for name in re.findall(r"`((?:sdnet|data|tests)/[\w/.-]+)`", text)}
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_page_of_the_contents_exists_and_every_notebook_is_a_page() -> None:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = [contents["root"], *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"])]
    for page in pages:
        assert list((ROOT / "book").glob(f"{page}.*")), page
    assert {path.stem for path in NOTEBOOKS} <= set(pages)


def test_the_configuration_has_the_keys_the_book_relies_on() -> None:
    """Jupyter Book accepts misspelt keys in silence."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["only_build_toc_files"] is True
    assert config["execute"]["execute_notebooks"] == "off"
    sphinx = config["sphinx"]["config"]
    assert (ROOT / "book" / sphinx["html_static_path"][0] / sphinx["mathjax_path"]).is_file()
    assert sphinx["nb_ipywidgets_js"] == {}
    assert sphinx["nb_merge_streams"] is True
    for sheet in sphinx["html_css_files"]:
        assert (ROOT / "book" / sphinx["html_static_path"][0] / sheet).is_file()
    assert "sdnet.report.edition" in config["sphinx"]["extra_extensions"]
    for name in config["bibtex_bibfiles"]:
        assert (ROOT / "book" / name).is_file()


@pytest.mark.parametrize("name", ["01_theory", "02_csc_layer"])
def test_theory_ends_with_exercises_whose_folded_solutions_ran(name: str) -> None:
    cells = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4).cells
    (start,) = [index for index, cell in enumerate(cells) if cell.source.startswith("## Exercises")]
    exercises = [cell for cell in cells[start:] if re.search(r"^\*\*\d\. ", cell.source, re.MULTILINE)]
    assert len(exercises) == 3
    for number, exercise in enumerate(exercises, start=1):
        assert f"**{number}. " in exercise.source
        assert ":::{dropdown} Solution" in exercise.source
        solution = cells[cells.index(exercise) + 1]
        assert "hide-cell" in solution.metadata["tags"]
        assert solution.outputs


def test_every_notebook_begins_its_page_under_its_own_name() -> None:
    """Numbers of figures carry the number of the file, and origins name it."""
    for path in NOTEBOOKS:
        sources = [cell.source for cell in code_cells(path)]
        begun = re.findall(r"plots\.style\((.*?)\)", "".join(sources))
        assert begun in ([f'"{path.stem}"'], [""] if path.stem == "index" else [], []), path.stem
        assert begun or path.stem == "cite"


def test_no_notebook_speaks_of_resting_a_pointer() -> None:
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert "the pointer" not in cell.source.replace("\n", " "), path.stem


def test_printing_without_a_browser_says_in_one_sentence_what_to_do() -> None:
    command = ["make", "--old-file=.venv/.ready", "pdf", "BROWSER="]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "none is on the PATH (chromium" in done.stdout
    assert "make pdf BROWSER=/path/to/chrome" in done.stdout


def test_assigned_names() -> None:
    assert assigned_names("import os\na = 1\nb: int = 2\nprint(a)\n") == ["a", "b"]


def test_the_guard_refuses_what_the_notebook_does_not_have() -> None:
    declared = 'arch = "sdnet18"\nseed = 0'
    check_injected(["", "import os", declared])
    check_injected(["", declared, '# Parameters\narch = "resnet18"'])
    with pytest.raises(ValueError, match=r"parameter 'sed' does not exist. Did you mean 'seed'. Available: arch, seed"):
        check_injected(["", declared, "# Parameters\nsed = 1"])


def test_cells_may_be_run_again_by_hand() -> None:
    """In IPython's history the injected cell then follows itself, or any other, some of which are not Python."""
    declared, injected = 'arch = "sdnet18"\nseed = 0', "# Parameters\nseed = 1"
    check_injected(["", declared, injected, injected])
    check_injected(["", declared, "%matplotlib inline", injected, "print(arch)", injected])
    with pytest.raises(ValueError, match="parameter 'sed' does not exist"):
        check_injected(["", declared, injected, "# Parameters\nsed = 1"])


def papermill(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(ROOT / "book" / "04_train_cifar.ipynb")]
    environment = {**os.environ, "SDNET_OUTPUT": str(cwd / "outputs"), "SDNET_LEDGER": str(cwd / "ledger")}
    return subprocess.run(
        [*command, str(cwd / "out.ipynb"), *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_papermill_refuses_a_misspelt_parameter(tmp_path: Path) -> None:
    done = papermill("-p", "archh", "sdnet34", cwd=tmp_path)
    assert done.returncode == 1
    assert "parameter 'archh' does not exist. Did you mean 'arch'?" in done.stderr


def test_papermill_refuses_an_unknown_architecture(tmp_path: Path) -> None:
    done = papermill("-p", "arch", "sdnet81", cwd=tmp_path)
    assert done.returncode == 1
    assert "arch 'sdnet81' does not exist. Did you mean 'sdnet18'?" in done.stderr


def test_the_notebooks_default_is_the_paper() -> None:
    """Without the environment of the test run, notebook 04 trains SDNet-18 on CIFAR-10 with the paper's recipe."""
    (cell,) = [
        cell
        for cell in code_cells(ROOT / "book" / "04_train_cifar.ipynb")
        if "parameters" in cell.metadata.get("tags", [])
    ]
    environment = {name: os.environ.pop(name) for name in ("SDNET_PRESET", "SDNET_DATASET") if name in os.environ}
    try:
        values: dict[str, object] = {}
        exec(cell.source, values)
    finally:
        os.environ.update(environment)
    assert (values["arch"], values["dataset"], values["preset"]) == ("sdnet18", None, "paper")
    assert training("sdnet18", None, "paper").dataset == "cifar10"
    assert training("sdnet18", None, "smoke").dataset == "digits"  # which is bundled


@pytest.mark.slow
def test_papermill_trains_digits_to_95_percent(tmp_path: Path) -> None:
    done = papermill("-p", "arch", "sdnet18", "-p", "dataset", "digits", "-p", "preset", "smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "ledger").glob("*.json")
    top1 = json.loads(record.read_text())["results"][0]
    assert top1["metric"] == "top1"
    assert top1["value"] >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["scn", "scn18", "mdeq"])
def test_papermill_trains_every_rival(arch: str, tmp_path: Path) -> None:
    size = {"dataset": "digits", "preset": "smoke", "epochs": "1", "width": "4", "iterations": "3"}
    done = papermill(
        "-p", "arch", arch, *(word for name, value in size.items() for word in ("-p", name, value)), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "ledger").glob("*.json")
    assert json.loads(record.read_text())["config"]["arch"] == arch


def parameters_of(path: Path) -> dict[str, object]:
    """The parameters of a notebook whose values are written as literals."""
    (source,) = [c.source for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])] or [""]
    found: dict[str, object] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant | ast.List):
            found[ast.unparse(statement.targets[0])] = ast.literal_eval(statement.value)
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_list_among_parameters_may_be_text(path: Path) -> None:
    """Papermill's -p knows no lists."""
    for name, value in parameters_of(path).items():
        if isinstance(value, list):
            assert as_lists({name: value}) == {name: value}
            assert as_lists({name: ", ".join(map(str, value))}) == {name: value}
            assert as_lists({name: str(value)}) == {name: value}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_the_lists_among_its_parameters(path: Path) -> None:
    sources = [cell.source for cell in code_cells(path)]
    named = re.findall(r"^notebook\.check_parameters\((.*)\)$", "\n".join(sources), re.MULTILINE)
    declared = set(assigned_names(sources[0]))
    for names in (set(re.findall(r'"(\w+)"', text)) for text in named):
        assert names - set(NUMBERS) == {*LISTS, *NAMES} & declared
        assert names <= declared


def test_a_variable_by_the_name_of_a_list_is_no_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page 03 calls a dictionary so, and a cell that is run again by hand finds what later cells left."""
    variables = {"In": [], "seeds": "0, 1", "depths": 3, "networks": {"SDNet-18": None}, "groups": None}
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns=variables))
    before = dict(variables)
    check_parameters()
    assert variables == before
    check_parameters("seeds", "groups")
    assert variables == {**before, "seeds": [0, 1]}


def test_a_list_of_something_else_is_refused() -> None:
    assert as_lists({"networks": ["a", "b"], "seeds": 3, "groups": "iterations", "depths": None, "arch": "x"}) == {
        "networks": "a,b",
        "seeds": [3],
        "groups": ["iterations"],
    }
    with pytest.raises(ValueError, match="seeds must be an integer >= 0, at most 4,294,967,295; got 'x'"):
        as_lists({"seeds": "0, x"})
    with pytest.raises(ValueError, match="groups must hold at least one; got ' '"):
        as_lists({"groups": " "})


@pytest.mark.parametrize("page", ["01_theory", "03_architectures"])
def test_a_page_that_computes_by_itself_reads_its_numbers(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem == page)
    sources = "\n".join(cell.source for cell in code_cells(path))
    names = re.findall(r'"(\w+)"', re.findall(r"^notebook\.check_parameters\((.*)\)$", sources, re.MULTILINE)[0])
    numbers = parameters_of(path)
    variables: dict[str, object] = {}
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns=variables))
    for name in numbers:
        variables |= {"In": [], **numbers, name: "nonsense"}
        with pytest.raises(ValueError, match=f"^{name} must be .*; got 'nonsense'"):
            check_parameters(*names)
    variables |= {**numbers, "size": "1e2"}
    check_parameters(*names)
    assert variables == {"In": [], **numbers, "size": 100}


@pytest.mark.parametrize("study", [grid, deep_pursuit, mixed_scale], ids=["08", "11", "12"])
def test_a_group_that_does_not_exist_is_named(study: ModuleType) -> None:
    first = next(iter(study.GRID))
    with pytest.raises(ValueError, match=f"group '{first}s' does not exist. Did you mean '{first}'"):
        study.GRID[f"{first}s"]
