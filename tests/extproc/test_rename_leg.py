"""The renaming attempt leg as a conversation: what Envoy says, what the leg answers."""

from __future__ import annotations

from router_extproc.extproc.rename_leg import RenameLeg
from tests.extproc.conversation import read, request_body, request_headers, said

TICKET = {"models": {"a": "gpt-4o", "b": "gpt-4o-2024"}}
HEADERS = {"x-envoy-attempt-count": "2", "content-type": "application/json", "content-length": "31"}


def test_a_later_attempt_gets_its_providers_model_id_and_nothing_else_changes() -> None:
    """The model is renamed for the attempt's own deployment, byte for byte otherwise, and content-length follows."""
    leg = RenameLeg()
    assert said(leg.headers(request_headers(HEADERS, ticket=TICKET, cluster="b"))) == "request_headers"
    assert leg.body_size == 31
    answer = leg.body(request_body(b'{"model": "gpt-4o", "new":1.50}'))
    assert said(answer) == "request_body[36] content-length=36"
    assert read(answer).request_body.response.body_mutation.body == b'{"model": "gpt-4o-2024", "new":1.50}'


def test_a_body_that_is_already_right_is_left_alone() -> None:
    """No mutation is sent when the model needs no other name."""
    leg = RenameLeg()
    leg.headers(request_headers(HEADERS, ticket=TICKET, cluster="a"))
    assert said(leg.body(request_body(b'{"model":"gpt-4o"}'))) == "request_body"


def test_a_form_is_renamed_in_its_field() -> None:
    """Audio is uploaded as a form: the model field changes, the file does not."""
    leg = RenameLeg()
    headers = HEADERS | {"content-type": "multipart/form-data; boundary=X"}
    leg.headers(request_headers(headers, ticket=TICKET, cluster="b"))
    form = b'--X\r\ncontent-disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--X--\r\n'
    answer = leg.body(request_body(form))
    assert read(answer).request_body.response.body_mutation.body == form.replace(b"gpt-4o", b"gpt-4o-2024")


def test_a_deployment_that_the_ticket_does_not_name_changes_nothing() -> None:
    """Without a ticket, or with a cluster it does not know, the body passes as it is."""
    for ticket, cluster in ((None, "a"), (TICKET, "unknown")):
        leg = RenameLeg()
        leg.headers(request_headers(HEADERS, ticket=ticket, cluster=cluster))
        assert said(leg.body(request_body(b"anything"))) == "request_body"


def test_a_wish_for_usage_goes_where_it_is_understood() -> None:
    """It is written for the one provider and taken out for the other, with or without another model."""
    asking = b'{"model":"gpt-4o","stream_options":{"include_usage":true}}'
    silent = b'{"model":"gpt-4o"}'
    wishes = {"a": True, "b": False}
    for ticket, cluster, given, sent in (
        ({"usage_wishes": wishes}, "a", silent, asking),
        ({"usage_wishes": wishes}, "b", asking, silent),
        (TICKET | {"usage_wishes": wishes}, "b", asking, b'{"model":"gpt-4o-2024"}'),
    ):
        leg = RenameLeg()
        leg.headers(request_headers(HEADERS, ticket=ticket, cluster=cluster))
        assert read(leg.body(request_body(given))).request_body.response.body_mutation.body == sent
    for cluster, right in (("a", asking), ("b", silent), ("unknown", asking)):
        leg = RenameLeg()
        leg.headers(request_headers(HEADERS, ticket={"usage_wishes": wishes}, cluster=cluster))
        assert said(leg.body(request_body(right))) == "request_body"
