"""What tests read of a log while it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.json_lines import whole_lines


@pytest.mark.parametrize(
    ("written", "found"), [('{"a":1}\n{"a":2', [1]), ('{"a":1}\n{"a":2}\n', [1, 2]), ('{"a":1', []), ("", [])]
)
def test_half_a_line_is_not_there_yet(tmp_path: Path, written: str, found: list[int]) -> None:
    """A reader may come amid a write: what the writer has not ended is left for the next time."""
    file = tmp_path / "log.jsonl"
    file.write_text(written)
    assert [line["a"] for line in whole_lines(file)] == found


def test_a_log_that_nobody_has_begun_is_empty(tmp_path: Path) -> None:
    """A test may look before the first line."""
    assert whole_lines(tmp_path / "log.jsonl") == []
