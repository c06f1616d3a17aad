"""Reading Envoy's access log: no line is lost or read twice, whatever happens to the file between two readings."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.observer.access_log_file import AccessLogFile
from router_extproc.store.ledger import Position


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def rotate(path: Path) -> None:
    """As logrotate does: ``.1`` becomes ``.2``, the log becomes ``.1``."""
    first, second = (path.with_name(f"{path.name}.{number}") for number in (1, 2))
    if first.exists():
        first.replace(second)
    path.replace(first)


def everything(log: AccessLogFile) -> tuple[list[bytes], Position]:
    """All lines that can be read now, and the position behind them."""
    lines: list[bytes] = []
    while True:
        reading = log.read()
        lines += reading.lines
        if not reading.lines and not reading.more:
            return lines, reading.position


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.jsonl"


def test_a_file_that_comes_later_is_read_from_its_beginning(path: Path) -> None:
    """Envoy makes the file with its first line, perhaps long after the observer started."""
    with closing(AccessLogFile(path)) as log:
        assert everything(log)[0] == []
        append(path, "a\nb\n")
        assert everything(log)[0] == [b"a", b"b"]
        append(path, "c\n")
        assert everything(log)[0] == [b"c"]
        assert everything(log)[0] == []


def test_half_a_line_waits_for_its_other_half(path: Path) -> None:
    """Envoy may write a line in two pieces."""
    append(path, "a\nhal")
    with closing(AccessLogFile(path)) as log:
        assert everything(log)[0] == [b"a"]
        assert everything(log)[0] == []
        append(path, "f\n")
        assert everything(log)[0] == [b"half"]


def test_the_next_reader_goes_on_where_the_position_says(path: Path) -> None:
    """What was stored is where reading goes on, half a line included."""
    append(path, "a\nb\nhal")
    with closing(AccessLogFile(path)) as log:
        position = everything(log)[1]
    append(path, "f\nc\n")
    with closing(AccessLogFile(path, position)) as log:
        assert everything(log)[0] == [b"half", b"c"]


def test_a_rotated_file_is_read_to_its_end_before_the_new_one(path: Path) -> None:
    """What Envoy still wrote between the renaming and its own reopening is read, in order."""
    append(path, "a\n")
    with closing(AccessLogFile(path)) as log:
        assert everything(log)[0] == [b"a"]
        rotate(path)
        append(path.with_name("access.jsonl.1"), "b\n")
        assert everything(log)[0] == [b"b"]
        append(path.with_name("access.jsonl.1"), "c\nhalf of the la")
        append(path, "d\n")
        assert everything(log)[0] == [b"c", b"half of the la", b"d"]


def test_rotations_while_nobody_read_lose_nothing(path: Path) -> None:
    """Two rotations later the position's file is found by its inode, and all that followed is read, the oldest first."""
    append(path, "a\nb\n")
    with closing(AccessLogFile(path, most_bytes=2)) as log:
        position = log.read().position
    rotate(path)
    append(path, "c\n")
    rotate(path)
    append(path, "d\n")
    with closing(AccessLogFile(path, position)) as log:
        assert everything(log)[0] == [b"b", b"c", b"d"]


def test_a_file_that_was_deleted_is_followed_by_the_one_in_its_place(path: Path) -> None:
    """What is out of reach does not stop what comes."""
    append(path, "a\n")
    with closing(AccessLogFile(path)) as log:
        everything(log)
        path.unlink()
        assert everything(log)[0] == []
        append(path, "b\n")
        assert everything(log)[0] == [b"b"]


def test_a_file_that_was_cut_off_is_read_from_its_beginning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As `logrotate copytruncate` leaves it."""
    append(path, "aaaa\n")
    with closing(AccessLogFile(path)) as log:
        everything(log)
        os.truncate(path, 0)
        append(path, "b\n")
        assert everything(log)[0] == [b"b"]
    assert "cut off" in caplog.text


def test_another_file_in_the_place_of_the_old_one_is_not_taken_for_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Inodes are used again: the first line says whether it is the same log."""
    append(path, "a\nb\n")
    with closing(AccessLogFile(path)) as log:
        position = everything(log)[1]
    inode = path.stat().st_ino
    path.write_text("x\ny\nz\n")
    assert path.stat().st_ino == inode
    with closing(AccessLogFile(path, position)) as log:
        assert everything(log)[0] == [b"x", b"y", b"z"]
    assert "not the one that was read last" in caplog.text


