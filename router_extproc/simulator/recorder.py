"""What a deployment remembers: its last requests, and counters since it started."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from typing import Literal

import msgspec

from router_extproc.simulator.answers import NOT_BILLED, Usage
from router_extproc.simulator.faults import HEALTHY, Faults
from router_extproc.simulator.received import ReceivedRequest

LARGEST_KEPT_BODY = 64 * 1024

Outcome = Literal["open", "complete", "cut", "client_closed"]


class RecordedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request as ``GET /_simulator/requests`` shows it."""

    number: int
    """Counts from 1 within the deployment."""
    deployment: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    """In the order and case they came in, credentials included."""
    body_bytes: int
    body_base64: str | None
    """``None`` above 64 KiB."""
    body_sha256: str
    received_at: float
    """Unix seconds."""
    status: int | None
    """``None`` while no header has been sent."""
    outcome: Outcome
    tokens_sent: int
    """Tokens that left before the end, the cut or the client's going."""
    billed: Usage
    faults: Faults

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def body(self) -> bytes:
        """Return the body.

        Raises:
            ValueError: it was too large to be kept.
        """
        if self.body_base64 is None:
            raise ValueError(f"a body of {self.body_bytes} bytes is recorded by its SHA-256 only")
        return base64.b64decode(self.body_base64)


class Statistics(msgspec.Struct, kw_only=True):
    """Counters of one deployment since its start or the last reset; ``open_*`` are levels."""

    requests: int = 0
    by_status: dict[int, int] = {}
    by_outcome: dict[str, int] = {}
    connections: int = 0
    """Connections accepted so far."""
    open_requests: int = 0
    open_streams: int = 0
    """Streams whose headers are out and whose end is not."""
    peak_open_requests: int = 0
    peak_open_streams: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Observation:
    """One request from arrival to end, as it is told to the counters."""

    def __init__(self, number: int, request: ReceivedRequest, received_at: float, statistics: Statistics) -> None:
        self.number = number
        self.received_at = received_at
        self.status: int | None = None
        self.outcome: Outcome = "open"
        self.tokens_sent = 0
        self.billed = NOT_BILLED
        self.faults = HEALTHY
        self.request = request
        self.body_bytes = len(request.body)
        self.body_sha256: str | None = None
        self.statistics = statistics
        self._is_stream = False
        statistics.requests += 1
        statistics.open_requests += 1
        statistics.peak_open_requests = max(statistics.peak_open_requests, statistics.open_requests)

    def answered(self, status: int, *, is_stream: bool) -> None:
        """Note that the response headers are out."""
        self.status = status
        self._is_stream = is_stream
        statistics = self.statistics
        statistics.by_status[status] = statistics.by_status.get(status, 0) + 1
        if is_stream:
            statistics.open_streams += 1
            statistics.peak_open_streams = max(statistics.peak_open_streams, statistics.open_streams)

    def ended(self, outcome: Outcome, billed: Usage) -> None:
        """Note the end, whoever brought it about, and what is billed for what was sent."""
        self.outcome = outcome
        self.billed = billed
        statistics = self.statistics
        statistics.open_requests -= 1
        statistics.by_outcome[outcome] = statistics.by_outcome.get(outcome, 0) + 1
        if self._is_stream:
            statistics.open_streams -= 1
        statistics.prompt_tokens += billed.prompt_tokens
        statistics.cached_tokens += billed.cached_tokens
        statistics.completion_tokens += billed.completion_tokens

    def let_go_of_large_body(self) -> None:
        """Keep the hash in place of a body above 64 KiB."""
        if self.body_bytes > LARGEST_KEPT_BODY:
            self.body_sha256 = hashlib.sha256(self.request.body).hexdigest()
            self.request = msgspec.structs.replace(self.request, body=b"")


class Recorder:
    """Keeps the last ``limit`` requests (none where ``limit`` is 0) and the counters."""

    def __init__(self, deployment: str, limit: int) -> None:
        self._deployment = deployment
        self._kept: deque[Observation] = deque(maxlen=limit)
        self._number = 0
        self.statistics = Statistics()

    def arrived(self, request: ReceivedRequest, received_at: float) -> Observation:
        """Note a request; ``received_at`` is in Unix seconds."""
        self._number += 1
        observation = Observation(self._number, request, received_at, self.statistics)
        if self._kept.maxlen:
            observation.let_go_of_large_body()
            self._kept.append(observation)
        return observation

    def requests(self) -> list[RecordedRequest]:
        """Return what is kept, oldest first."""
        return [_shown(observation, self._deployment) for observation in self._kept]

    def reset(self) -> None:
        """Forget all requests and set the counters to nothing; what is open now ends unseen by them."""
        self._kept.clear()
        self.statistics = Statistics()


def _shown(observation: Observation, deployment: str) -> RecordedRequest:
    request = observation.request
    is_whole = observation.body_sha256 is None
    return RecordedRequest(
        number=observation.number,
        deployment=deployment,
        method=request.method,
        path=request.path,
        query=request.query,
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers],
        body_bytes=observation.body_bytes,
        body_base64=base64.b64encode(request.body).decode() if is_whole else None,
        body_sha256=observation.body_sha256 or hashlib.sha256(request.body).hexdigest(),
        received_at=observation.received_at,
        status=observation.status,
        outcome=observation.outcome,
        tokens_sent=observation.tokens_sent,
        billed=observation.billed,
        faults=observation.faults,
    )
