"""The cards of the networks in the repository: what each is, how accurate, and the checksum of its file.

They stand in ``data/networks/cards.json``, made from the ledger by :mod:`sdnet.experiments.accuracy.cards`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdnet.results.ledger import repository_data
from sdnet.training.checkpoint import whole


@dataclass(frozen=True)
class Card:
    """What is known of a stored network.

    Attributes:
        sha256: of its file.
        stored: ``"float32"``, or ``"float16"`` if its convolutions are rounded to half precision. Accuracies are of
            the network as it was trained.
        training: its declaration (:attr:`sdnet.training.declaration.Training.config`).
        command: trains it again.
        top1: accuracy on the test split, ``images`` of them.
        noise: noise → accuracy over its five severities at the strength of training, and ``images``; empty if it was
            never swept.
        row: the ledger row of the training.
        commit: of the code that trained it.
        licence: of the images that it was trained on.
    """

    sha256: str
    stored: str
    training: dict[str, Any]
    command: str
    top1: float
    images: int
    noise: dict[str, dict[str, float]]
    row: str
    commit: str | None
    licence: str

    def check(self, path: Path) -> None:
        """Raise ValueError unless there is a file at ``path`` with the card's checksum."""
        if not path.is_file():
            raise ValueError(f"the file {path} is gone, though cards.json has its card; restore it with git.")
        if checksum(path) != self.sha256:
            raise ValueError(
                f"{path} is not the file that its card in cards.json describes (other SHA-256); restore it with git."
            )


def folder() -> Path:
    """Where the repository's networks and their cards lie."""
    return repository_data() / "networks"


def read() -> dict[str, Card]:
    """Name → card of every network in the repository.

    Raises:
        ValueError: if the file of the cards is missing or something else.
    """
    path = folder() / "cards.json"
    try:
        return {name: Card(**fields) for name, fields in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold the cards of the networks ({error}); restore it with git.") from error


def write(cards: dict[str, Card]) -> Path:
    """Write the cards of all networks, at once or not at all."""
    path = folder() / "cards.json"
    fields = {name: asdict(card) for name, card in sorted(cards.items())}
    with whole(path) as part:
        part.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
    return path


def checksum(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
