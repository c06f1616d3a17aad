"""Talking to a simulator without an SDK: raw bytes, and JSON by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httptools
import msgspec

from router_extproc.simulator import Simulator

HELLO = [{"role": "user", "content": "hello"}]
CHAT = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}'


class Response:
    """One response as the parser gives it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_complete = False
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@contextlib.asynccontextmanager
async def connected(
    simulator: Simulator, name: str = "main"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection, and close it however it went."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port(name))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_response(reader: asyncio.StreamReader) -> Response:
    """Read one response and no byte beyond it, so that the next can be read after it."""
    response = Response()
    while not response.is_complete:
        byte = await asyncio.wait_for(reader.read(1), 30)
        if not byte:
            break
        response.parser.feed_data(byte)
    return response


def post(body: bytes, path: str = "/v1/chat/completions", headers: str = "") -> bytes:
    """Write a request with a body."""
    head = f"POST {path} HTTP/1.1\r\nhost: simulator\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the simulator's counters will soon say; half a minute at most."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- counters announce nothing
            await asyncio.sleep(0.001)


async def ask(
    simulator: Simulator, method: str, path: str, body: bytes = b"", *, name: str = "main", headers: str = ""
) -> Response:
    """Send one request on a connection of its own and return the response."""
    async with connected(simulator, name) as (reader, writer):
        head = f"{method} {path} HTTP/1.1\r\nhost: simulator\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        return await read_response(reader)