def test_a_copy_of_the_file_is_the_same_log(path: Path) -> None:
    """`cp` and `logrotate copytruncate` keep the lines and change the inode."""
    append(path, "a\n")
    with closing(AccessLogFile(path)) as log:
        position = everything(log)[1]
    append(path, "b\n")
    path.with_name("access.jsonl.1").write_bytes(path.read_bytes())
    path.write_text("c\n")
    with closing(AccessLogFile(path, position)) as log:
        assert everything(log)[0] == [b"b", b"c"]


def test_an_empty_new_file_does_not_hide_where_reading_got_to(path: Path) -> None:
    """Between a rotation and the next line there is no name for the new file: a restart then must not start all over."""
    append(path, "a\n")
    with closing(AccessLogFile(path)) as log:
        everything(log)
        rotate(path)
        path.touch()
        position = everything(log)[1]
    append(path, "b\n")
    with closing(AccessLogFile(path, position)) as log:
        assert everything(log)[0] == [b"b"]


def test_a_line_without_end_is_passed_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A broken file costs bounded memory, and what follows is read."""
    append(path, "x" * 100)
    with closing(AccessLogFile(path, most_bytes=40)) as log:
        assert everything(log)[0] == []
        append(path, "x\na\n")
        assert everything(log)[0][-1] == b"a"
    assert "too long" in caplog.text


def test_what_is_unread_can_be_looked_at(path: Path) -> None:
    """As often as one likes: reading finds it all the same."""
    append(path, "a\n")
    with closing(AccessLogFile(path)) as log:
        everything(log)
        assert log.unread() == b""
        append(path, "b\nhal")
        assert [log.unread(), log.unread()] == [b"b\nhal"] * 2
        assert log.behind_bytes() == 5
        assert everything(log)[0] == [b"b"]
        assert log.unread() == b"hal"


def test_reading_goes_on_where_looking_does_not_tell(path: Path) -> None:
    """Before the first reading, when the file was rotated or cut off, and when there is as much as is read at once."""
    append(path, "a\nb\n")
    with closing(AccessLogFile(path, most_bytes=8)) as log:
        assert log.unread() is None
        everything(log)
        append(path, "1234567\n")
        assert log.unread() is None
        everything(log)
        path.write_bytes(b"c\n")
        assert log.unread() is None
        assert everything(log)[0] == [b"c"]
        rotate(path)
        assert log.unread() is None
        append(path, "d\n")
        assert log.unread() is None
        assert everything(log)[0] == [b"d"]
        assert log.unread() == b""


def test_how_far_behind_the_reader_is(path: Path) -> None:
    """In bytes, so that a lag shows before it costs anything."""
    with closing(AccessLogFile(path)) as log:
        assert log.behind_bytes() == 0
        append(path, "a\nb\n")
        assert log.behind_bytes() == 4
        everything(log)
        assert log.behind_bytes() == 0


STEPS = st.lists(
    st.one_of(
        st.binary(max_size=30).map(lambda data: ("write", data.replace(b"\n", b";"))),
        st.just(("end", b"\n")),
        st.just(("rotate", b"")),
        st.just(("read", b"")),
        st.just(("restart", b"")),
        st.just(("crash", b"")),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_every_line_is_read_once_and_in_order(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bytes]]) -> None:
    """Whatever is written in whatever pieces, whoever rotates and restarts: the lines come out as they went in.

    A crash between reading and storing is a reader that goes on from the position before.
    """
    path = tmp_path_factory.mktemp("log") / "access.jsonl"
    written = bytearray()
    stored: list[bytes] = []
    rotations = 0
    log, position = AccessLogFile(path, most_bytes=64), Position(0, 0)

    def read(log: AccessLogFile) -> Position:
        lines, after = everything(log)
        stored.extend(lines)
        return after

    for number, (step, data) in enumerate(steps):
        is_at_line_start = not written or written.endswith(b"\n")
        if step in ("write", "end"):
            with path.open("ab") as file:
                # Like Envoy's, a first line is one of its kind.
                whole = data if not is_at_line_start else b"%d" % number + data
                if len(written) - written.rfind(b"\n") + len(whole) > 60:
                    whole = b""  # a line that is too long is another story
                file.write(whole)
            written += whole
        # More rotations than there are kept files would lose lines to any reader; Envoy rotates between lines.
        elif step == "rotate" and path.exists() and is_at_line_start and rotations < 2:
            rotate(path)
            rotations += 1
        elif step == "read":
            position, rotations = read(log), 0
        elif step in ("restart", "crash"):
            if step == "crash":
                everything(log)
            log.close()
            log = AccessLogFile(path, position, most_bytes=64)
    with path.open("ab") as file:
        file.write(b"\n")
    written += b"\n"
    read(log)
    log.close()
    assert b"\n".join(stored) + b"\n" == bytes(written)
