"""Row by row: a wrong file, and exactly the lines that ``validate`` prints for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.config.load import load_config
from router_extproc.errors import ConfigurationError

BAD = Path(__file__).parent / "bad"
FILES = sorted(BAD.glob("*.yaml"))


def complaints(file: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    return "".join(str(problem).removeprefix(f"{BAD}/") + "\n" for problem in caught.value.problems)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_bad_file_gets_exactly_its_messages(file: Path) -> None:
    """A wrong file is refused with the messages, lines and columns that stand beside it, and with no others."""
    assert complaints(file) == file.with_suffix(".expected").read_text(encoding="utf-8")


def test_there_are_enough_of_them() -> None:
    """The collection covers what people get wrong: at least thirty files, each with its expectation."""
    assert len(FILES) >= 30
    assert {file.stem for file in FILES} == {file.stem for file in BAD.glob("*.expected")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_message_repeats_a_credential(file: Path) -> None:
    """What looks like a key in a bad file never stands in a message about it."""
    text = complaints(file)
    for secret in ("sk-proj", "4eC39HqLyjWDarjtT1zdp7dc", "hunter2", "user:secret"):
        assert secret not in text
