"""When a filter runs: conditions on headers and on the ticket, in Envoy's generic matching API."""

from __future__ import annotations

from router_extproc.envoyconf import names
from router_extproc.envoyconf.messages import Message, extension, typed


def header_is(name: str, value: str) -> Message:
    """Holds when a request header has exactly this value."""
    header = extension("header", "type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)
    return {"single_predicate": {"input": header, "value_match": {"exact": value}}}


def ticket_says(key: str, value: str) -> Message:
    """Holds when the ticket has exactly this string under ``key``; without a ticket it does not."""
    metadata_input = "extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
    matcher = "extensions.matching.input_matchers.metadata.v3.Metadata"
    return {
        "single_predicate": {
            "input": extension("ticket", metadata_input, filter=names.TICKET, path=[{"key": key}]),
            "custom_match": extension("metadata", matcher, value={"string_match": {"exact": value}}),
        }
    }


def only_when_ticket_asks(http_filter: Message, key: str, *, later: bool = False) -> Message:
    """Runs the filter when the ticket says so under ``key``; with ``later`` only after the first attempt.

    Without a ticket the filter is skipped: no worker decided, so none may be waited for.
    """
    asked = ticket_says(key, "1")
    if later:
        not_first = {"not_matcher": header_is("x-envoy-attempt-count", "1")}
        asked = {"and_matcher": {"predicate": [asked, not_first]}}
    skip = {"name": "skip", "typed_config": typed("extensions.filters.common.matcher.action.v3.SkipFilter")}
    matchers = [{"predicate": {"not_matcher": asked}, "on_match": {"action": skip}}]
    return extension(
        http_filter["name"],
        "extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=http_filter,
        xds_matcher={"matcher_list": {"matchers": matchers}},
    )
