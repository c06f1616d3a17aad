"""What is read of an OpenAI body, and the errors written in its shape."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.dialects.openai import read_envelope, read_head, write_error
from router_extproc.errors import BadRequestError, ModelNotFoundError


def body(**members: object) -> bytes:
    return json.dumps(members).encode()


def test_an_ordinary_chat_is_read() -> None:
    """The few members that routing needs are read, payloads stay bytes."""
    content = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    envelope = read_envelope(
        body(model="auto", stream=True, n=2, max_tokens=7, messages=[{"role": "user", "content": content}], unknown={"a": 1})
    )
    assert (envelope.model, envelope.stream, envelope.n, envelope.answer_limit) == ("auto", True, 2, 7)
    assert envelope.messages is not None
    parts = envelope.messages[0].content
    assert isinstance(parts, list)
    assert isinstance(parts[1], msgspec.Struct)
    assert isinstance(parts[1].image_url, msgspec.Raw)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("members", "limit"),
    [
        ({"max_completion_tokens": 5, "max_tokens": 9}, 5),
        ({"max_tokens": 9}, 9),
        ({"max_output_tokens": 3}, 3),
        ({"max_tokens": None}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": "9"}, None),
        ({}, None),
    ],
)
def test_the_answer_limit(members: dict[str, object], limit: int | None) -> None:
    """The caller's limit is the newest of its three names; what is no sensible number is no limit."""
    assert read_envelope(body(model="a", **members)).answer_limit == limit


def test_an_unusual_shape_is_read_as_far_as_possible() -> None:
    """A member that only the provider may understand hides neither its siblings nor the messages beside it."""
    odd = {"role": "user", "content": {"deep": "shape"}}
    envelope = read_envelope(
        body(
            model="a",
            stream="yes",
            max_tokens=7,
            tools=[{"type": "function"}],
            messages=[odd, {"role": "user", "content": "hi"}],
        )
    )
    assert (envelope.model, envelope.stream, envelope.max_tokens) == ("a", None, 7)
    assert envelope.messages is not None
    assert [message.content for message in envelope.messages] == ["hi"]
    assert envelope.opaque is not msgspec.UNSET
    assert [json.loads(bytes(raw)) for raw in envelope.opaque] == [odd]
    assert isinstance(envelope.tools, msgspec.Raw)


@pytest.mark.parametrize("read", [read_envelope, read_head])
def test_a_model_that_is_no_string_is_refused(read: type) -> None:
    """The model must be a string, and the error names the parameter."""
    for value in (1, None, ["a"], {"a": 1}):
        with pytest.raises(BadRequestError, match="must be a string") as raised:
            read(body(model=value))
        assert raised.value.param == "model"


@pytest.mark.parametrize("read", [read_envelope, read_head])
@pytest.mark.parametrize(
    "sent", [b"", b"[1]", b'"x"', b"{", b'{"model": "a", }', b'\xef\xbb\xbf{"model":"a"}', b'{"model":"\xc3"}']
)
def test_what_is_no_object_is_refused(read: type, sent: bytes) -> None:
    """Malformed bodies are a 400 for machines and people."""
    with pytest.raises(BadRequestError) as raised:
        read(sent)
    assert raised.value.code == "invalid_json"


def test_nobody_can_smuggle_opaque_messages() -> None:
    """A body's own member called opaque means nothing."""
    assert read_envelope(body(model="a", opaque=[{"x": 1}])).opaque is msgspec.UNSET


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from([field.name for field in msgspec.structs.fields(type(read_envelope(b'{"model":"a"}')))]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "image_url", "output", "format"]), inner)
            ),
            max_leaves=8,
        ),
    )
)
def test_any_object_with_a_model_can_be_read(members: dict[str, object]) -> None:
    """However odd the other members are, a body with a model is never refused."""
    members["model"] = "m"
    assert read_envelope(body(**members)).model == "m"
    assert read_head(body(**members)).model == "m"


def test_errors_have_openai_s_shape() -> None:
    """SDKs find message, type, param and code where they look for them."""
    written = json.loads(write_error(ModelNotFoundError("The model 'x' does not exist.", param="model")))
    assert written == {
        "error": {
            "message": "The model 'x' does not exist.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
