"""Events whose data are bare JSON values would end Envoy: they never get as far, and everything else does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.envoyconf.providers import EVENTS, Answer, Providers, stream
from tests.envoyconf.running import Envoy
from tests.envoyconf.tickets import ticket

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "auto", "messages": []}
FIRST, DONE = b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"
COMMENT = b": data that were no object"

pytestmark = pytest.mark.end_to_end


def asked(client: httpx.Client, providers: Providers, *pieces: bytes, **more: Any) -> bytes:
    """What the client reads of a stream of these pieces."""
    providers.reset(a=stream(*pieces, **more))
    answer = client.post(CHAT, json=BODY, headers=ticket("a", stream=True))
    assert answer.status_code == 200
    return answer.content


@pytest.mark.parametrize(
    "line",
    [
        b"data: 1", b"data:1", b"data: -1.5e3 ", b"data: null", b"data: true", b"data:\tfalse", b'data: "a"', b'data: "a\\"b" ',
        b'data: ""', b"\xef\xbb\xbfdata: 1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_bare_values_are_left_out(client: httpx.Client, live: Envoy, providers: Providers, line: bytes, end: bytes) -> None:
    """As the first event and as a later one; what stands around them arrives, and Envoy goes on."""
    mark = b"\xef\xbb\xbf" if line.startswith(b"\xef") else b""
    left_out = mark + COMMENT + end
    assert asked(client, providers, line + end, FIRST, line + end + DONE) == left_out + FIRST + left_out + DONE
    assert live.process.poll() is None


@pytest.mark.parametrize("line", [b"data: 12", b'data: "a"', b"data: null"])
def test_it_does_not_matter_where_a_stream_is_cut(client: httpx.Client, live: Envoy, providers: Providers, line: bytes) -> None:
    """Byte by byte the same comes out; the end of the answer ends a line as well."""
    whole = FIRST + line + b"\n\n" + DONE
    pieces = [whole[place : place + 1] for place in range(len(whole))]
    assert asked(client, providers, *pieces, pause=0.002) == FIRST + COMMENT + b"\n\n" + DONE
    assert asked(client, providers, DONE, line) == DONE + COMMENT
    assert live.process.poll() is None


@pytest.mark.parametrize(
    "line",
    [
        b"data: text", b"data: [1]", b"data: {}", b"data:", b"data", b"data: true story", b'data: "a" and "b', b"data: 1 2",
        b"event: 1", b"id: 1", b": 1", b"1", b"metadata: 1", b"dat", b"data: nul",
    ],
)  # fmt: skip
def test_everything_else_arrives_as_it_was_sent(client: httpx.Client, live: Envoy, providers: Providers, line: bytes) -> None:
    """Whole, and cut within the line."""
    for pieces in ((line + b"\n\n", DONE), (FIRST + line[:2], line[2:] + b"\n\n" + DONE), (line, b"\n\n" + DONE)):
        assert asked(client, providers, *pieces, pause=0.01) == b"".join(pieces)
    assert asked(client, providers, DONE, line) == DONE + line
    assert live.process.poll() is None


def test_an_endless_text_is_not_held(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """A bare text that is longer than is held back goes on as a comment."""
    text = b'data: "' + b"x" * 100_000
    pieces = [text[place : place + 10_000] for place in range(0, len(text), 10_000)]
    assert asked(client, providers, *pieces, b'"\n\n' + DONE, pause=0.005) == b":" + text + b'"\n\n' + DONE
    assert live.process.poll() is None


LOUD = (("content-type", "Text/Event-Stream; charset=utf-8"),)
NOT_PACKED = (*EVENTS, ("content-encoding", "gzip"))


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [(200, LOUD, 200), (200, NOT_PACKED, 503), (201, EVENTS, 201), (404, EVENTS, 404), (404, LOUD, 404), (500, LOUD, 500)],
)
def test_nor_do_other_answers_end_envoy(
    client: httpx.Client, live: Envoy, providers: Providers, *, status: int, headers: tuple[tuple[str, str], ...], told: int
) -> None:
    """Neither errors that call themselves streams, nor streams that call themselves what they are not."""
    providers.reset(a=Answer((b"data: 1\n\n",), status=status, headers=headers))
    assert client.post(CHAT, json=BODY, headers=ticket("a", stream=True)).status_code == told
    assert client.post(CHAT, json=BODY, headers=ticket("b")).status_code == 200
    assert live.process.poll() is None
