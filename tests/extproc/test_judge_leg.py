"""The judging attempt leg as a conversation: what Envoy says, what the leg answers."""

from __future__ import annotations

from typing import Any

import pytest

from router_extproc.extproc.judge_leg import MOST_HELD_BYTES, JudgeLeg
from tests.extproc.conversation import metadata, read, request_headers, response_body, response_headers, said

GROUPS = [{"name": "a"}, {"name": "b"}]
OK_STREAM = {":status": "200", "content-type": "text/event-stream"}
OK_JSON = {":status": "200", "content-type": "application/json"}
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
TOKEN = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'


def started(attempt: int = 1, **ticket: Any) -> JudgeLeg:
    """A leg that has seen its request."""
    leg = JudgeLeg(lambda: True)
    headers = {"x-envoy-attempt-count": str(attempt), "content-type": "application/json"}
    leg.receive(request_headers(headers, ticket={"priority_groups": GROUPS, **ticket}, cluster="b"))
    return leg


def test_a_stream_is_held_until_its_first_token_and_then_passes_untouched() -> None:
    """Headers wait for the first token; the role alone is none; what was held goes out in order."""
    leg = started(stream=True, first_token_ms=500)
    assert leg.receive(response_headers(OK_STREAM)) == []
    assert leg.silence_ms == 500
    assert leg.receive(response_body(ROLE)) == []
    assert [said(answer) for answer in leg.receive(response_body(TOKEN))] == [
        "response_headers",
        "response_body",
        "response_body",
    ]
    assert leg.silence_ms is None
    assert [said(answer) for answer in leg.receive(response_body(b"data: [DONE]\n\n", end=True))] == ["response_body"]


def test_a_token_split_over_pieces_is_seen() -> None:
    """An event cut anywhere still counts once it is whole."""
    leg = started(stream=True, first_token_ms=500)
    leg.receive(response_headers(OK_STREAM))
    assert leg.receive(response_body(TOKEN[:20])) == []
    assert len(leg.receive(response_body(TOKEN[20:]))) == 3


def test_silence_moves_the_stream_to_the_next_attempt() -> None:
    """When the time for the first token is over, the headers become a status that Envoy retries, marked with the cause."""
    leg = started(stream=True, first_token_ms=500)
    leg.receive(response_headers(OK_STREAM))
    leg.receive(response_body(ROLE))
    assert [said(answer) for answer in leg.silent()] == [
        "response_headers :status=503 x-router-cause=first_token_timeout -content-length",
        f"response_body[{len(read_body(leg_error('first_token_timeout')))}]",
    ]


def leg_error(cause: str) -> list[bytes]:
    leg = started(stream=True, first_token_ms=1)
    leg.receive(response_headers(OK_STREAM))
    leg.receive(response_body(ROLE))
    answers = leg.silent()
    assert cause.encode() in answers[0]
    return answers


def read_body(answers: list[bytes]) -> bytes:
    return bytes(read(answers[1]).response_body.response.body_mutation.body)


def test_the_last_attempt_of_a_silent_stream_is_left_to_the_idle_timeout() -> None:
    """There is nowhere to go: the stream passes as it is."""
    leg = started(attempt=2, stream=True, first_token_ms=500)
    leg.receive(response_headers(OK_STREAM))
    assert [said(answer) for answer in leg.silent()] == ["response_headers"]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "empty_answer"),
        (b"  ", "empty_answer"),
        (b'{"choices": [{"mess', "malformed_answer"),
        (b"<html>", "malformed_answer"),
        (b'{"choices": []}', "empty_answer"),
        (b'{"choices": [{"message": {"content": ""}}]}', "empty_answer"),
        (b'{"choices": [{"message": {"content": null}}]}', "empty_answer"),
    ],
)
def test_an_answer_that_is_none_is_retried(body: bytes, cause: str) -> None:
    """Empty and malformed answers become 503 with their cause while another attempt is left."""
    leg = started(check="1")
    leg.receive(response_headers(OK_JSON))
    [headers, _] = leg.receive(response_body(body, end=True))
    assert said(headers) == f"response_headers :status=503 x-router-cause={cause} -content-length"


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "Hi"}}]}',
        b'{"choices": [{"message": {"content": null, "tool_calls": [{"id": "x"}]}}]}',
        b'{"choices": [{"message": {"content": null, "refusal": "No."}}]}',
        b'{"object": "list", "data": []}',
    ],
)
def test_a_good_answer_passes_untouched(body: bytes) -> None:
    """Text, tool calls, refusals and other APIs' answers are answers."""
    leg = started(check="1")
    leg.receive(response_headers(OK_JSON))
    assert leg.receive(response_body(body[:7])) == []
    assert [said(answer) for answer in leg.receive(response_body(body[7:], end=True))] == [
        "response_headers", "response_body", "response_body",
    ]  # fmt: skip


def test_the_last_attempts_bad_answer_becomes_an_honest_error() -> None:
    """With nowhere to go the client gets 502 in its own API's shape, and Envoy is told not to retry."""
    leg = started(attempt=2, check="1")
    leg.receive(response_headers(OK_JSON))
    [headers, body] = leg.receive(response_body(b"{", end=True))
    assert ":status=502" in said(headers)
    assert "x-envoy-ratelimited=true" in said(headers)
    assert b'"code":"malformed_answer"' in read(body).response_body.response.body_mutation.body


