"""Bodies framed by hand are the messages that protobuf would have built."""

from __future__ import annotations

from envoy.service.ext_proc.v3.external_processor_pb2 import BodyMutation, CommonResponse, HeadersResponse, ProcessingResponse
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.extproc.framing import BODY_IN_BODY_ANSWER, BODY_IN_HEADERS_ANSWER, frame, frame_texts
from router_extproc.extproc.messages import encode_metadata, encode_request_body, encode_request_headers, with_replaced_body
from tests.extproc.conversation import read, said


@given(st.binary(max_size=300) | st.sampled_from([127, 128, 16_383, 16_384, 3_000_000]).map(bytes))
def test_the_frame_is_protobufs_own(body: bytes) -> None:
    """Byte for byte, for sizes on both sides of every length of a length."""
    response = CommonResponse(body_mutation=BodyMutation(body=body))
    built = ProcessingResponse(request_headers=HeadersResponse(response=response)).SerializeToString()
    assert frame(BODY_IN_HEADERS_ANSWER, len(body)) + body == built


def test_the_paths_lead_to_the_body() -> None:
    """A framed body is read as the new body of the answer it was framed for."""
    answer = read(frame(BODY_IN_BODY_ANSWER, 3) + b"abc")
    assert answer.request_body.response.body_mutation.body == b"abc"


def test_a_framed_body_merges_with_the_rest_of_the_answer() -> None:
    """Header changes, the replacement mark and the body are one message to the reader."""
    answer = with_replaced_body(encode_request_headers({"a": "1"}, clear_route_cache=True), b"body")
    assert said(answer) == "request_headers[4] a=1 clear_route_cache"
    assert read(answer).request_headers.response.status == CommonResponse.CONTINUE_AND_REPLACE
    assert said(encode_request_body(b"12345", {"content-length": "5"})) == "request_body[5] content-length=5"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.sampled_from(["x" * 127, "x" * 128, "é" * 20_000])


@given(namespace=texts, values=st.dictionaries(texts, texts, max_size=5))
def test_framed_texts_are_the_metadata_that_protobuf_builds(namespace: str, values: dict[str, str]) -> None:
    """Read by protobuf, texts framed by hand are the same message, and of the same size, as the one it builds itself."""
    framed, built = frame_texts(namespace, values), encode_metadata(namespace, values)
    assert read(framed) == read(built)
    assert len(framed) == len(built)
