"""Whether an answer with status 200 is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.dialects.openai_answer import Verdict, judge_answer, judge_stream_start

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b'{"choices":[{"message":{"content":"Hi"}}]}', Verdict.GOOD),
        (b'{"choices":[{"message":{"content":null,"audio":{"id":"x"}}}]}', Verdict.GOOD),
        (b'{"choices":[{"message":{"content":null,"reasoning":"Well"}}]}', Verdict.GOOD),
        (b'{"choices":[{"text":""}]}', Verdict.GOOD),
        (b'{"choices":[{"message":{"content":"Hi"}}],"error":null}', Verdict.GOOD),
        (b'{"error":{"message":"out of memory"}}', Verdict.MALFORMED),
        (b'{"choices":"none"}', Verdict.MALFORMED),
        (b"[]", Verdict.MALFORMED),
        (b'{"choices":[{"message":{"content":""}},{"message":{"content":null}}]}', Verdict.EMPTY),
    ],
)
def test_a_plain_answer(body: bytes, verdict: Verdict) -> None:
    """It says something in one of its choices, and does not tell of an error under a status of success."""
    assert judge_answer(body) is verdict


@pytest.mark.parametrize(
    "event",
    [
        b'{"choices":[{"delta":{"content":"Hi"}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}',
        b'{"choices":[{"delta":{"reasoning":"Well"}}]}',
        b'{"choices":[{"text":"Hi"}]}',
        b'{"choices":[{"delta":{},"finish_reason":"stop"}]}',
    ],
)
def test_a_token_decides(event: bytes) -> None:
    """Text, tool calls, reasoning and a finish reason are tokens, after whatever came before them."""
    assert judge_stream_start(b": wait\n\n" + ROLE + b"data: " + event + b"\n\n", ended=False) is Verdict.GOOD


@pytest.mark.parametrize(
    "event",
    [
        b'{"choices":[]}',
        b'{"choices":null}',
        b'{"choices":[{"delta":null}]}',
        b'{"choices":[{"delta":{"content":null},"text":null}]}',
        b'{"usage":{}}',
    ],
)
def test_an_odd_event_is_neither_token_nor_fault(event: bytes) -> None:
    """Providers begin their streams with all kinds of events: they are waited out."""
    assert judge_stream_start(b"data: " + event + b"\n\n", ended=False) is Verdict.UNDECIDED
    assert judge_stream_start(b"data: " + event + b"\n\n", ended=True) is Verdict.EMPTY


def test_an_error_event_is_no_answer() -> None:
    """A provider that fails after its headers says so in an event."""
    assert judge_stream_start(b'data: {"error":{"message":"overloaded"}}\n\n', ended=False) is Verdict.MALFORMED


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_get_a_verdict(seen: bytes, ended: bool) -> None:  # noqa: FBT001 - drawn, not passed
    """Foreign bytes never raise, and an ended stream is never left undecided."""
    assert isinstance(judge_answer(seen), Verdict)
    verdict = judge_stream_start(b"data: " + seen, ended=ended)
    assert not (ended and verdict is Verdict.UNDECIDED)
