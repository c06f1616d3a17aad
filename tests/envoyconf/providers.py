"""Providers that answer what a test tells them to, byte by byte, and remember what they were asked."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any

JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream"),)


@dataclass(frozen=True)
class Answer:
    """One answer. Pieces are sent chunked, each after ``pause`` seconds; ``length`` sends them under a content-length."""

    pieces: tuple[bytes, ...] = (b'{"object":"chat.completion"}',)
    status: int = 200
    headers: tuple[tuple[str, str], ...] = JSON
    wait: float = 0.0
    pause: float = 0.0
    length: bool = False
    breaks: bool = False
    """The connection ends after the last piece, and the answer does not."""


HANG_UP = Answer(status=0)
"""Closes the connection without an answer."""


def failure(status: int, code: str = "failed", message: str = "no", **more: Any) -> Answer:
    """An error in OpenAI's shape."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()
    return Answer((body,), status=status, length=True, **more)


def stream(*pieces: bytes, **more: Any) -> Answer:
    """An event stream."""
    return Answer(pieces, headers=EVENTS, **more)


@dataclass(frozen=True)
class Asked:
    """What a provider saw of one request."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Providers:
    """One server for all providers: the first segment of the path says which of them is asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext | None = None
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,))
        self._thread.start()
        started.wait(10)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}/v1"

    def reset(self, **answers: Answer) -> None:
        self.answers, self.asked = answers, []

    def names(self) -> list[str]:
        """Who was asked, in order."""
        return [asked.name for asked in self.asked]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def _serve(self, started: threading.Event) -> None:
        self._loop.run_until_complete(self._run(started))
        self._loop.close()

    async def _run(self, started: threading.Event) -> None:
        self._stopping = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connection, self.address, 0, limit=1 << 26, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopping.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while True:
                await self._exchange(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await _read_body(reader, headers)
        name = path.split("/")[1]
        self.asked.append(Asked(name, method, path, headers, body))
        answer = self.answers.get(name, Answer())
        if answer == HANG_UP:
            raise ConnectionError
        await asyncio.sleep(answer.wait)
        head = [f"HTTP/1.1 {answer.status} Status", *(f"{key}: {value}" for key, value in answer.headers)]
        if answer.length:
            head.append(f"content-length: {sum(map(len, answer.pieces))}")
        else:
            head.append("transfer-encoding: chunked")
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
        for piece in answer.pieces:
            await asyncio.sleep(answer.pause)
            writer.write(piece if answer.length else b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if answer.breaks:
            raise ConnectionError
        if not answer.length:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    return body
