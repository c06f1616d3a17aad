"""A replaced file is news once; a broken one is reported once and changes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from router_extproc.config.watched_file import WatchedFile


def read(path: Path) -> list[int]:
    return msgspec.json.decode(path.read_bytes(), type=list[int])


def replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(path)


def test_news_come_once(tmp_path: Path) -> None:
    """Missing, there, unchanged, replaced by something of the same size."""
    path = tmp_path / "file.json"
    file = WatchedFile(path, read)
    assert file.news() is None
    replace(path, b"[1]")
    assert [file.news(), file.news()] == [[1], None]
    replace(path, b"[2]")
    assert [file.news(), file.news()] == [[2], None]


def test_a_broken_file_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is looked at again only when it is replaced."""
    path = tmp_path / "file.json"
    file = WatchedFile(path, read)
    replace(path, b'["x"]')
    with caplog.at_level(logging.ERROR):
        assert [file.news(), file.news(), file.news()] == [None, None, None]
    assert len(caplog.records) == 1
    replace(path, b"[3]")
    assert file.news() == [3]
