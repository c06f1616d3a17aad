"""Lines of the access log: what is read of them, and what a torn or hostile one does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.observer.request_line import UnreadableLineError, Usage, count_of, read_line
from tests.observer.lines import attempt_line, request_line


def test_a_request_is_read() -> None:
    """Who was called, what was reported and what it is called by."""
    line = read_line(request_line(attempts=2, tried={"2": "azure/small", "1": "openai/small"}))
    assert line is not None
    assert (line.decision, line.usage, line.called()) == ("d-1", Usage(120, 30, 20), {1: "openai/small", 2: "azure/small"})


@pytest.mark.parametrize(
    "line", [attempt_line(), b'{"time":"2026-03-01T12:00:00Z","decision":"d","status":200}', b"", b"\0\0 \r"]
)
def test_what_settles_nothing_is_passed_over(line: bytes) -> None:
    """Lines of attempts, of older versions and empty ones are no error."""
    assert read_line(line) is None


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff", b"null", request_line()[:-40], b'{"kind":"request"}'])
def test_what_is_no_line_is_told(line: bytes) -> None:
    """So that somebody counts it."""
    with pytest.raises(UnreadableLineError):
        read_line(line)


@given(cut=st.integers(0, len(request_line("torn"))))
def test_a_torn_line_takes_nothing_of_the_next_with_it(cut: int) -> None:
    """Envoy was killed in the middle of a line, and the next Envoy wrote on behind it."""
    line = read_line(request_line("torn")[:cut] + request_line("whole"))
    assert line is not None
    assert line.decision == "whole" if cut else "torn"


@given(line=st.binary(max_size=200))
def test_any_bytes_are_read_or_told(line: bytes) -> None:
    """Nothing in the file can stop settling."""
    try:
        read = read_line(line)
    except UnreadableLineError:
        return
    assert read is None


@pytest.mark.parametrize("odd", ["x", -1, 1e40, True, [], {}, float("nan"), "", "1e999"])
def test_what_a_provider_reports_cannot_make_a_line_unreadable(odd: Any) -> None:
    """A count that is none is unknown; the line's other fields count."""
    assert count_of(odd) is None
    text = json.dumps({"prompt_tokens": odd, "completion_tokens": 7, "cached_tokens": odd, "billed": {"1": odd, "x": {}}})
    line = read_line(request_line().removesuffix(b"}") + b"," + text.removeprefix("{").encode().replace(b"NaN", b"null"))
    assert line is not None
    assert line.usage == Usage(0, 7, 0)
    assert line.turned_down() == {}


def test_counts_may_be_written_in_other_ways() -> None:
    """Envoy writes numbers of metadata with a fraction, and some of them as text."""
    line = read_line(request_line(prompt_tokens="12", completion_tokens=3.0, cached_tokens=99, attempts="1"))
    assert line is not None
    assert (line.usage, line.attempts) == (Usage(12, 3, 12), 1)


def test_what_was_thought_is_settled_as_answer() -> None:
    """Some providers count it in the total alone, and bill it all the same."""
    line = read_line(request_line(prompt_tokens=32, completion_tokens=9, cached_tokens=None, total_tokens=135.0))
    assert line is not None
    assert line.usage == Usage(32, 103, 0)
    embedding = read_line(request_line(prompt_tokens=8, completion_tokens=None, cached_tokens=None, total_tokens=8))
    assert embedding is not None
    assert embedding.usage == Usage(8)


def test_without_a_list_the_last_attempt_is_known() -> None:
    """An Envoy that was not rendered with the list still says who answered."""
    line = read_line(request_line(tried=None, attempts=2))
    assert line is not None
    assert line.called() == {2: "openai/small"}
    nobody = read_line(request_line(tried=None, attempts=0, deployment=None))
    assert nobody is not None
    assert nobody.called() == {}


def test_what_envoy_turned_away_itself_is_no_trouble() -> None:
    """A line without a decision, as of what is no HTTP, settles nothing and alarms nobody: anybody may cause it."""
    line = b'{"kind":"request","time":"2026-03-01T12:00:00Z","decision":null,"status":400,"details":"http1.codec_error"}'
    assert read_line(line) is None
    with pytest.raises(UnreadableLineError):
        read_line(line.replace(b'"request"', b'"strange"'))