def test_an_empty_answer_without_a_body_is_seen_in_the_headers() -> None:
    """No body message follows content-length: 0, so the verdict falls with the headers."""
    leg = started(check="1")
    [answer] = leg.receive(response_headers(OK_JSON, end=True))
    assert ":status=503 x-router-cause=empty_answer" in said(answer)


def test_the_last_empty_answer_without_a_body_gets_one() -> None:
    """No piece is there to hold the error, so the answer to the headers brings it."""
    leg = started(attempt=2, check="1")
    [answer] = leg.receive(response_headers(OK_JSON, end=True))
    assert ":status=502" in said(answer)
    assert b'"code":"empty_answer"' in read(answer).response_headers.response.body_mutation.body


@pytest.mark.parametrize("status", ["400", "429", "500"])
def test_errors_are_envoys_to_judge(status: str) -> None:
    """Only a 200 is looked at."""
    leg = started(check="1", stream=True, first_token_ms=500)
    assert [said(answer) for answer in leg.receive(response_headers({":status": status}))] == ["response_headers"]
    assert leg.silence_ms is None


def test_a_stream_that_is_broken_before_its_first_token_is_retried() -> None:
    """A malformed first event, or an end without any token, is a failed attempt where the route asks for the check."""
    for pieces, cause in (([b"data: {oops\n\n"], "malformed_answer"), ([ROLE, b"data: [DONE]\n\n"], "empty_answer")):
        leg = started(check="1", stream=True)
        leg.receive(response_headers(OK_STREAM))
        answers: list[bytes] = []
        for index, piece in enumerate(pieces):
            answers += leg.receive(response_body(piece, end=index == len(pieces) - 1))
        assert f":status=503 x-router-cause={cause}" in said(answers[0])


def test_an_answer_compressed_in_another_way_is_not_judged() -> None:
    """What cannot be read is passed on, not turned down."""
    leg = started(check="1")
    assert [said(answer) for answer in leg.receive(response_headers(OK_JSON | {"content-encoding": "br"}))] == [
        "response_headers"
    ]
    assert [said(answer) for answer in leg.receive(response_body(b"\x1f\x8b", end=True))] == ["response_body"]


def test_no_answer_is_held_without_end() -> None:
    """Beyond what a worker may hold, the answer passes as it is."""
    leg = started(check="1")
    leg.receive(response_headers(OK_JSON))
    half = b" " * (MOST_HELD_BYTES // 2)
    assert [leg.receive(response_body(half)) for _ in range(2)] == [[], []]
    assert leg.held_bytes == MOST_HELD_BYTES
    answers = [said(answer) for answer in leg.receive(response_body(half))]
    assert answers == ["response_headers", "response_body", "response_body", "response_body"]


def test_a_worker_without_room_holds_nothing() -> None:
    """What cannot be held cannot be judged: it passes, and the leg forgets it."""
    leg = JudgeLeg(lambda: False)
    leg.receive(request_headers({"x-envoy-attempt-count": "1"}, ticket={"priority_groups": GROUPS, "check": "1"}))
    leg.receive(response_headers(OK_JSON))
    assert [said(answer) for answer in leg.receive(response_body(b"{"))] == ["response_headers", "response_body"]
    assert leg.held_bytes == 0


def test_without_a_ticket_the_leg_changes_nothing() -> None:
    """A request that no worker decided is not judged either."""
    leg = JudgeLeg(lambda: True)
    assert [said(answer) for answer in leg.receive(request_headers({"x-envoy-attempt-count": "1"}))] == ["request_headers"]
    assert [said(answer) for answer in leg.receive(response_headers(OK_JSON))] == ["response_headers"]
    assert [said(answer) for answer in leg.receive(response_body(b"anything"))] == ["response_body"]


EMPTY_ANSWER = b'{"choices":[{"message":{"content":""}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}'
EMPTY_STREAM = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize(
    ("headers", "pieces"),
    [(OK_JSON, [EMPTY_ANSWER]), (OK_JSON, [EMPTY_ANSWER[:30], EMPTY_ANSWER[30:]]), (OK_STREAM, [ROLE, EMPTY_STREAM])],
)
def test_what_was_turned_down_is_still_paid_for(headers: dict[str, str], pieces: list[bytes], attempt: int) -> None:
    """The log learns what the provider counted, by the attempt, whether another follows or not."""
    leg = started(attempt, check="1", stream=headers is OK_STREAM)
    leg.receive(response_headers(headers))
    answers = [answer for piece in pieces for answer in leg.receive(response_body(piece, end=piece is pieces[-1]))]
    assert metadata(answers[0]) == {
        "router.billed": {str(attempt): {"prompt_tokens": 9.0, "completion_tokens": 2.0, "cached_tokens": 0.0}}
    }
    assert "x-router-cause=empty_answer" in said(answers[0])


@pytest.mark.parametrize(
    ("headers", "piece", "kind"), [(OK_JSON, b"half a", "answer"), (OK_STREAM, b"data: half a\n\n", "stream")]
)
def test_what_tells_no_usage_is_told_as_such(headers: dict[str, str], piece: bytes, kind: str) -> None:
    """It was made all the same: whoever settles estimates what it cost."""
    leg = started(check="1", stream=headers is OK_STREAM)
    leg.receive(response_headers(headers))
    [answer, _] = leg.receive(response_body(piece, end=True))
    assert metadata(answer) == {"router.billed": {"1": {"unreported": kind}}}


def test_a_silent_stream_is_told_as_one_without_usage() -> None:
    """The prompt was read, although nothing came of it."""
    assert metadata(leg_error("first_token_timeout")[0]) == {"router.billed": {"1": {"unreported": "stream"}}}
