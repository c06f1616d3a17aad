"""The attempt leg that judges: an answer is held until it has proved to be one, and only then shown to the client.

A stream that stays silent, an empty or a malformed answer becomes a status that Envoy retries; on the last attempt it
becomes an honest error. What was found good is passed on untouched, piece by piece. What an answer that was turned down
says of its tokens is told to the log: somebody has to pay for it all the same.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from google.protobuf.struct_pb2 import Struct

from router_extproc.dialects.openai import write_error
from router_extproc.dialects.openai_answer import Verdict, judge_answer, judge_stream_start
from router_extproc.dialects.openai_usage import read_stream_usage, read_usage
from router_extproc.errors import BadAnswerError
from router_extproc.extproc.messages import (
    BILLED_NAMESPACE,
    RESPONSE_BODY_UNCHANGED,
    RESPONSE_HEADERS_UNCHANGED,
    encode_metadata,
    encode_request_headers,
    encode_response_body,
    encode_response_headers,
    headers_of,
    ticket_of,
)

# An answer this long is not empty, and to know whether it is whole is not worth more of a worker's memory.
MOST_HELD_BYTES = 1 << 20

CAUSE_HEADER = "x-router-cause"
FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a cause of failure, not a credential
BAD_ANSWER = {Verdict.EMPTY: "empty_answer", Verdict.MALFORMED: "malformed_answer"}

_MESSAGES = {
    FIRST_TOKEN_TIMEOUT: "The provider's stream stayed silent for too long.",
    "empty_answer": "The provider sent an empty answer.",
    "malformed_answer": "The provider sent an answer that cannot be read.",
}


class Phase(enum.Enum):
    """Where the conversation stands."""

    REQUEST = "request"
    JUDGING = "judging"
    PASSING = "passing"
    REPLACED = "replaced"


class JudgeLeg:
    """The conversation about one attempt's answer. ``silence_ms`` asks the caller to call ``silent`` when it has passed.

    ``has_room`` says whether the worker may hold more; where it may not, the answer passes as it is.
    """

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self._phase = Phase.REQUEST
        self._check = False
        self._first_token_ms: float = 0
        self._is_stream = False
        self._attempt = "1"
        self._is_last = True
        self._held: list[bytes] = []
        self.held_bytes = 0
        self._has_body = True

    @property
    def silence_ms(self) -> float | None:
        """How long the answer may stay silent from its headers on, in milliseconds, while it is being judged."""
        return self._first_token_ms or None if self._phase is Phase.JUDGING else None

    def receive(self, message: ProcessingRequest) -> list[bytes]:
        """Takes one message and returns the answers that are due now, in order; none while an answer is judged."""
        kind = message.WhichOneof("request")
        if kind == "request_headers":
            return [self._take_request(message)]
        if kind == "response_headers":
            return self._take_response(message)
        return self._take_piece(message.response_body.body, last=message.response_body.end_of_stream)

    def silent(self) -> list[bytes]:
        """The time for the first token is over: the next attempt, where there is one, else the idle timeout's business."""
        return self._turn_down(FIRST_TOKEN_TIMEOUT) if self._phase is Phase.JUDGING and not self._is_last else self._pass()

    def _take_request(self, message: ProcessingRequest) -> bytes:
        fields = (ticket_of(message) or Struct()).fields
        self._check = fields["check"].string_value == "1" if "check" in fields else False
        if "first_token_ms" in fields and fields["stream"].bool_value:
            self._first_token_ms = fields["first_token_ms"].number_value
        attempt = headers_of(message.request_headers).get("x-envoy-attempt-count", "1")
        groups = len(fields["priority_groups"].list_value.values) if "priority_groups" in fields else 1
        self._attempt = attempt
        self._is_last = not attempt.isdecimal() or int(attempt) >= groups
        return encode_request_headers({})

    def _take_response(self, message: ProcessingRequest) -> list[bytes]:
        headers = headers_of(message.response_headers)
        # Unpacked already, or packed in a way that cannot be read here: then it is passed on.
        readable = headers.get("content-encoding", "identity") == "identity"
        judged = headers.get(":status") == "200" and readable and (self._check or self._first_token_ms > 0)
        if not judged:
            self._phase = Phase.PASSING
            return [RESPONSE_HEADERS_UNCHANGED]
        self._phase = Phase.JUDGING
        self._is_stream = headers.get("content-type", "").startswith("text/event-stream")
        self._has_body = not message.response_headers.end_of_stream
        return [] if self._has_body else self._conclude(Verdict.EMPTY)

    def _take_piece(self, piece: bytes, *, last: bool) -> list[bytes]:
        if self._phase is Phase.PASSING:
            return [RESPONSE_BODY_UNCHANGED]
        if self._phase is Phase.REPLACED:
            return [encode_response_body(b"")]
        self._held.append(piece)
        self.held_bytes += len(piece)
        if self.held_bytes > MOST_HELD_BYTES or not self._has_room():
            return self._pass()
        if self._is_stream:
            return self._conclude(judge_stream_start(b"".join(self._held), ended=last))
        return self._conclude(judge_answer(b"".join(self._held)) if last else Verdict.UNDECIDED)

    def _conclude(self, verdict: Verdict) -> list[bytes]:
        if verdict is Verdict.UNDECIDED:
            return []
        if verdict is Verdict.GOOD or not self._check:
            return self._pass()
        return self._turn_down(BAD_ANSWER[verdict])

    def _pass(self) -> list[bytes]:
        """Releases what was held, untouched."""
        if self._phase is not Phase.JUDGING:
            return []
        self._phase = Phase.PASSING
        held = self._release()
        return [RESPONSE_HEADERS_UNCHANGED, *[RESPONSE_BODY_UNCHANGED] * len(held)]

    def _release(self) -> list[bytes]:
        held, self._held, self.held_bytes = self._held, [], 0
        return held

    def _turn_down(self, cause: str) -> list[bytes]:
        """Makes Envoy try the next group; on the last one the client learns what happened instead of half an answer."""
        self._phase = Phase.REPLACED
        held = self._release()
        billed = self._billed(b"".join(held))
        error = write_error(BadAnswerError(_MESSAGES[cause], code=cause))
        headers = {":status": "503", CAUSE_HEADER: cause}
        if self._is_last:
            headers = {":status": "502", CAUSE_HEADER: cause, "content-type": "application/json", "x-envoy-ratelimited": "true"}
        pieces = [encode_response_body(error if index == 0 else b"") for index in range(len(held))]
        body = None if self._has_body else error
        return [billed + encode_response_headers(headers, ["content-length"], body), *pieces]

    def _billed(self, answer: bytes) -> bytes:
        """What the provider counted for this attempt, as far as its answer says so, for the log; else that it did not say."""
        usage = read_stream_usage(answer) if self._is_stream else read_usage(answer)
        told = {"unreported": "stream" if self._is_stream else "answer"} if usage is None else msgspec.structs.asdict(usage)
        return encode_metadata(BILLED_NAMESPACE, {self._attempt: told})
