"""Rotation of Envoy's log: only when it is large and read, and Envoy is told until it has heard."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from router_extproc.observer.access_log_rotation import Rotation


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.jsonl"
    path.write_text("1" * 100)
    return path


@pytest.fixture
def instance(tmp_path: Path, log: Path) -> Iterator[Path]:
    """The file that says where an Envoy is that begins a new log when it is told to."""

    class Envoy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/reopen_logs"
            log.touch()
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Envoy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        file = tmp_path / "instance.json"
        file.write_text(json.dumps({"envoy_admin": f"http://127.0.0.1:{server.server_address[1]}"}))
        yield file
        server.shutdown()
        thread.join()


def fill(log: Path, digit: str) -> None:
    log.write_text(digit * 100)


def contents(log: Path) -> dict[str, str]:
    return {path.name: path.read_text()[:1] for path in sorted(log.parent.glob("access.jsonl*"))}


async def test_a_large_file_is_put_away(log: Path, instance: Path) -> None:
    """And another is begun; three older ones are kept."""
    rotation = Rotation(log, instance)
    for digit in "12345":
        fill(log, digit)
        await rotation.step(99, is_read=True)
    assert contents(log) == {"access.jsonl": "", "access.jsonl.1": "5", "access.jsonl.2": "4", "access.jsonl.3": "3"}


async def test_what_is_small_or_not_read_stays(log: Path, instance: Path) -> None:
    """An older file that waits to be settled is never pushed out."""
    rotation = Rotation(log, instance)
    await rotation.step(100, is_read=True)
    await rotation.step(99, is_read=False)
    assert contents(log) == {"access.jsonl": "1"}


async def test_envoy_is_told_until_it_has_heard(
    log: Path, instance: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also by the next observer; that nobody hears is told once."""
    nobody = tmp_path / "nobody.json"
    rotation = Rotation(log, nobody)
    for text in (None, "[]", '{"envoy_admin": "http://127.0.0.1:1"}'):
        if text is not None:
            nobody.write_text(text)
        await rotation.step(99, is_read=True)
    assert contents(log) == {"access.jsonl.1": "1"}
    assert len(caplog.records) == 1
    await Rotation(log, instance).step(99, is_read=False)
    assert contents(log) == {"access.jsonl": "", "access.jsonl.1": "1"}


async def test_without_a_log_nobody_is_told(log: Path, tmp_path: Path) -> None:
    """Nothing was put away: Envoy has not written yet."""
    nothing = tmp_path / "nothing.jsonl"
    await Rotation(nothing, tmp_path / "nobody.json").step(99, is_read=True)
    assert contents(log) == {"access.jsonl": "1"}
