"""The access logs: what the observer is told of every attempt, and where the file lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.dialects.rate_limit_headers import HEADERS
from router_extproc.envoyconf.access_logs import attempts_to_file, requests_to_file, to_observer
from router_extproc.envoyconf.layout import Layout
from router_extproc.envoyconf.listener import build_listener
from tests.envoyconf.samples import Folders, configuration


@pytest.mark.parametrize("header", ["retry-after", *HEADERS, "x-router-cause"])
def test_observer_sees_what_health_is_judged_by(header: str) -> None:
    """The headers that cooling down depends on are in every attempt's entry; a request's has only why it failed."""
    assert header in to_observer("attempts")["typed_config"]["additional_response_headers_to_log"]
    assert to_observer("requests")["typed_config"]["additional_response_headers_to_log"] == ["x-router-cause"]


def test_attempts_are_told_apart() -> None:
    """An attempt's entry carries its decision and its number."""
    logged = to_observer("attempts")["typed_config"]["additional_request_headers_to_log"]
    assert logged == ["x-request-id", "x-envoy-attempt-count"]


def test_attempts_and_requests_have_logs_of_their_own(folders: Folders) -> None:
    """The router logs attempts; the listener logs requests, to the observer and to a file."""
    manager = build_listener(configuration(), Layout.of(folders, 1))["filter_chains"][0]["filters"][0]["typed_config"]
    attempts, attempts_file = manager["http_filters"][-1]["typed_config"]["upstream_log"]
    requests, requests_file = manager["access_log"]
    names = [log["typed_config"]["common_config"]["log_name"] for log in (attempts, requests)]
    assert names == ["attempts", "requests"]
    paths = {file["typed_config"]["path"] for file in (attempts_file, requests_file)}
    assert paths == {str(folders.logs / "access.jsonl")}


def test_no_body_and_no_credential_is_logged() -> None:
    """The file's lines hold neither header of a client but the id, nor any body."""
    lines = [log(Path("/log"))["typed_config"]["log_format"]["json_format"] for log in (requests_to_file, attempts_to_file)]
    values = [value for line in lines for value in line.values()]
    requested = {value for value in values if "%REQ(" in value}
    assert requested == {"%REQ(x-request-id)%", "%REQ(:method)%", "%REQ(x-envoy-attempt-count)%"}
    assert not [value for value in values if "%RESP(" in value or "BODY" in value]
