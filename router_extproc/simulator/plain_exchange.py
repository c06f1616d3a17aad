"""An answer sent whole, unless a fault stops amid it."""

from __future__ import annotations

from router_extproc.simulator.answers import PlainAnswer, Usage
from router_extproc.simulator.exchange import SECONDS_BEFORE_CUT, Cue, Exchange, finite
from router_extproc.simulator.faults import draw_seconds
from router_extproc.simulator.wire import gzipped


class PlainExchange(Exchange):
    """One body."""

    def __init__(self, answer: PlainAnswer, cue: Cue) -> None:
        super().__init__(cue)
        self._answer = answer

    def seconds_of_silence(self) -> float:
        """A whole answer comes when its last token is there."""
        tokens = self._answer.usage.completion_tokens
        if not tokens:
            return 0.0
        gaps = sum(draw_seconds(self.faults.inter_token_ms, self.generator) for _ in range(tokens - 1))
        return draw_seconds(self.faults.first_token_ms, self.generator) + gaps

    def send(self) -> None:
        """Write headers and body."""
        body = self._answer.body
        framing = {}
        if body and self.compresses():
            body = gzipped(body)
            framing["content-encoding"] = "gzip"
        framing["content-length"] = str(len(body))
        self.send_head(self._answer, framing, is_stream=False)
        if self.request.method == "HEAD":
            self.complete()
        elif (cut_after := self.faults.cut_after_tokens) is not None:
            self.line.write(body[: self._share(body, cut_after)])
            self.after(SECONDS_BEFORE_CUT, self.cut)
        elif (stall_after := self.faults.stall_after_tokens) is not None:
            share = self._share(body, stall_after)
            self.line.write(body[:share])
            self.after(finite(self.faults.stall), lambda: self._send_rest(body[share:]))
        else:
            self._send_rest(body)

    def resumed(self) -> None:
        """Nothing to do: all of it was handed to the connection at once."""

    def billed(self) -> Usage:
        """All of it: a whole answer is made to its end, whether or not its client still waits."""
        return self._answer.usage

    def _send_rest(self, rest: bytes) -> None:
        self.line.write(rest)
        self.observation.tokens_sent = self._answer.usage.completion_tokens
        self.complete()

    def _share(self, body: bytes, tokens: int) -> int:
        """Return how many bytes stand for so many tokens, never all."""
        whole = max(1, self._answer.usage.completion_tokens)
        return min(len(body) * tokens // whole, max(0, len(body) - 1))
