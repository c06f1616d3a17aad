"""Plays one answer on one connection: waits, writes, stalls, cuts.

Rules: no task and no thread, one timer at most; a stream that waits costs its timer and this object. Whoever ends the
exchange (its own end, a cut, the client's going) ends it once.
"""

from __future__ import annotations

import asyncio
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

from router_extproc.simulator.answers import NOT_BILLED, Answer, Usage
from router_extproc.simulator.faults import Faults, Seconds, draw_seconds
from router_extproc.simulator.received import ReceivedRequest
from router_extproc.simulator.recorder import Observation, Outcome
from router_extproc.simulator.wire import response_head

# What was written must reach the peer before the reset does, or the peer's kernel may throw it away.
SECONDS_BEFORE_CUT = 0.02


class Line(Protocol):
    """The connection as an exchange sees it."""

    is_paused: bool

    def write(self, content: bytes) -> None:
        """Send bytes."""

    def finished(self, *, keep_alive: bool) -> None:
        """Be told that the answer is complete."""

    def close(self) -> None:
        """End the connection in an orderly way."""

    def reset(self) -> None:
        """End the connection with a TCP reset."""


class Cue(NamedTuple):
    """What an exchange starts from, beside the answer."""

    line: Line
    request: ReceivedRequest
    faults: Faults
    headers: dict[str, str]
    """What every answer of this deployment carries; ``response_headers`` are among them."""
    observation: Observation
    generator: random.Random
    """Draws the delays."""


class Exchange(ABC):
    """One answer under way."""

    def __init__(self, cue: Cue) -> None:
        self.line = cue.line
        self.request = cue.request
        self.faults = cue.faults
        self.observation = cue.observation
        self.generator = cue.generator
        self._headers = cue.headers
        self._next: asyncio.Handle | None = None
        self._has_begun = False
        self._is_over = False

    def start(self) -> None:
        """Begin; where nothing has to wait the answer is written when this returns."""
        if self.faults.refuse:
            self.cut()
            return
        delay = draw_seconds(self.faults.latency_ms, self.generator)
        silence = self.seconds_of_silence()
        self.after(delay + (0.0 if self.faults.hang is None else finite(self.faults.hang)), lambda: self._begin(silence))

    def lost(self) -> None:
        """Be told that the client has gone."""
        self.end("client_closed")

    @abstractmethod
    def resumed(self) -> None:
        """Be told that the client reads again."""

    @abstractmethod
    def seconds_of_silence(self) -> float:
        """Return how long the model thinks before the headers."""

    @abstractmethod
    def send(self) -> None:
        """Write the answer."""

    @abstractmethod
    def billed(self) -> Usage:
        """Return what a provider would bill if it ended now; asked only once the model is at work."""

    def after(self, seconds: float, step: Callable[[], None]) -> None:
        """Take the next step when its time has come; an infinite wait never ends."""
        if seconds <= 0:
            step()
        elif seconds < math.inf:
            self._next = asyncio.get_running_loop().call_later(seconds, step)

    def soon(self, step: Callable[[], None]) -> None:
        """Take the next step after everybody else had a turn."""
        self._next = asyncio.get_running_loop().call_soon(step)

    def send_head(self, answer: Answer, framing: dict[str, str], *, is_stream: bool) -> None:
        """Write the response headers."""
        headers = {"content-type": answer.content_type, **framing, **self._headers}
        if not self.keeps_alive:
            headers["connection"] = "close"
        elif not self.request.chunked_answer:
            headers["connection"] = "keep-alive"
        self.observation.answered(answer.status, is_stream=is_stream)
        self.line.write(response_head(answer.status, headers))

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection serves another request afterwards."""
        return self.request.keep_alive

    def compresses(self) -> bool:
        """Tell whether the body goes out as gzip."""
        return self.faults.gzip == "always" or (self.faults.gzip == "asked" and self.request.accepts_gzip())

    def complete(self) -> None:
        """End well."""
        self.end("complete")
        self.line.finished(keep_alive=self.keeps_alive)

    def cut(self) -> None:
        """Break the connection."""
        self.end("cut")
        if self.faults.cut == "close":
            self.line.close()
        else:
            self.line.reset()

    def end(self, outcome: Outcome) -> None:
        """Stop, whatever the reason; a second end is none."""
        if self._is_over:
            return
        self._is_over = True
        if self._next is not None:
            self._next.cancel()
        self.observation.ended(outcome, self.billed() if self._has_begun else NOT_BILLED)

    def _begin(self, silence: float) -> None:
        """The model sets to work: from here on somebody pays."""
        self._has_begun = True
        self.after(silence, self.send)


def finite(wait: Seconds) -> float:
    """Return the wait in seconds, infinity for one that never ends."""
    return math.inf if wait == "forever" else float(wait)
