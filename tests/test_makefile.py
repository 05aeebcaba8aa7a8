"""Every target works in a folder whose name has a space."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from ranks import fake

ROOT = Path(__file__).resolve().parent.parent
TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the Makefile and of a page in "spa ce", and a browser that lies in a folder of that kind too."""
    folder = tmp_path / "spa ce"
    (folder / "book").mkdir(parents=True)
    (folder / ".ci").mkdir()
    for name in ("Makefile", "pyproject.toml", ".ci/run"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "book" / "01_theory.ipynb").touch()
    fake(folder / "bin", "chromium", "exit 0")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize("target", [*TARGETS, "nbval-01_theory", "execute-01_theory"])
def test_no_path_falls_apart(folder: Path, target: str) -> None:
    command = ["make", "--dry-run", "--always-make", "--old-file=.venv/.ready", target]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.replace("\\\n", " ")
    for line in said.splitlines():
        words = shlex.split(line)
        assert not [word for word in words if re.search(r"spa$|^ce\b", word)], line
    assert target not in ("book", "pdf", "faults") or "spa ce/" in said  # what is looked for is there


def test_a_browser_is_found_whose_path_has_a_space(folder: Path) -> None:
    done = subprocess.run(["make", "-n", "-o", ".venv/.ready", "pdf"], cwd=folder, capture_output=True, text=True)
    assert f'"{folder}/bin/chromium" --headless' in done.stdout


def test_continuous_integration_runs_from_there(folder: Path) -> None:
    fake(folder / "bin", "make", 'echo "$1 in $PWD"')
    done = subprocess.run(["bash", folder / ".ci" / "run"], cwd="/", capture_output=True, text=True)
    assert done.stdout == f"test in {folder}\nbook in {folder}\n", done.stderr
