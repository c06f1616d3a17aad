"""Envoy's gRPC access log entries as values. Pure: the time is given, and no entry, however odd, raises.

Fields are read one by one: turning an entry into a dict costs more than all the rest of the observer's work.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry
from google.protobuf.struct_pb2 import Struct

from router_extproc.dialects.openai_usage import answer_tokens
from router_extproc.observer import causes, quota
from router_extproc.observer.records import AttemptRecord, RequestRecord, SignalRecord, Usage

ATTEMPTS_LOG = "attempts"
REQUESTS_LOG = "requests"

# A provider may ask for a long pause, a broken one for an endless one.
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
_LONGEST_TEXT = 200
_FIRST_ERROR = 400
_LARGEST_COUNT = 10**12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799  # of the year 9999, as in protobuf's timestamps
_NANOSECONDS = 10**9
_signals_decoder = msgspec.json.Decoder(dict[str, tuple[Any, float]])
_NOT_THE_END = frozenset(
    {
        AccessLogType.DownstreamStart,
        AccessLogType.DownstreamPeriodic,
        AccessLogType.UpstreamPoolReady,
        AccessLogType.UpstreamPeriodic,
    }
)
_NO_FIELDS: Mapping[str, Any] = {}


def read_attempt(entry: HTTPAccessLogEntry, received_at: float) -> tuple[str, AttemptRecord] | None:
    """The decision id and the attempt, or None for an entry that names no deployment or tells of no end.

    ``received_at`` is in epoch seconds: it stands in for a start that the entry lacks and dates ``retry-after``.
    """
    common, response = entry.common_properties, entry.response
    if not common.upstream_cluster or _is_intermediate(common):
        return None
    # A dict is looked into much faster than a message's map.
    headers = dict(response.response_headers)
    status = response.response_code.value
    flags = flags_of(common)
    cause = causes.cause_of(status, frozenset(flags), headers.get("x-router-cause"))
    started_at = _started_at(common, received_at)
    first_byte_ms = _milliseconds(common, "time_to_first_upstream_rx_byte")
    used_up = quota.used_up(headers, started_at.timestamp() + (first_byte_ms or 0.0) / 1_000)
    # An answer whose end never came is no success: the request's entry says whose fault that was.
    if cause == causes.NONE and not common.HasField("time_to_last_upstream_rx_byte"):
        cause = causes.UNDETERMINED
    return entry.request.request_id, AttemptRecord(
        deployment=_text(common.upstream_cluster),
        number=count_of(entry.request.request_headers.get("x-envoy-attempt-count")),
        status=status,
        cause=cause,
        flags=flags,
        started_at=started_at,
        time_to_first_byte_ms=first_byte_ms,
        total_ms=_milliseconds(common, "duration"),
        retry_after_seconds=retry_after_of(headers.get("retry-after"), received_at),
        remaining_requests=quota.remaining(headers, "requests"),
        remaining_tokens=quota.remaining(headers, "tokens"),
        quota_reset_seconds=None if used_up is None else used_up.seconds,
        quota_unit=None if used_up is None else used_up.unit,
    )


def read_request(entry: HTTPAccessLogEntry, received_at: float) -> RequestRecord | None:
    """The request, or None for an entry that tells of no end. ``received_at`` stands in for a missing start."""
    common, response = entry.common_properties, entry.response
    if _is_intermediate(common):
        return None
    metadata = common.metadata.filter_metadata
    # The attempt's fields are written by router.lua, which also speaks where no worker has decided.
    ticket = _fields(metadata, "router")
    attempt = _fields(metadata, "router.attempt")
    own = _fields(metadata, "router.request")
    flags = flags_of(common)
    count = common.upstream_request_attempt_count
    status = response.response_code.value
    marker = response.response_headers.get("x-router-cause") if status >= _FIRST_ERROR else None
    cause = causes.cause_of(status, frozenset(flags), marker)
    if cause == causes.NONE and _flag(attempt, "incomplete"):
        cause = causes.INCOMPLETE_STREAM
    return RequestRecord(
        id=_text(entry.request.request_id),
        started_at=_started_at(common, received_at),
        method=_method_of(entry),
        path=_text((_string(_fields(metadata, "router.state"), "path") or entry.request.path).partition("?")[0]),
        status=status,
        cause=cause,
        flags=flags,
        details=_text(response.response_code_details) or None,
        requested=_string(ticket, "requested"),
        route=_string(ticket, "route") or _string(attempt, "route"),
        reason=_string(ticket, "reason") or _string(attempt, "reason"),
        model=_string(attempt, "model"),
        tier=_string(attempt, "tier"),
        deployment=(_string(attempt, "deployment") or _text(common.upstream_cluster) or None) if count else None,
        stream=_flag(ticket, "stream"),
        degraded=_string(own, "degraded") or _string(attempt, "degraded") or _string(ticket, "degraded"),
        refused=_string(ticket, "refused"),
        refused_by=_string(ticket, "refused_by"),
        fallback_from=_string(attempt, "fallback_from"),
        attempt_count=count,
        usage=_usage(_fields(metadata, "router.usage")),
        estimated_cost_usd=_cost(own) or _cost(ticket),
        time_to_first_token_ms=_milliseconds(common, "time_to_first_downstream_tx_byte"),
        total_ms=_milliseconds(common, "duration"),
        levels=_levels(ticket),
        text_tokens=_number(own, "text_tokens"),
        signals=_signals(own),
    )


def flags_of(common: Any) -> tuple[str, ...]:
    """The names of the response flags that are set, in the order of Envoy's message."""
    if not common.HasField("response_flags"):
        return ()
    return tuple(field.name for field, _ in common.response_flags.ListFields())


