"""The unpacking attempt leg as a conversation."""

from __future__ import annotations

import gzip

import pytest

from router_extproc.extproc.compression import UnreadableError
from router_extproc.extproc.unpack_leg import UnpackLeg
from tests.extproc.conversation import read, response_body, response_headers, said

PLAIN = b"data: {}\n\ndata: [DONE]\n\n"


def test_the_answer_becomes_plain_piece_by_piece() -> None:
    """Each piece is answered by what it adds, and no header speaks of compression or of a length."""
    leg = UnpackLeg()
    headers = leg.receive(response_headers({":status": "200", "content-encoding": "gzip", "content-length": "9"}))
    assert said(headers) == "response_headers -content-encoding -content-length"
    packed = gzip.compress(PLAIN)
    answers = [leg.receive(response_body(packed[:20])), leg.receive(response_body(packed[20:], end=True))]
    assert b"".join(read(answer).response_body.response.body_mutation.body for answer in answers) == PLAIN
    assert all(read(answer).response_body.response.HasField("body_mutation") for answer in answers)


def test_what_is_no_gzip_breaks_off() -> None:
    """The conversation fails, and with it the answer: it is not passed on as if it were plain."""
    leg = UnpackLeg()
    leg.receive(response_headers({":status": "200", "content-encoding": "gzip"}))
    with pytest.raises(UnreadableError):
        leg.receive(response_body(b"not gzip at all"))
