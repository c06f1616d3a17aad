"""One client connection: bytes in, requests out, one answer after the other.

Rules: requests that arrive while one is being answered wait their turn (pipelining). Nothing a client sends may raise out
of here; what is no HTTP gets a 400 and the connection ends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools
import msgspec

from router_extproc.simulator.answers import Answer, PlainAnswer
from router_extproc.simulator.deployment import Deployment
from router_extproc.simulator.exchange import Cue, Exchange
from router_extproc.simulator.faults import HEALTHY
from router_extproc.simulator.openai import Refusal
from router_extproc.simulator.plain_exchange import PlainExchange
from router_extproc.simulator.received import ReceivedRequest
from router_extproc.simulator.recorder import Recorder
from router_extproc.simulator.stream_exchange import StreamExchange
from router_extproc.simulator.wire import CONTINUE

_LARGEST_HEAD = 256 * 1024
_MOST_WAITING = 32
# SO_LINGER on, 0 seconds: closing sends a reset and drops what is unsent.
_LINGER_NOT = struct.pack("ii", 1, 0)

CONTROL_PATH = "/_simulator/"

Reply = Callable[[Answer], None]
Control = Callable[[ReceivedRequest, Deployment, Reply], None]


class Connection(asyncio.Protocol):
    """A connection to one deployment."""

    # The message being read
    _target: bytes
    _raw_headers: list[tuple[bytes, bytes]]
    _headers: dict[bytes, bytes]
    _head_bytes: int
    _head_is_complete: bool
    _keep_alive: bool
    _body: list[bytes]
    _body_bytes: int

    def __init__(self, deployment: Deployment, *, control: Control, connections: set[Connection], max_body_bytes: int) -> None:
        self.deployment = deployment
        self.is_paused = False
        self._control = control
        self._connections = connections
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self.closed: asyncio.Future[None]
        self._exchange: Exchange | None = None
        self._is_busy = False
        self._is_closing = False
        self._is_reading_paused = False
        self._is_serving = False
        self._waiting: deque[ReceivedRequest] = deque()
        self._begin_message()

    # Transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be told of a new client."""
        # A cast: uvloop's transports have the methods of this class without being of it.
        self._transport = cast("asyncio.Transport", transport)
        self.closed = asyncio.get_running_loop().create_future()
        self._connections.add(self)
        self.deployment.recorder.statistics.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- how it went makes no difference
        """Be told that the client has gone."""
        self._is_closing = True
        self._connections.discard(self)
        self.closed.set_result(None)
        if self._exchange is not None:
            self._exchange.lost()
            self._exchange = None

    def pause_writing(self) -> None:
        """Be told that the client reads too slowly."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """Be told that the client has caught up."""
        self.is_paused = False
        if self._exchange is not None:
            self._exchange.resumed()

    def data_received(self, data: bytes) -> None:
        """Read what came, then serve what is whole."""
        if self._is_closing:
            return
        if not self._head_is_complete:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse_connection(Refusal(400, "This server does not switch protocols."))
            return
        except httptools.HttpParserError:
            self._refuse_connection(Refusal(400, "This is no HTTP/1.1 request."))
            return
        if not self._head_is_complete and self._head_bytes > _LARGEST_HEAD:
            self._refuse_connection(Refusal(431, "The request's headers are too large."))
            return
        self._serve()
        if len(self._waiting) > _MOST_WAITING and not self._is_closing:
            self._transport.pause_reading()
            self._is_reading_paused = True

    # Parser callbacks

    def on_url(self, url: bytes) -> None:
        """Collect the request target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Invite the body where the client asks first."""
        self._head_is_complete = True
        self._headers = {name.lower(): value for name, value in self._raw_headers}
        self._keep_alive = self._parser.should_keep_alive()
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and not self._is_busy and not self._waiting:
            self.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Collect the body up to the limit; what is beyond is read and thrown away, so that the client can read the 413."""
        self._body_bytes += len(body)
        if self._body_bytes <= self._max_body_bytes:
            self._body.append(body)
        else:
            self._body.clear()

    def on_message_complete(self) -> None:
        """Queue the request."""
        path, _, query = self._target.decode("latin-1").partition("?")
        self._waiting.append(
            ReceivedRequest(
                method=self._parser.get_method().decode(),
                path=path,
                query=query,
                raw_headers=self._raw_headers,
                headers=self._headers,
                body=b"".join(self._body),
                is_oversized=self._body_bytes > self._max_body_bytes,
                keep_alive=self._keep_alive,
                chunked_answer=self._parser.get_http_version() != "1.0",
            )
        )
        self._begin_message()

    # What an exchange may do

    def write(self, content: bytes) -> None:
        """Send bytes."""
        if not self._transport.is_closing():
            self._transport.write(content)

    def finished(self, *, keep_alive: bool) -> None:
        """Go on with the next request, or close."""
        self._exchange = None
        self._is_busy = False
        if not keep_alive:
            self.close()
        elif not self._is_serving:
            self._serve()

    def close(self) -> None:
        """Send what is left, then close."""
        self._is_closing = True
        self._transport.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self._is_closing = True
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    # Within

    def _begin_message(self) -> None:
        self._target = b""
        self._raw_headers = []
        self._headers = {}
        self._head_bytes = 0
        self._head_is_complete = False
        self._keep_alive = True
        self._body = []
        self._body_bytes = 0

    def _serve(self) -> None:
        self._is_serving = True
        while self._waiting and not self._is_busy and not self._is_closing:
            self._is_busy = True
            self._answer(self._waiting.popleft())
        self._is_serving = False
        if self._is_reading_paused and not self._waiting and not self._is_closing:
            self._transport.resume_reading()
            self._is_reading_paused = False

    def _answer(self, request: ReceivedRequest) -> None:
        deployment = self.deployment
        if request.path.startswith(CONTROL_PATH):
            self._control(request, deployment, lambda answer: self._reply_to_control(request, answer))
            return
        observation = deployment.observe(request)
        performance = deployment.respond(request, observation)
        cue = Cue(self, request, performance.faults, performance.headers, observation, deployment.generator)
        answer = performance.answer
        self._exchange = PlainExchange(answer, cue) if isinstance(answer, PlainAnswer) else StreamExchange(answer, cue)
        self._exchange.start()

    def _reply_to_control(self, request: ReceivedRequest, answer: Answer) -> None:
        if self._is_closing or not isinstance(answer, PlainAnswer):
            return
        request = msgspec.structs.replace(request, headers={})
        observation = Recorder(self.deployment.name, 0).arrived(request, 0.0)
        cue = Cue(self, request, HEALTHY, dict(answer.headers), observation, self.deployment.generator)
        self._exchange = PlainExchange(answer, cue)
        self._exchange.start()

    def _refuse_connection(self, refusal: Refusal) -> None:
        """Say why and close; a request being answered comes to its end unheard."""
        self._is_closing = True
        answer = refusal.answer
        if self._exchange is None:
            head = f"HTTP/1.1 {answer.status} \r\ncontent-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}"
            self._transport.write(head.encode() + b"\r\nconnection: close\r\n\r\n" + answer.body)
        self._transport.close()
