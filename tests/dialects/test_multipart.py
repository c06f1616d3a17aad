"""Forms as bytes: the model field is found and replaced among binary parts that look like anything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.dialects.openai import read_multipart_fields, read_multipart_model, splice_multipart_model
from router_extproc.errors import BadRequestError

BOUNDARY = "----form-7MA4YWx"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(headers: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


FIELD = 'Content-Disposition: form-data; name="model"'
FILE = 'Content-Disposition: form-data; name="file"; filename="model.wav"\r\nContent-Type: audio/wav'


@settings(max_examples=200)
@given(before=st.binary(max_size=80), after=st.binary(max_size=80), new=st.text(min_size=1, max_size=20))
def test_only_the_field_changes(before: bytes, after: bytes, new: str) -> None:
    """Whatever bytes the files hold, the field's value alone is replaced."""
    files = [part(FILE, content.replace(BOUNDARY.encode(), b"")) for content in (before, after)]
    body = form(files[0], part(FIELD, b"whisper-1"), files[1])
    assert read_multipart_model(TYPE, body) == "whisper-1"
    assert splice_multipart_model(TYPE, body, new) == form(files[0], part(FIELD, new.encode()), files[1])


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        (f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"', FIELD),
        (f"Multipart/Form-Data;BOUNDARY={BOUNDARY}", FIELD),
        (TYPE, "content-type: text/plain\r\ncontent-disposition: form-data; name=model"),
        (TYPE, FIELD + "\r\nContent-Type: text/plain; charset=utf-8"),
    ],
)
def test_spellings_of_headers(content_type: str, headers: str) -> None:
    """Headers may be written in any case, order and quoting."""
    assert read_multipart_model(content_type, b"preamble\r\n" + form(part(headers, b"m"))) == "m"


def test_a_form_names_its_model_once() -> None:
    """Readers differ in which of two fields they believe, and in which of two boundaries."""
    twice = form(part(FIELD, b"cheap"), part(FILE, b"x"), part(FIELD, b"dear"))
    with pytest.raises(BadRequestError) as caught:
        read_multipart_model(TYPE, twice)
    assert (caught.value.code, caught.value.param) == ("ambiguous_member", "model")
    with pytest.raises(BadRequestError, match="once"):
        read_multipart_model(f"{TYPE}; boundary=other", form(part(FIELD, b"cheap")))
    with pytest.raises(BadRequestError, match="parts"):
        read_multipart_model(TYPE, form(*[part(FILE, b"")] * 300, part(FIELD, b"dear")))


@pytest.mark.parametrize(
    "parts",
    [
        [part('Content-Disposition: form-data; name="file"; filename="x"', f"--x\r\n{FIELD}\r\n\r\nfake\r\n".encode())],
        [part('Content-Disposition: form-data; name="model"; filename="model"', b"a file")],
        [part('Content-Disposition: form-data; name="models"', b"m")],
        [part('Content-Disposition: attachment; name="model"', b"m")],
        [],
    ],
)
def test_look_alikes_are_no_model(parts: list[bytes]) -> None:
    """A file, a longer name or text inside a file is not the field, and the body stays as it is."""
    assert read_multipart_model(TYPE, form(*parts)) is None
    assert splice_multipart_model(TYPE, form(*parts), "x") == form(*parts)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", form()),
        (TYPE, b""),
        (TYPE, b"something else"),
        (TYPE, form(part(FIELD, b"m"))[:-30]),
        (TYPE, form(part(FIELD, b"\xff"))),
        (TYPE, form(part(FIELD, b"m" * 2_000))),
        (TYPE, form(part(FIELD + "\r\nX: " + "y" * 10_000, b"m"))),
    ],
)
def test_a_broken_form_is_refused(content_type: str, body: bytes) -> None:
    """What is not the form its content type announces is a 400, after a bounded search."""
    with pytest.raises(BadRequestError):
        read_multipart_model(content_type, body)


def named(name: str, content: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', content)


def test_fields_are_read_in_one_go() -> None:
    """Those that are asked for; files and look-alikes are none, and what is long is cut."""
    body = form(named("n", b"3"), part(FILE, b'name="seconds"\r\n\r\n9'), named("url", b"u" * 5_000), named("prompt", b"x"))
    assert read_multipart_fields(TYPE, body, {"n", "seconds", "url", "file"}) == {"n": "3", "url": "u" * 1_024}
    assert read_multipart_fields(TYPE, form(named("n", b"\xff")), {"n"}) == {"n": "\ufffd"}


def test_a_field_that_is_asked_for_stands_once() -> None:
    """Readers differ in which of two they believe."""
    with pytest.raises(BadRequestError, match="more than one field 'n'"):
        read_multipart_fields(TYPE, form(named("n", b"1"), named("n", b"9")), {"n"})
    assert read_multipart_fields(TYPE, form(named("image[]", b"1"), named("image[]", b"9")), {"n"}) == {}
