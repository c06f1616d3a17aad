"""Files that other processes read are whole, always."""

from __future__ import annotations

from pathlib import Path

from router_extproc.supervisor.files import replace_file


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A reader that has the old file open keeps it; nothing but the file is left in the folder."""
    path = tmp_path / "new" / "cds.json"
    assert replace_file(path, b"old")
    with path.open("rb") as reading:
        assert replace_file(path, b"new")
        assert reading.read() == b"old"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_equal_content_wakes_nobody(tmp_path: Path) -> None:
    """The file stays the same file."""
    path = tmp_path / "snapshot.json"
    replace_file(path, b"same")
    before = path.stat().st_ino
    assert not replace_file(path, b"same")
    assert path.stat().st_ino == before


def test_a_private_file_was_never_public(tmp_path: Path) -> None:
    """The mode is that of the new file from its first byte on."""
    path = tmp_path / "key.json"
    replace_file(path, b"key", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
