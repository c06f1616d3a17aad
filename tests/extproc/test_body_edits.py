"""What leaves for the provider in place of the client's body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router_extproc.account import Account
from router_extproc.decision import Attempt, Decision
from router_extproc.extproc.body_edits import Outgoing, outgoing_body
from router_extproc.extproc.case import Admitted
from router_extproc.registry.snapshot import Registry
from router_extproc.request import Request
from tests.policy import registries as build

FIRST = Attempt("openai/small", "small", "small-2026", "economy")
SAME = Attempt("other/small", "small", "small", "economy")


def registry() -> Registry:
    deployments = (
        build.deployment("openai/small", "small"),
        build.deployment("other/small", "small"),
    )
    return build.registry(build.model("small", deployments=deployments))


def admitted(attempt: Attempt, **more: Any) -> Admitted:
    return Admitted(Decision("small", "named", (attempt,)), Account("id-1"), **more)


def out(body: dict[str, Any], attempt: Attempt, given: Admitted | None, **request: Any) -> Outgoing:
    told = Request("/v1/chat/completions", "small", **request)
    return outgoing_body(told, json.dumps(body).encode(), attempt, given, registry())


def test_where_nothing_is_counted_only_the_model_changes() -> None:
    """And nothing at all where the provider knows it by that name."""
    assert out({"model": "small"}, FIRST, None).body == b'{"model": "small-2026"}'
    assert out({"model": "small"}, SAME, None, stream=True) == Outgoing()


@pytest.mark.parametrize(("attempt", "name"), [(FIRST, "max_completion_tokens"), (SAME, "max_tokens")])
def test_a_limit_is_written_as_the_provider_knows_it(attempt: Attempt, name: str) -> None:
    """Where the client wrote none."""
    body = out({"model": "small"}, attempt, admitted(attempt, max_output_tokens=9)).body
    assert body is not None
    assert json.loads(body)[name] == 9


def test_a_counted_stream_tells_its_usage() -> None:
    """A stream that was admitted has to be settled; the flag lets Envoy keep it from a client that did not ask."""
    given = out({"model": "small", "stream": True}, SAME, admitted(SAME), stream=True)
    assert given.usage_injected
    assert given.body is not None
    assert json.loads(given.body)["stream_options"] == {"include_usage": True}
    asked = {"model": "small", "stream": True, "stream_options": {"include_usage": True}}
    assert out(asked, SAME, admitted(SAME), stream=True) == Outgoing()


def test_an_admitted_answer_that_needs_nothing_leaves_as_it_came() -> None:
    """No reading, no copy."""
    assert out({"model": "small"}, SAME, admitted(SAME)) == Outgoing()


def test_forms_are_only_renamed() -> None:
    """A form with a file has no limit of an answer."""
    headers = {"content-type": "multipart/form-data; boundary=b"}
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nsmall\r\n--b--\r\n'
    request = Request("/v1/audio/transcriptions", "small", headers=headers)
    given = outgoing_body(request, form, FIRST, admitted(FIRST, max_output_tokens=9), registry())
    assert given.body == form.replace(b"small", b"small-2026")


def test_what_names_no_model_is_left_alone() -> None:
    """Files and batches go where they go, whatever they hold."""
    request = Request("/v1/files", "")
    assert outgoing_body(request, b"\x00", SAME, admitted(SAME, max_output_tokens=9), registry()) == Outgoing()
