"""The ledger: one JSON file per run, written once and never edited.

A record names everything a number depends on: configuration and its hash, data hash, seed, commit and
whether the tree was clean, library versions, device, wall time. Its results are un-averaged cells.
"""

import json
import os
import platform
import re
import subprocess
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Any
from uuid import uuid4

import torch

import sdnet
from sdnet.names import config_hash, sha256_of

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        experiment: what kind of run: ``"train"``, ...
        config: everything that was asked for, the seed included.
        data_hash: of :class:`sdnet.data.datasets.Dataset`; None if no data took part.
        device: from :func:`describe_device`.
        seconds: wall time of the run.
        results: cells, each with at least ``metric``, ``value`` and ``n`` (how many items it was measured on).
        history: one row per epoch, where there are epochs.
        started, code, versions: when the run began, with what code and libraries (:func:`start`).
    """

    experiment: str
    config: dict[str, Any]
    data_hash: str | None
    device: dict[str, Any]
    seconds: float
    results: list[dict[str, Any]]
    history: list[dict[str, Any]] = field(default_factory=list)
    started: str = ""
    code: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @cached_property
    def config_hash(self) -> str:
        """Eight hexadecimal digits that identify the configuration, of a row as its file holds it."""
        return config_hash(self.config)

    @property
    def file_name(self) -> str:
        """Experiment, the configuration's leading names, its hash, and the time of the run."""
        names = [str(self.config[key]) for key in ("arch", "dataset", "preset") if key in self.config]
        time = self.started.replace("-", "").replace(":", "").removesuffix("+0000")
        return "-".join([self.experiment, *names, self.config_hash, f"{time}Z"]).replace("/", "_") + ".json"


@dataclass(frozen=True)
class Start:
    """The state of things when a run began: what is recorded is the code that ran, not the code at its end."""

    started: str
    code: dict[str, Any]
    versions: dict[str, str]
    clock: float

    def record(self, **fields: Any) -> Record:
        """The record of the run that ends now; ``fields`` are :class:`Record`'s, without those known from here."""
        seconds = round(time.monotonic() - self.clock, 1)
        return Record(started=self.started, code=self.code, versions=self.versions, seconds=seconds, **fields)


def start() -> Start:
    """Call it when a run begins."""
    libraries = ("torch", "torchvision", "numpy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in libraries}}
    return Start(datetime.now(UTC).isoformat(timespec="seconds"), code_state(), versions, time.monotonic())


def code_state() -> dict[str, Any]:
    """Version, commit, and whether files of the package differ from that commit (None outside a checkout)."""
    commit = _git("rev-parse", "HEAD")
    dirty = None if commit is None else bool(_git("status", "--porcelain", "--", "sdnet"))
    return {"version": sdnet.__version__, "commit": commit, "dirty": dirty}


def _git(*command: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *command], cwd=_package_parent(), capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _package_parent() -> Path:
    return Path(sdnet.__file__).resolve().parent.parent


def repository_data() -> Path:
    """The repository's ``data`` folder.

    Raises:
        ValueError: if the package is not used from a checkout of the repository.
    """
    folder = _package_parent() / "data"
    if not (folder / "paper").is_dir():
        raise ValueError(
            f"no ledger at {folder}: install sdnet from a clone with 'pip install -e .', or say SDNET_LEDGER."
        )
    return folder


def ledger_folder() -> Path:
    """Where records are written: ``$SDNET_LEDGER`` if set, else ``data/runs`` of the repository."""
    given = os.environ.get("SDNET_LEDGER")
    return Path(given).expanduser() if given else repository_data() / "runs"


def output_folder() -> Path:
    """Where networks and unfinished work go unless told otherwise: ``$SDNET_OUTPUT`` if set, else ``outputs`` here."""
    return Path(os.environ.get("SDNET_OUTPUT", "outputs")).expanduser()


def check_writable(folder: Path) -> None:
    """Raise ValueError unless files can be written to a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"cannot write to {folder} ({error.strerror}); choose another output folder.") from error


def write(record: Record, folder: Path) -> Path:
    """Write a record as a new file; an existing file is never touched.

    Where its name is taken, by a run of the same configuration that began in the same second, the name ends in
    ``-2``, ``-3``, ...: no row is lost, however many processes write at once.

    Raises:
        OSError: in one sentence, if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # As JSON holds them, which turns tuples into lists and keys into text.
    fields = json.loads(json.dumps({**asdict(record), "config_hash": record.config_hash}))
    text = json.dumps({**fields, "sha256": sha256_of(fields)}, indent=1) + "\n"
    path = folder / record.file_name
    part = folder / f"{path.stem}.{uuid4().hex}.part"
    try:
        part.write_text(text)
        for number in count(2):
            try:
                os.link(part, path)
            except FileExistsError:
                path = folder / f"{Path(record.file_name).stem}-{number}.json"
            else:
                break
    except OSError as error:
        raise OSError(f"cannot write {path} ({error.strerror}); make room, then start it again to resume.") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _order(path: Path) -> tuple[str, int]:
    """Sorts rows by name, and those that :func:`write` has numbered by their number: -10 is behind -9."""
    numbered = re.fullmatch(r"(.*Z)-(\d+)", path.stem)
    return (numbered[1], int(numbered[2])) if numbered else (path.stem, 1)


def read(*folders: Path) -> list[Record]:
    """All records of the given folders (by default ``data/runs`` of the repository), oldest first.

    Raises:
        ValueError: naming the file that is no record, or whose content does not match its checksum or its
            configuration's hash.
    """
    chosen = folders or (repository_data() / "runs",)
    paths = [path for folder in chosen for path in sorted(folder.glob("*.json"), key=_order)]
    return sorted(map(_read, paths), key=lambda record: record.started)


def rows_here() -> list[Record]:
    """All records of the ledger that runs are written to, and of the repository's, if that is another."""
    folders = (ledger_folder(), repository_data() / "runs")
    return read(*dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir()))


