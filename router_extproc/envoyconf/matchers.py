"""When a filter runs: conditions on headers and on the ticket, in Envoy's generic matching API."""

from __future__ import annotations

from router_extproc.envoyconf import names
from router_extproc.envoyconf.messages import Message, extension, typed


def header_is(name: str, value: str) -> Message:
    """Holds when a request header has exactly this value."""
    return _header(name, {"exact": value})


def header_like(name: str, pattern: str) -> Message:
    """Holds when the regular expression matches all of a request header."""
    return _header(name, {"safe_regex": {"google_re2": {}, "regex": pattern}})


def _header(name: str, value_match: Message) -> Message:
    header = extension("header", "type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)
    return {"single_predicate": {"input": header, "value_match": value_match}}


def ticket_says(key: str, value: str) -> Message:
    """Holds when the ticket has exactly this string under ``key``; without a ticket it does not."""
    return _ticket(key, {"string_match": {"exact": value}})


def only_when_ticket_asks(http_filter: Message, key: str, *, later: bool = False) -> Message:
    """Runs the filter when the ticket says so under ``key``; with ``later`` only after the first attempt.

    Without a ticket the filter is skipped: no worker decided, so none may be waited for.
    """
    asked = ticket_says(key, "1")
    if later:
        not_first = {"not_matcher": header_is("x-envoy-attempt-count", "1")}
        asked = {"and_matcher": {"predicate": [asked, not_first]}}
    return _skipped_when({"not_matcher": asked}, http_filter, http_filter["name"])


def only_when_compressed(http_filter: Message) -> Message:
    """Runs the filter for answers that came as gzip. It must not ask for anything of the request: nothing is known then."""
    return _skipped_when({"not_matcher": _compressed()}, http_filter, http_filter["name"])


def only_when_held(http_filter: Message) -> Message:
    """Runs the filter for answers that are judged or unpacked. It must not ask for anything of the request, as above."""
    held = {"or_matcher": {"predicate": [_compressed(), ticket_says("judge", "1")]}}
    return _skipped_when({"not_matcher": held}, http_filter, http_filter["name"])


def _compressed() -> Message:
    header = extension("header", "type.matcher.v3.HttpResponseHeaderMatchInput", header_name="content-encoding")
    regex = {"google_re2": {}, "regex": "(?i)(x-)?gzip"}
    return {"single_predicate": {"input": header, "value_match": {"safe_regex": regex}}}


def only_for_unasked_usage(http_filter: Message) -> Message:
    """Runs the filter for event streams whose usage the client did not ask for. It must not ask for anything of the request."""
    kind = extension("header", "type.matcher.v3.HttpResponseHeaderMatchInput", header_name="content-type")
    regex = {"google_re2": {}, "regex": "(?i)text/event-stream.*"}
    is_stream = {"single_predicate": {"input": kind, "value_match": {"safe_regex": regex}}}
    # In this order: what is asked of the answer cannot be told before it comes, by when there is a ticket.
    unasked = {"and_matcher": {"predicate": [is_stream, _metadata_is(names.REQUEST, "usage_injected", "1")]}}
    return _skipped_when({"not_matcher": unasked}, http_filter, http_filter["name"])


def when_large_and_undecided(http_filter: Message, name: str) -> Message:
    """Runs the filter, under this name, only for a body of 60 kB and more that has no ticket."""
    large = header_like(names.SIZE, "[1-9][0-9]{5,}|[6-9][0-9]{4}")
    decided = _ticket("route", {"present_match": True})
    return _skipped_when({"or_matcher": {"predicate": [decided, {"not_matcher": large}]}}, http_filter, name)


def when_undecided(http_filter: Message) -> Message:
    """Runs the filter only for requests that have no ticket."""
    return _skipped_when(_ticket("route", {"present_match": True}), http_filter, http_filter["name"])


def _metadata_is(namespace: str, key: str, value: str) -> Message:
    return _metadata(namespace, key, {"string_match": {"exact": value}})


def _ticket(key: str, value: Message) -> Message:
    return _metadata(names.TICKET, key, value)


def _metadata(namespace: str, key: str, value: Message) -> Message:
    metadata_input = "extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
    matcher = "extensions.matching.input_matchers.metadata.v3.Metadata"
    return {
        "single_predicate": {
            "input": extension("ticket", metadata_input, filter=namespace, path=[{"key": key}]),
            "custom_match": extension("metadata", matcher, value=value),
        }
    }


def _skipped_when(condition: Message, http_filter: Message, name: str) -> Message:
    skip = {"name": "skip", "typed_config": typed("extensions.filters.common.matcher.action.v3.SkipFilter")}
    return extension(
        name,
        "extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=http_filter,
        xds_matcher={"matcher_list": {"matchers": [{"predicate": condition, "on_match": {"action": skip}}]}},
    )
