"""A record is the request, its attempts and what the registry knows, and is valid against the published schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import pytest

from router_extproc.observer.access_log import read_attempt, read_request
from router_extproc.observer.compose import compose
from router_extproc.observer.join import Join
from router_extproc.observer.known_names import KnownNames
from router_extproc.observer.records import DecisionRecord, SignalRecord
from router_extproc.observer.schema import SCHEMA_PATH, encode_schema
from router_extproc.registry.snapshot import Registry
from tests.observer.entries import REGISTRY, STARTED_AT, TICKET, attempt_entry, request_entry

SCHEMA = jsonschema.Draft202012Validator(json.loads(SCHEMA_PATH.read_bytes()), format_checker=jsonschema.FormatChecker())


def recorded(request: Any, *attempts: Any, registry: Registry = REGISTRY) -> DecisionRecord:
    """The record of these entries."""
    join = Join()
    for entry in attempts:
        read = read_attempt(entry, STARTED_AT)
        assert read is not None
        join.attempt(*read, 0.0)
    read_entry = read_request(request, STARTED_AT)
    assert read_entry is not None
    joined = join.request(read_entry, 0.0)
    assert joined is not None
    return compose(joined, KnownNames(registry))


def fallback(registry: Registry = REGISTRY) -> DecisionRecord:
    return recorded(
        request_entry("d", "azure/gpt-4o", attempts=2),
        attempt_entry("d", "openai/gpt-4o", status=503),
        attempt_entry("d", "azure/gpt-4o", number=2),
        registry=registry,
    )


def refusal() -> DecisionRecord:
    metadata = {"router": {"reason": "model_not_found", "refused": "model_not_found", "requested": "gpt4"}}
    return recorded(request_entry("d", attempts=0, status=404, details="router_model_not_found", metadata=metadata))


def undecided() -> DecisionRecord:
    return recorded(request_entry("d", metadata={}), attempt_entry("d", "openai/gpt-4o"))


def unparsed() -> DecisionRecord:
    return recorded(
        request_entry("", "", attempts=0, status=400, details="http1.codec_error", metadata={}, first_token_ms=None)
    )


def test_a_fallback_is_told() -> None:
    """Who was tried first, who answered, and what it cost at whose prices."""
    record = fallback()
    assert (record.deployment, record.model, record.tier, record.fallback_from) == (
        "azure/gpt-4o",
        "gpt-4o",
        "premium",
        "openai/gpt-4o",
    )
    assert record.final_cost_usd == pytest.approx(0.004)
    assert record.estimated_cost_usd == 0.0025
    assert record.signals["risk"] == SignalRecord("none", 0.21)
    assert record.degraded is None


def test_what_was_asked_for_and_why_each_attempt_was_made() -> None:
    """The client's own word for the model stands beside the route, and every attempt has its level in the chain."""
    levels = {"openai/gpt-4o": "primary", "azure/gpt-4o": "same_model"}
    ticket = TICKET["router"] | {"requested": "my-alias", "levels": levels}
    record = recorded(
        request_entry("d", "azure/gpt-4o", attempts=3, metadata={"router": ticket}),
        attempt_entry("d", "openai/gpt-4o", status=503),
        attempt_entry("d", "azure/gpt-4o", number=2),
        attempt_entry("d", "gone/gpt-4o", number=3),
    )
    assert (record.requested, record.route) == ("my-alias", "auto")
    assert [attempt.level for attempt in record.attempts] == ["primary", "same_model", None]
    assert (refusal().requested, refusal().route) == ("gpt4", None)


def test_a_deployment_that_is_gone_has_no_price() -> None:
    """After a reload the report of the attempt still names model and tier."""
    record = fallback(Registry())
    assert (record.model, record.tier, record.final_cost_usd) == ("gpt-4o", "premium", None)


def test_a_request_that_no_worker_decided_is_degraded() -> None:
    """Even when Envoy's Lua could not say so."""
    assert undecided().degraded == "router-unavailable"
    assert refusal().degraded is None


@pytest.mark.parametrize("make", [fallback, refusal, undecided, unparsed])
def test_every_line_is_valid_against_the_published_schema(make: Callable[[], DecisionRecord]) -> None:
    """Whatever became of the request; and a line with a key too many or too few is not valid."""
    line = json.loads(msgspec.json.encode(make()))
    SCHEMA.validate(line)
    assert not SCHEMA.is_valid(line | {"body": "secret"})
    del line["attempts"]
    assert not SCHEMA.is_valid(line)


def test_the_published_schema_is_fresh() -> None:
    """Run ``python -m router_extproc.observer.schema`` after a change of the records."""
    assert SCHEMA_PATH.read_bytes() == encode_schema()
