"""The artefact as it is shipped: a folder of the heads' files, ``artefact.json`` that names them, and the model card.

``artefact.json`` is the contract with whoever loads the folder: the format's version, which files belong to it with their
hashes, and what it was made from.
"""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from router_extproc.errors import TrainingError
from router_extproc.training.data_cards import hash_of, load_cards
from router_extproc.training.pipeline import StageRecord

# Counted up when a reader of the older format could no longer use the files.
FORMAT = 1
MANIFEST, MODEL_CARD = "artefact.json", "MODEL_CARD.md"
LARGEST_SIZE = 15_000_000
NAME = "router-extproc-classifier"


class DataUsed(msgspec.Struct, frozen=True, kw_only=True):
    """One data file that went in: its hash on the day, and where it is from."""

    sha256: str
    licence: str
    source: str
    stages: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``artefact.json``. ``revision`` is the git revision of the code, ``created`` the day in ISO form, UTC."""

    format: int
    name: str
    created: str
    revision: str
    seed: int
    seconds: float
    files: dict[str, str]
    data: dict[str, DataUsed]
    stages: dict[str, dict[str, object]]
    refitted: dict[str, object] | None = None


def describe(folder: Path, records: Sequence[StageRecord], seed: int) -> Manifest:
    """The manifest for what the stages have written.

    Raises:
        TrainingError: it is larger than what may be shipped.
    """
    files = {name: digest for record in records for name, digest in record.files.items()}
    size = sum((folder / name).stat().st_size for name in files)
    if size > LARGEST_SIZE:
        raise TrainingError(f"the artefact has {size / 1e6:.1f} MB; at most {LARGEST_SIZE / 1e6:.0f} MB may be shipped")
    return Manifest(
        format=FORMAT,
        name=NAME,
        created=dt.datetime.now(dt.UTC).date().isoformat(),
        revision=git_revision(),
        seed=seed,
        seconds=round(sum(record.seconds for record in records), 1),
        files=dict(sorted(files.items())),
        data=_data_used(records),
        stages={record.name: dict(record.metrics) for record in records},
    )


def describe_refit(folder: Path, base: Manifest, metrics: Mapping[str, object]) -> Manifest:
    """The manifest of an artefact whose routing score was refitted: the base's, with the files as they are now."""
    names = [name for name in _names(folder) if name not in {MANIFEST, MODEL_CARD}]
    return msgspec.structs.replace(
        base,
        created=dt.datetime.now(dt.UTC).date().isoformat(),
        revision=git_revision(),
        files={name: hash_of(folder / name) for name in names},
        refitted={"on": dt.datetime.now(dt.UTC).date().isoformat(), "base": base.revision, **metrics},
    )


def publish(built: Path, manifest: Manifest, card: str, out: Path) -> None:
    """Puts the files, their manifest and the model card in place.

    The manifest comes last, and an earlier one goes first: a folder with a manifest is whole.
    """
    out.mkdir(parents=True, exist_ok=True)
    earlier = _files_of_earlier(out)
    (out / MANIFEST).unlink(missing_ok=True)
    for name in earlier - set(manifest.files):
        (out / name).unlink(missing_ok=True)
    for name in manifest.files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built / name, out / name)
    (out / MODEL_CARD).write_text(card, encoding="utf-8")
    (out / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a published artefact.

    Raises:
        TrainingError: the folder holds none, or one that cannot be read.
    """
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise TrainingError(f"{folder} holds no artefact: {MANIFEST} is missing") from error
    except msgspec.MsgspecError as error:
        raise TrainingError(f"{folder / MANIFEST} cannot be read: {error}") from error


def check_files(folder: Path) -> Manifest:
    """Makes sure that every file is the one that its manifest names.

    Raises:
        TrainingError: one is missing or has changed.
    """
    manifest = read_manifest(folder)
    for name, digest in manifest.files.items():
        if not (folder / name).is_file() or hash_of(folder / name) != digest:
            raise TrainingError(f"{folder / name} is not the file that {MANIFEST} names")
    return manifest


def git_revision() -> str:
    """The revision of the code that trains, with ``+`` when files of the package differ from it; empty outside git."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - fixed words

    revision = git("rev-parse", "HEAD")
    return revision + ("+" if revision and git("status", "--porcelain", "--", str(here), str(here.parent / "analysis")) else "")


def _data_used(records: Sequence[StageRecord]) -> dict[str, DataUsed]:
    cards = load_cards()
    read: dict[str, tuple[str, list[str]]] = {}
    for record in records:
        for key, digest in record.reads.items():
            kind, _, name = key.partition(":")
            if kind == "data":
                read.setdefault(name, (digest, []))[1].append(record.name)
    return {
        name: DataUsed(sha256=digest, licence=cards[name].licence, source=cards[name].source, stages=tuple(stages))
        for name, (digest, stages) in sorted(read.items())
    }


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _files_of_earlier(out: Path) -> set[str]:
    try:
        return set(read_manifest(out).files)
    except TrainingError:
        return set()


def own_texts_used(records: Sequence[StageRecord]) -> Mapping[str, str]:
    """The package's own data files that went in, with their hashes."""
    return {key.partition(":")[2]: digest for record in records for key, digest in record.reads.items() if key[:4] == "own:"}
