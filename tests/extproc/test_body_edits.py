"""What leaves for the provider in place of the client's body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

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
    return outgoing_body(told, json.dumps(body).encode(), Decision("small", "named", (attempt,)), given, registry())


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


def shared(first: Attempt, *later: Attempt, options: Any = None, never: str, **more: Any) -> Outgoing:
    """What goes out of a stream for a chain of which ``never`` is not asked for usage."""
    decision = Decision("small", "named", (first, *later), **more)
    body = {"model": "small", "stream": True} | ({} if options is None else {"stream_options": options})
    told = Request("/v1/chat/completions", "small", stream=True)
    given = Admitted(decision, Account("id-1"))
    known = replace(registry(), never_asked_for_usage=frozenset({never}))
    return outgoing_body(told, json.dumps(body).encode(), decision, given, known)


def test_a_provider_that_refuses_to_be_asked_is_not() -> None:
    """Its stream leaves as the client wrote it, also where the client itself asks."""
    assert shared(SAME, never=SAME.deployment) == Outgoing()
    assert shared(SAME, options={"include_usage": True}, never=SAME.deployment) == Outgoing()
    renamed = shared(FIRST, never=FIRST.deployment)
    assert (renamed.body, renamed.usage_injected) == (b'{"model": "small-2026", "stream": true}', False)


def test_later_attempts_know_whom_to_ask() -> None:
    """Where a chain has both kinds; the client sees no usage that it did not ask for, whoever answers."""
    after = {"cause_chains": {"rate_limited": (FIRST,)}}
    for given in (shared(SAME, FIRST, never=SAME.deployment), shared(SAME, never=SAME.deployment, **after)):
        assert given == Outgoing(None, usage_injected=True, usage_wishes={SAME.deployment: False, FIRST.deployment: True})
    asking = shared(SAME, FIRST, never=FIRST.deployment)
    assert asking.body is not None
    assert json.loads(asking.body)["stream_options"] == {"include_usage": True}
    assert asking.usage_wishes == {SAME.deployment: True, FIRST.deployment: False}
    assert asking.usage_injected


def test_what_the_client_asks_for_itself_stays_in_every_attempt() -> None:
    """No later attempt takes it out, nor is its usage kept from it."""
    for never in (SAME.deployment, FIRST.deployment):
        given = shared(SAME, FIRST, options={"include_usage": True}, never=never)
        assert (given.body, given.usage_injected, given.usage_wishes) == (None, False, {})


def test_an_admitted_answer_that_needs_nothing_leaves_as_it_came() -> None:
    """No reading, no copy."""
    assert out({"model": "small"}, SAME, admitted(SAME)) == Outgoing()


def test_forms_are_only_renamed() -> None:
    """A form with a file has no limit of an answer."""
    headers = {"content-type": "multipart/form-data; boundary=b"}
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nsmall\r\n--b--\r\n'
    request = Request("/v1/audio/transcriptions", "small", headers=headers)
    given = outgoing_body(request, form, Decision("small", "named", (FIRST,)), admitted(FIRST, max_output_tokens=9), registry())
    assert given.body == form.replace(b"small", b"small-2026")


def test_what_names_no_model_is_left_alone() -> None:
    """Files and batches go where they go, whatever they hold."""
    request = Request("/v1/files", "")
    assert (
        outgoing_body(request, b"\x00", Decision("small", "named", (SAME,)), admitted(SAME, max_output_tokens=9), registry())
        == Outgoing()
    )
