"""An answer sent as server-sent events, step by step."""

from __future__ import annotations

import msgspec

from router_extproc.simulator.answers import StreamAnswer, Usage
from router_extproc.simulator.exchange import SECONDS_BEFORE_CUT, Cue, Exchange, finite
from router_extproc.simulator.faults import draw_seconds
from router_extproc.simulator.wire import LAST_CHUNK, GzipStream, chunk

# Steps rendered before the loop gets its turn; only then does a connection learn that its client does not keep up.
_STEPS_PER_TURN = 64


class StreamExchange(Exchange):
    """Server-sent events; the timer holds the next step."""

    def __init__(self, answer: StreamAnswer, cue: Cue) -> None:
        super().__init__(cue)
        self._answer = answer
        self._step = 0
        self._has_stalled = self.faults.stall_after_tokens is None
        self._is_blocked = False
        self._unsent: list[bytes] = []
        self._gzip = GzipStream() if self.compresses() else None

    @property
    def keeps_alive(self) -> bool:
        """Without chunks only the end of the connection tells the end of the answer."""
        return self.request.keep_alive and self.request.chunked_answer

    def seconds_of_silence(self) -> float:
        """A stream opens at once and waits for its first token afterwards."""
        return 0.0

    def send(self) -> None:
        """Write the headers, and the first token when its time has come."""
        framing = {"cache-control": "no-cache"}
        if self._gzip is not None:
            framing["content-encoding"] = "gzip"
        if self.request.chunked_answer:
            framing["transfer-encoding"] = "chunked"
        self.send_head(self._answer, framing, is_stream=True)
        self.after(draw_seconds(self.faults.first_token_ms, self.generator), self._advance)

    def resumed(self) -> None:
        """Go on where the client's slowness stopped the stream."""
        if self._is_blocked:
            self._is_blocked = False
            self._advance()

    def billed(self) -> Usage:
        """Only what was generated: a provider stops when the client goes."""
        whole = self._answer.usage
        if self._step >= self._answer.tokens:
            return whole
        made = whole.completion_tokens * self._step // self._answer.tokens
        return msgspec.structs.replace(whole, completion_tokens=made)

    def _advance(self) -> None:
        faults, answer = self.faults, self._answer
        while True:
            if self.line.is_paused:
                self._is_blocked = True
                return
            is_at_end = self._step >= answer.tokens
            if not self._has_stalled and (is_at_end or self._step == faults.stall_after_tokens):
                self._has_stalled = True
                self._flush()
                self.after(finite(faults.stall), self._advance)
                return
            if faults.cut_after_tokens is not None and (is_at_end or self._step == faults.cut_after_tokens):
                self._flush()
                self.after(SECONDS_BEFORE_CUT, self.cut)
                return
            if is_at_end:
                self._finish()
                return
            self._render_step()
            delay = draw_seconds(faults.inter_token_ms, self.generator)
            if delay > 0:
                self._flush()
                self.after(delay, self._advance)
                return
            if len(self._unsent) >= _STEPS_PER_TURN:
                self._flush()
                self.soon(self._advance)
                return

    def _render_step(self) -> None:
        if self._step == 0:
            self._unsent.append(self._answer.opening)
        self._unsent.append(self._answer.token(self._step))
        self._step += 1
        self.observation.tokens_sent = self._step

    def _finish(self) -> None:
        if self._step == 0:
            self._unsent.append(self._answer.opening)
        self._unsent += (self._answer.finish, self._answer.done)
        self._flush()
        if self._gzip is not None:
            self._write(self._gzip.end())
        if self.request.chunked_answer:
            self.line.write(LAST_CHUNK)
        self.complete()

    def _flush(self) -> None:
        content = b"".join(self._unsent)
        self._unsent.clear()
        if content:
            self._write(self._gzip.part(content) if self._gzip is not None else content)

    def _write(self, content: bytes) -> None:
        self.line.write(chunk(content) if self.request.chunked_answer else content)
