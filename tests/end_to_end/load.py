"""Keeps requests coming over kept-alive connections and counts every one of them, whatever becomes of it.

A client as strict as a test needs it: nothing is retried. It only does what a load balancer does as well: it leaves out who
says that it is not ready, goes to the next port when one refuses the connection, and opens a connection anew that the server
announced to close.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

CHAT = "/v1/chat/completions"
_REFUSED_PAUSE_SECONDS = 0.05
_HEALTH_CHECK_SECONDS = 0.1


def chat(model: str = "auto", *, size: int = 0, **more: Any) -> bytes:
    """The body of a chat completion; ``size`` pads it to at least so many bytes."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
    missing = size - len(json.dumps(body))
    if missing > 0:
        body["messages"] = [{"role": "user", "content": "Hello" + "lorem ipsum dolor " * (missing // 18 + 1)}]
    return json.dumps(body).encode()


@dataclass
class Outcome:
    """What became of one request: ``failure`` says why there was no whole answer, ``status`` is 0 where there was none."""

    size: int
    started: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: str | None = None

    @property
    def is_served(self) -> bool:
        """A whole 200; a stream with its last event."""
        is_stream = self.headers.get("content-type", "").startswith("text/event-stream")
        is_whole = self.body.endswith(b"data: [DONE]\n\n") and b'"error"' not in self.body if is_stream else True
        return self.status == 200 and self.failure is None and is_whole

    @property
    def is_decided(self) -> bool:
        return "x-router-degraded" not in self.headers

    def __str__(self) -> str:
        return f"{self.status} {self.failure or ''} {self.size} B {self.headers} {self.body[-200:]!r}"


class Load:
    """``connections`` clients send ``bodies`` in turn, from a thread of their own, until the block ends.

    ``readiness`` is a URL for each port that says by 200 whether to connect there. With ``requests`` they stop after so many
    in total. ``pause`` is the time between two requests of one client. Without
    ``keep_alive`` each request has a connection of its own, to the ports in turn.
    """

    def __init__(
        self,
        ports: Sequence[int],
        bodies: Sequence[bytes] | None = None,
        *,
        readiness: Sequence[str] = (),
        connections: int = 4,
        requests: int | None = None,
        headers: dict[str, str] | None = None,
        pause: float = 0.0,
        keep_alive: bool = True,
        keep_bodies: bool = True,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.open = 0
        self._ports, self._connections, self._pause = list(ports), connections, pause
        self._keep_alive = keep_alive
        self._readiness, self._not_ready = list(readiness), set[int]()
        self._bodies: Iterator[bytes] = itertools.cycle(bodies or [chat()])
        self._left = itertools.count() if requests is None else iter(range(requests))
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._keep_bodies = keep_bodies
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self._broken: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Lets every request that was begun end, then stops."""
        self._stopping.set()
        self.join()

    def join(self, seconds: float = 100) -> None:
        """Waits for the last outcome."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"{self.open} requests did not end within {seconds} s"
        if self._broken is not None:
            raise self._broken

    def after(self, count: int, seconds: float = 30) -> None:
        """Waits until ``count`` more requests have ended."""
        wanted, deadline = len(self.outcomes) + count, time.monotonic() + seconds
        while len(self.outcomes) < wanted:
            assert self._thread.is_alive(), f"the load ended: {self._broken!r}"
            assert time.monotonic() < deadline, f"{len(self.outcomes)} of {wanted} requests ended within {seconds} s"
            time.sleep(0.02)

    def until_open(self, count: int, seconds: float = 60) -> None:
        """Waits until so many requests are under way at once."""
        deadline = time.monotonic() + seconds
        while self.open < count:
            assert time.monotonic() < deadline, f"{self.open} of {count} requests open within {seconds} s"
            time.sleep(0.02)

    @property
    def not_served(self) -> list[str]:
        return [str(outcome) for outcome in self.outcomes if not outcome.is_served]

    @property
    def not_decided(self) -> list[str]:
        return [str(outcome) for outcome in self.outcomes if not outcome.is_decided]

    def by(self, what: Callable[[Outcome], Any]) -> Counter[Any]:
        """How many outcomes there are of each kind."""
        return Counter(what(outcome) for outcome in self.outcomes)

    async def _run(self) -> None:
        try:
            async with httpx.AsyncClient(trust_env=False) as health_checks:
                watching = [
                    asyncio.create_task(self._watch(health_checks, url, port))
                    for url, port in zip(self._readiness, self._ports, strict=bool(self._readiness))
                ]
                try:
                    await asyncio.gather(*(self._client(index) for index in range(self._connections)))
                finally:
                    for task in watching:
                        task.cancel()
        except BaseException as error:  # noqa: BLE001 - the thread that joins raises it
            self._broken = error

    async def _watch(self, health_checks: httpx.AsyncClient, url: str, port: int) -> None:
        while True:
            try:
                is_ready = (await health_checks.get(url)).is_success
            except httpx.TransportError:
                is_ready = False
            (self._not_ready.discard if is_ready else self._not_ready.add)(port)
            await asyncio.sleep(_HEALTH_CHECK_SECONDS)

    async def _client(self, index: int) -> None:
        connection: _Connection | None = None
        try:
            while not self._stopping.is_set() and next(self._left, None) is not None:
                body = next(self._bodies)
                outcome = Outcome(size=len(body))
                self.open += 1
                try:
                    connection = connection or await self._connect(index)
                    await connection.exchange(self._head(body) + body, outcome)
                except (OSError, asyncio.IncompleteReadError) as error:
                    outcome.failure = repr(error)
                self.open -= 1
                outcome.ended = time.monotonic()
                if not self._keep_bodies:
                    outcome.body = outcome.body[-20:]
                self.outcomes.append(outcome)
                is_over = outcome.failure or outcome.headers.get("connection") == "close" or not self._keep_alive
                if connection is not None and is_over:
                    connection.close()
                    connection = None
                    index += 1
                if self._pause:
                    await asyncio.sleep(self._pause)
        finally:
            if connection is not None:
                connection.close()

    async def _connect(self, index: int) -> _Connection:
        for turn in itertools.count(index):
            port = self._ports[turn % len(self._ports)]
            if port in self._not_ready and len(self._not_ready) < len(self._ports):
                continue
            try:
                return _Connection(*await asyncio.open_connection("127.0.0.1", port))
            except ConnectionRefusedError:
                if len(self._ports) == 1 or turn > index + 200:
                    raise
                await asyncio.sleep(_REFUSED_PAUSE_SECONDS if turn % len(self._ports) == index % len(self._ports) else 0)
        raise AssertionError("unreachable")

    def _head(self, body: bytes) -> bytes:
        return (
            f"POST {CHAT} HTTP/1.1\r\nhost: router\r\ncontent-type: application/json\r\n"
            f"{self._headers}content-length: {len(body)}\r\n\r\n"
        ).encode()


class _Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def exchange(self, request: bytes, outcome: Outcome) -> None:
        """Sends one request and fills in what comes back, as far as it comes."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        outcome.status = int(head[0].split(" ")[1])
        outcome.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        if outcome.headers.get("transfer-encoding") == "chunked":
            pieces = []
            try:
                while size := int(await self._reader.readline() or b"-", 16):
                    pieces.append((await self._reader.readexactly(size + 2))[:-2])
                await self._reader.readexactly(2)
            except ValueError:
                outcome.failure = "the connection ended amid the answer"
            finally:
                outcome.body = b"".join(pieces)
        else:
            outcome.body = await self._reader.readexactly(int(outcome.headers.get("content-length", 0)))

    def close(self) -> None:
        self._writer.close()
