"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdnet.results import ledger
from sdnet.results.cells import to_frame
from sdnet.results.ledger import Record

ROOT = Path(__file__).resolve().parent.parent
RECIPES: dict[str, dict[str, str]] = {
    "rival": {
        "sdnet/models/colours.py": """
            '''A network that looks at an image's mean colour alone.'''

            from torch import Tensor, nn

            from sdnet.models.classifier import Classifier


            class Colours(Classifier):
                def __init__(self, num_classes: int, *, width: int) -> None:
                    super().__init__()
                    self.head = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, num_classes))

                def forward(self, images: Tensor) -> Tensor:
                    scores: Tensor = self.head(self.normalize(images).mean((2, 3)))
                    return scores
            """,
        "sdnet/models/__init__.py": """
            from sdnet.models.colours import Colours

            ARCHITECTURES["colours"] = Architecture("Colours", body=Colours)
            """,
    },
    "corruption": {
        "sdnet/data/corruptions.py": """
            def _dusk(pixels: Tensor, level: float, generator: torch.Generator) -> Tensor:
                return pixels * (1 - level)


            NOISES["dusk"] = _dusk
            SEVERITIES["cifar"]["dusk"] = SEVERITIES["imagenet"]["dusk"] = (0.1, 0.2, 0.3, 0.4, 0.5)
            """,
    },
    "attack": {
        "sdnet/robust/attacks.py": """
            def _darker(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, seed: int) -> Tensor:
                return (images - attack.epsilon).clamp(0, 1)


            ATTACKS["darker"] = _darker
            """,
    },
    "knob": {
        "sdnet/robust/knobs.py": """
            class Brightness(Knob):
                '''What is added to the pixels.'''

                name = "brightness"

                def __init__(self, model: nn.Module) -> None:
                    self.model = in_eval(model)

                def scores(self, images: Tensor, strengths: Tensor) -> Tensor:
                    return torch.stack([self.model((images + strength).clamp(0, 1)) for strength in strengths])
            """,
        "sdnet/experiments/corruptions/sweep.py": """
            from sdnet.robust.knobs import Brightness

            BUILDERS["brightness"] = Brightness
            KNOBS["brightness"] = (0.0, 0.3)
            """,
    },
    "claim": {
        "data/paper/claims.csv": """
            C99,The mean colour tells as much as SDNet,nowhere,more accurate,less accurate,
            """,
        "sdnet/experiments/claims/rules.py": """
            RULES["C99"] = Rule("train", CIFAR10, beside("colours", "sdnet18", 0.0))
            """,
    },
}
"""Recipe → file → what is added to it."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of package and paper in which every recipe was followed."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in ("sdnet", "data/paper"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in RECIPES.values():
        for name, text in recipe.items():
            file = copy / name
            before = file.read_text() if file.exists() else ""
            lines = text.strip("\n").splitlines()
            indent = len(lines[0]) - len(lines[0].lstrip())
            glue = "" if file.suffix == ".csv" else "\n\n"
            added = "\n".join(line[indent:] for line in lines).strip() + "\n"
            file.write_text(before + glue + added if before else added)
    yield copy
    shutil.rmtree(copy)


COMMANDS = """
from pathlib import Path

import pandas as pd

from sdnet.cli import main
from sdnet.experiments.claims.verdicts import judge, show_verdicts
from sdnet.results.cells import CELL_COLUMNS, to_frame


def run(words):
    main.main(words.split(), standalone_mode=False)


run("train --arch colours --dataset digits --preset smoke --epochs 1 --width 4")
(network,) = Path("outputs").rglob("network.safetensors")
run(f"sweep {network} --preset smoke --images 20 --corruption dusk --knob brightness")
run(f"attack {network} --preset smoke --images 10 --attack darker --norm linf --protocol oblivious --no-sanity")

base = {"experiment": "train", "dataset": "cifar10", "preset": "quick", "width": 16, "epochs": 15, "n": 10_000,
        "variant": "", "precision": "bf16", "metric": "top1", "split": "test", "started": "a"}
rows = [{**base, "arch": arch, "seed": seed, "value": value + seed / 1000}
        for seed in range(4) for arch, value in (("colours", 0.3), ("sdnet18", 0.8))]
cells = pd.DataFrame(rows)
verdicts = judge(cells.reindex(columns=list(dict.fromkeys([*CELL_COLUMNS, *cells.columns]))))
print(judge(to_frame([]))["C99"][0].verdict)
print(verdicts["C99"][0].verdict)
print("The mean colour tells as much as SDNet" in show_verdicts(verdicts, ("C99",)).data)
"""
"""Train the rival, sweep the knob, attack, judge the claim: in one process, which loads the package once."""


@pytest.fixture(scope="module")
def said(tree: Path) -> list[str]:
    """What the copy says, line by line; its rows lie in its folder ``ledger``."""
    folders = {"SDNET_LEDGER": str(tree / "ledger"), "SDNET_OUTPUT": "outputs", "PYTHONPATH": str(tree)}
    environment = {**os.environ, **folders, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMANDS]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def row(tree: Path, experiment: str) -> Record:
    (found,) = [row for row in ledger.read(tree / "ledger") if row.experiment == experiment]
    return found


def test_a_rival_is_trained(tree: Path, said: list[str]) -> None:
    assert any(re.fullmatch(r"Network: +outputs/\S+/network.safetensors", line) for line in said)
    record = row(tree, "train")
    assert record.config["arch"] == "colours"
    top1, parameters = record.results[0], record.results[1]
    assert (top1["n"], parameters["value"]) == (360, 4 * 4 + 5 * 10)


def test_a_corruption_and_a_knob_are_swept(tree: Path, said: list[str]) -> None:
    record = row(tree, "sweep")
    cells = to_frame([record])
    top1 = cells[cells["metric"] == "top1"]
    assert record.config["knob"] == "brightness"
    assert set(zip(top1["corruption"], top1["severity"], top1["strength"], strict=True)) == {
        ("clean" if severity == 0 else "dusk", severity, strength) for severity in range(6) for strength in (0.0, 0.3)
    }


def test_an_attack_attacks(tree: Path, said: list[str]) -> None:
    assert {cell["attack"] for cell in row(tree, "attack").results if "attack" in cell} == {"darker"}


def test_a_claim_has_its_verdict(said: list[str]) -> None:
    assert said[-3:] == ["not run", "does not hold", "True"]


def test_every_file_and_name_of_the_recipes_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    recipes = text.partition("## Four recipes")[2].partition("## Habits")[0]
    quoted = re.findall(r"`([^`]+)`", recipes)
    files = [name for name in quoted if re.fullmatch(r"[\w/]+\.(py|csv)", name) and "/" in name]
    sources = "\n".join(path.read_text() for path in (ROOT / "sdnet").rglob("*.py"))
    assert len(files) > 5
    assert all((ROOT / name).is_file() for name in files)
    assert all(re.search(rf"^{name}\b", sources, re.MULTILINE) for name in quoted if re.fullmatch(r"[A-Z]+", name))
    followed = {name for recipe in RECIPES.values() for name in recipe if not name.endswith("colours.py")}
    assert all(name in files or Path(name).name in quoted for name in followed)