def retry_after_of(value: str | None, now: float) -> float | None:
    """Seconds to wait from a ``retry-after`` header (RFC 9110: seconds or an HTTP date), None when absent or unreadable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    if not math.isfinite(seconds):
        return None
    return round(min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS), 3)


def count_of(value: str | float | None) -> int | None:
    """A non-negative whole number, None when it is anything else."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if 0 <= number <= _LARGEST_COUNT else None


def _is_intermediate(common: Any) -> bool:
    return common.intermediate_log_entry or common.access_log_type in _NOT_THE_END


def _method_of(entry: HTTPAccessLogEntry) -> str:
    field = entry.request.DESCRIPTOR.fields_by_name["request_method"].enum_type.values_by_number
    method = field.get(entry.request.request_method)
    return method.name if method is not None and method.number else ""


def _text(value: str) -> str:
    return value[:_LONGEST_TEXT]


def _started_at(common: Any, received_at: float) -> datetime:
    start = common.start_time
    # The message's own method takes three times as long.
    if 0 < start.seconds <= _LAST_SECOND and 0 <= start.nanos < _NANOSECONDS:
        return _EPOCH + timedelta(seconds=start.seconds, microseconds=start.nanos // 1_000)
    return datetime.fromtimestamp(received_at, UTC)


def _milliseconds(common: Any, name: str) -> float | None:
    if not common.HasField(name):
        return None
    duration = getattr(common, name)
    milliseconds = duration.seconds * 1_000 + duration.nanos / 1_000_000
    return round(milliseconds, 3) if milliseconds >= 0 else None


def _fields(metadata: Mapping[str, Struct], namespace: str) -> Mapping[str, Any]:
    # Indexing a protobuf map adds the key: ask first.
    return metadata[namespace].fields if namespace in metadata else _NO_FIELDS


def _string(fields: Mapping[str, Any], key: str) -> str | None:
    return (_text(fields[key].string_value) or None) if key in fields else None


def _levels(ticket: Mapping[str, Any]) -> dict[str, str]:
    levels = ticket["levels"].struct_value.fields if "levels" in ticket else {}
    return {deployment: level.string_value for deployment, level in levels.items()}


def _signals(fields: Mapping[str, Any]) -> dict[str, SignalRecord]:
    """What the worker wrote by ``extproc.ticket``: one JSON document, because a worker has no time for more."""
    if "signals" not in fields:
        return {}
    try:
        found = _signals_decoder.decode(fields["signals"].string_value)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return {name: SignalRecord(value, ms) for name, (value, ms) in found.items()}


def _flag(fields: Mapping[str, Any], key: str) -> bool:
    return bool(fields[key].bool_value) if key in fields else False


def _number(fields: Mapping[str, Any], key: str) -> int | None:
    if key not in fields:
        return None
    value = fields[key]
    return count_of(value.string_value if value.HasField("string_value") else value.number_value)


def _usage(fields: Mapping[str, Any]) -> Usage | None:
    prompt, completion = _number(fields, "prompt_tokens"), _number(fields, "completion_tokens")
    if prompt is None and completion is None:
        return None
    return Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=answer_tokens(prompt, completion, _number(fields, "total_tokens")),
        cached_tokens=min(_number(fields, "cached_tokens") or 0, prompt or 0),
    )


def _cost(fields: Mapping[str, Any]) -> float | None:
    if "cost" not in fields:
        return None
    value = fields["cost"]
    try:
        cost = float(value.string_value) if value.HasField("string_value") else value.number_value
    except ValueError:
        return None
    return cost if math.isfinite(cost) and cost >= 0 else None
