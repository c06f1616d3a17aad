"""The training data for tests that need it: it is not part of this repository, so such tests may have to be skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router_extproc.training.data_cards import DATA_VARIABLE, card_of, read_rows

_ROOT = Path(__file__).parents[1]
# A checkout may have the data's folder beside it.
_BESIDE = _ROOT.parent / "shared" / "data"


def data_folder_or_skip() -> Path:
    """The data's folder; without one the test is skipped, and the summary says how to get it run."""
    folder = Path(os.environ.get(DATA_VARIABLE) or _BESIDE)
    if not folder.is_dir():
        pytest.skip(f"NO TRAINING DATA: {folder} is no folder; name it in {DATA_VARIABLE}")
    return folder


def rows_or_skip(name: str) -> list[dict[str, str]]:
    """The rows of one data card."""
    folder = data_folder_or_skip()
    if not (folder / card_of(name).path).is_file():
        pytest.skip(f"NO TRAINING DATA: {folder / card_of(name).path} is missing")
    return read_rows(name, folder)
