"""What a training stage gets, and how stages run one after the other: in order, seeded, resumable.

Rules: a stage reads data only through its context, which withholds the labels of evaluation files and the rows that
decontamination has excluded, and remembers what was read. A stage whose code, data, seed and predecessors are unchanged
is not run again.
"""

from __future__ import annotations

import hashlib
import importlib
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

import msgspec
import numpy as np

from router_extproc.errors import TrainingError
from router_extproc.training.data_cards import card_of, file_of, hash_of, read_rows
from router_extproc.training.progress import Progress, SilentProgress
from router_extproc.training.source_hash import source_hash

OWN_DATA = Path(__file__).parent / "data"
# What the strong and the weak model got right: never for training.
_LABELS_OF_EVALUATION = ("strong", "weak")
Metrics = Mapping[str, object]
Excluded = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Context:
    """All that a stage or a report may use.

    ``data`` holds the data files, ``work`` is a cache that survives an interrupted run, ``out`` the artefact as far as it
    is built. ``purpose`` decides what ``rows`` hands out. ``seed`` and ``threads`` are the whole run's.
    """

    data: Path
    work: Path
    out: Path
    seed: int = 0
    threads: int = 1
    progress: Progress = field(default_factory=SilentProgress)
    purpose: Literal["training", "evaluation"] = "training"
    excluded: Excluded = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of one data file, by its card's name.

        For training, rows that are too like an evaluation prompt are left out, and of evaluation files only the text and
        the group are handed out.

        Raises:
            MissingDataError: the file is not there.
            TrainingError: no such card, or a column is missing.
        """
        self.reads[f"data:{name}"] = hash_of(file_of(name, self.data))
        rows = read_rows(name, self.data)
        if self.purpose == "evaluation":
            return rows
        card = card_of(name)
        if card.evaluation:
            return [{key: text for key, text in row.items() if key not in _LABELS_OF_EVALUATION} for row in rows]
        excluded = self.excluded.get(name, frozenset())
        self.reads[f"excluded:{name}"] = _hash_of_texts(excluded)
        return [row for row in rows if row[card.text] not in excluded]

    def texts(self, name: str) -> list[str]:
        """The prompts alone of one data file; see ``rows``."""
        column = card_of(name).text
        return [row[column] for row in self.rows(name)]

    def own(self, name: str) -> Path:
        """A data file that is part of this package (``training/data``), noted as read."""
        path = OWN_DATA / name
        self.reads[f"own:{name}"] = hash_of(path)
        return path

    def random(self, name: str) -> np.random.Generator:
        """Random numbers for one purpose: equal for equal seeds and names, whatever ran before."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def cache(self, name: str) -> Path:
        """A place for an intermediate result that a later run may find again; its folder exists."""
        path = self.work / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Train(Protocol):
    """What a head's module offers: writes files into ``context.out``, returns figures for the model card."""

    def __call__(self, context: Context) -> Metrics:
        """Trains."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of training: the ``train`` of a module of this room, after the stages whose files it needs."""

    name: str
    module: str
    after: tuple[str, ...] = ()

    def run(self, context: Context) -> Metrics:
        """Trains; returns figures for the model card."""
        return cast("Train", importlib.import_module(self.module).train)(context)


class StageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage did: enough to know whether it must be done again, and for the model card."""

    name: str
    code: str
    seed: int
    after: dict[str, str]
    reads: dict[str, str]
    files: dict[str, str]
    seconds: float
    metrics: dict[str, object]


def run_stages(stages: tuple[Stage, ...], context: Context, done: Callable[[StageRecord, bool], None]) -> list[StageRecord]:
    """Runs what has to be run; ``done`` is told each record and whether it was kept from an earlier run.

    Raises:
        TrainingError: a stage wrote nothing, or needs one that does not come before it.
    """
    records: dict[str, StageRecord] = {}
    for stage in stages:
        unknown = [name for name in stage.after if name not in records]
        if unknown:
            raise TrainingError(f"stage {stage.name!r} needs {', '.join(unknown)}, which must come before it")
        # What a predecessor made is part of what this stage is made from.
        after = {name: digest for before in stage.after for name, digest in records[before].files.items()}
        path = context.work / "records" / f"{stage.name}.json"
        kept = _kept(path, stage, after, context)
        if kept is None:
            context.progress.note(f"{stage.name}: training")
        records[stage.name] = kept or _run(stage, after, context)
        if kept is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.format(msgspec.json.encode(records[stage.name])))
        done(records[stage.name], kept is not None)
    return list(records.values())


def _run(stage: Stage, after: dict[str, str], context: Context) -> StageRecord:
    before = _written_at(context.out)
    context.reads.clear()
    started = time.monotonic()
    metrics = {str(name): _plain(value) for name, value in stage.run(context).items()}
    seconds = round(time.monotonic() - started, 1)
    # By time, not by content: a stage that is run again may write the very same bytes.
    written = [name for name, moment in _written_at(context.out).items() if before.get(name) != moment]
    if not written:
        raise TrainingError(f"stage {stage.name!r} wrote nothing into {context.out}")
    files = {name: hash_of(context.out / name) for name in written}
    reads = dict(sorted(context.reads.items()))
    code = source_hash(stage.module)
    return StageRecord(
        name=stage.name, code=code, seed=context.seed, after=after, reads=reads, files=files, seconds=seconds, metrics=metrics
    )


def _plain(value: object) -> object:
    """A figure without numpy's types, which JSON does not know."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _kept(path: Path, stage: Stage, after: dict[str, str], context: Context) -> StageRecord | None:
    """The record of an earlier run, if running again would change nothing."""
    if not path.exists():
        return None
    try:
        record = msgspec.json.decode(path.read_bytes(), type=StageRecord)
    except msgspec.MsgspecError:
        return None
    if (record.code, record.seed, record.after) != (source_hash(stage.module), context.seed, after):
        return None
    present = _files(context.out)
    same_files = all(present.get(name) == digest for name, digest in record.files.items())
    same_data = all(_hash_of_read(name, context) == digest for name, digest in record.reads.items())
    return record if same_files and same_data else None


def _hash_of_read(name: str, context: Context) -> str:
    kind, _, what = name.partition(":")
    if kind == "excluded":
        return _hash_of_texts(context.excluded.get(what, frozenset()))
    path = file_of(what, context.data) if kind == "data" else OWN_DATA / what
    return hash_of(path) if path.exists() else ""


def _hash_of_texts(texts: frozenset[str]) -> str:
    return hashlib.sha256("\0".join(sorted(texts)).encode("utf-8", "surrogatepass")).hexdigest()


def _written_at(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def _files(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash, by relative path."""
    return {path.relative_to(folder).as_posix(): hash_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}
