"""One card for each data file: what it is called, where it lies, its licence and source, its columns.

The files themselves are not part of this package. Training records the hash of every file it has read, so that a model card
says exactly what an artefact was made from.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from router_extproc.errors import TrainingError

DATA_VARIABLE = "ROUTER_EXTPROC_DATA"
CARDS_FILE = Path(__file__).parent / "data" / "data_cards.json"
# Some prompts are longer than csv's own limit of 128 kB a field.
_LONGEST_FIELD = 1 << 24


class DataCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of one data file.

    ``path`` is relative to the data folder; ``text`` names the column with the prompt. ``evaluation`` marks text that no
    model may be trained on; ``columns`` must all be there, others may be.
    """

    path: str
    licence: str
    source: str
    columns: tuple[str, ...]
    text: str
    evaluation: bool
    note: str = ""


class MissingDataError(TrainingError):
    """A data file is not where it should be; the message says which and how to point to the data."""


def load_cards() -> Mapping[str, DataCard]:
    """All cards by name."""
    return msgspec.json.decode(CARDS_FILE.read_bytes(), type=dict[str, DataCard])


def data_folder(given: Path | None = None) -> Path:
    """The folder with the data: the one given, else the environment's.

    Raises:
        MissingDataError: neither is there, or it is no folder.
    """
    named = given or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        raise MissingDataError(f"which data? Name the folder with --data DIR or in {DATA_VARIABLE}")
    if not named.is_dir():
        raise MissingDataError(f"{named} is no folder: name the data's folder with --data DIR or in {DATA_VARIABLE}")
    return named


def card_of(name: str) -> DataCard:
    """The card of this name.

    Raises:
        TrainingError: there is none; the message lists those there are.
    """
    cards = load_cards()
    if name not in cards:
        raise TrainingError(f"no data card is called {name!r}; there are {', '.join(cards)}")
    return cards[name]


def file_of(name: str, folder: Path) -> Path:
    """Where the file of this card lies.

    Raises:
        MissingDataError: it is not there.
    """
    path = folder / card_of(name).path
    if not path.is_file():
        raise MissingDataError(
            f"the data file {name!r} is missing: {path} (name the data's folder with --data DIR or in {DATA_VARIABLE})"
        )
    return path


def read_rows(name: str, folder: Path) -> list[dict[str, str]]:
    """All rows of one data file, in file order, every column as text.

    Raises:
        MissingDataError: the file is not there.
        TrainingError: a column that its card names is not in it.
    """
    path = file_of(name, folder)
    csv.field_size_limit(_LONGEST_FIELD)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    missing = [column for column in card_of(name).columns if column not in (reader.fieldnames or ())]
    if missing:
        raise TrainingError(f"{path}: the columns {', '.join(missing)} are missing; its card {name!r} names them")
    return rows


def hash_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