def _read(path: Path) -> Record:
    """One row, checked; see :func:`read`."""
    if not path.is_file():  # a pipe would keep its reader waiting
        raise ValueError(f"{path} is not a ledger record (not a file).")
    try:
        fields = json.loads(path.read_text())
        if not isinstance(fields, dict):
            raise TypeError(f"it holds a {type(fields).__name__}, not an object")
        if "sha256" not in fields:
            raise TypeError("it has no checksum; restore the file as written")
        checksum = fields.pop("sha256")
        actual = sha256_of(fields)
        digest = fields.pop("config_hash")
        record = Record(**fields)
        _check_types(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a ledger record ({error}).") from error
    if record.config_hash != digest:
        raise ValueError(f"{path} was edited: its configuration does not match its hash {digest}.")
    if checksum != actual:
        raise ValueError(f"{path} was edited: its content does not match its checksum; restore the file as written.")
    _name_knobs(record.config)
    return record


def _name_knobs(config: dict[str, Any]) -> None:
    """Name the knob of a row as it is called now: until November 2026 knobs had spaces in their names."""
    for where in (config, config.get("choices")):
        if isinstance(where, dict) and isinstance(where.get("knob"), str):
            where["knob"] = where["knob"].replace(" ", "_")


TYPES: dict[str, type | UnionType] = {
    **dict.fromkeys(("experiment", "started"), str),
    **dict.fromkeys(("config", "device", "code", "versions"), dict),
    **dict.fromkeys(("results", "history"), list),
    "data_hash": str | None,
    "seconds": int | float,
}
CELL = ("metric", "value", "n")
CELL_TYPES = ((str, float, int), (str, int, int))


def _check_types(record: Record) -> None:
    """Raise TypeError where a field of a record, or of one of its results, is missing or of another type."""
    for name, kind in TYPES.items():
        if not isinstance(getattr(record, name), kind):
            raise TypeError(f"its {name} is {getattr(record, name)!r}")
    for cell in record.results:
        if not isinstance(cell, dict) or tuple(map(type, map(cell.get, CELL))) not in CELL_TYPES:
            raise TypeError(f"each of its results needs {', '.join(CELL)}; one is {cell!r}")


def describe_device(device: torch.device) -> dict[str, Any]:
    """Type, name and number of CPU threads of a device, for the ledger."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads()}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
