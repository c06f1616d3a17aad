"""Errors that Envoy itself answers, in the shape of OpenAI's error object.

The first mapper that matches wins. Answers of the workers and of ``router.lua`` already have the right shape and only
gain headers.
"""

from __future__ import annotations

from router_extproc.envoyconf.messages import Message, extension, set_header

OWN_DETAILS = "router_"
"""Prefix of ``ImmediateResponse.details`` by which an answer of a worker is known."""

_DETAILS = "response.code_details"
_RETRY_SOON = set_header("retry-after", "1")
_DECISION = set_header("x-router-decision", "%REQ(x-request-id)%")

# Where Envoy's own would mislead: a client would throw its good token away, or think that another may be of use.
_STATUSES: dict[str, Message] = {"keys_unavailable": {"status_code": 503}, "invalid_api_key": {"status_code": 401}}

# Condition in CEL, message, type, code. In this order.
_REPLIES: tuple[tuple[str, str, str, str], ...] = (
    (
        f"{_DETAILS}.startsWith('jwt_authn_access_denied{{Jwks_remote_fetch_is_failed')",
        "The issuer's public keys cannot be had, so that no token can be verified now.",
        "server_error",
        "keys_unavailable",
    ),
    (
        f"{_DETAILS}.startsWith('jwt_authn_access_denied')",
        "No valid token (%RESPONSE_CODE_DETAILS%): write it as `authorization: Bearer TOKEN`.",
        "authentication_error",
        "invalid_api_key",
    ),
    (
        f"{_DETAILS} == 'request_payload_too_large'",
        "The request body is larger than the router accepts (limits.max_body_bytes).",
        "invalid_request_error",
        "request_too_large",
    ),
    (
        f"{_DETAILS}.startsWith('failed_to_inject_credential')",
        "The router has no usable key for the provider it chose.",
        "server_error",
        "missing_credential",
    ),
    (
        f"{_DETAILS}.contains('no_healthy_upstream') || {_DETAILS}.contains('cluster_not_found')",
        "No deployment can serve this request now.",
        "server_error",
        "no_deployment_available",
    ),
    (
        "response.code == 504 || response.code == 408",
        "The request ran into a timeout of the router (%RESPONSE_CODE_DETAILS%).",
        "timeout_error",
        "timeout",
    ),
    ("response.code == 431", "The request headers are too large.", "invalid_request_error", "headers_too_large"),
    ("response.code == 404", "Not found.", "invalid_request_error", "not_found"),
    (
        "response.code >= 400 && response.code < 500",
        "The request cannot be read (%RESPONSE_CODE_DETAILS%).",
        "invalid_request_error",
        "invalid_request",
    ),
    (
        # Envoy's details would quote the provider's certificate, which says whose it is; the flags do not.
        "response.code == 502 || response.code == 503",
        "No deployment answered (%RESPONSE_FLAGS_LONG%).",
        "server_error",
        "upstream_unavailable",
    ),
    ("response.code >= 500", "The router failed (%RESPONSE_CODE_DETAILS%).", "server_error", "internal_error"),
)


def error_body(message: str, error_type: str, code: str) -> Message:
    """OpenAI's error object as an Envoy body format; what is filled in is escaped by Envoy."""
    return {
        "json_format": {"error": {"message": message, "type": error_type, "param": None, "code": code}},
        "content_type": "application/json",
    }


def local_reply_config() -> Message:
    """The mappers of the listener."""
    direct = f"{_DETAILS} == 'direct_response'"
    is_ours = f"{_DETAILS}.startsWith('{OWN_DETAILS}') || {_DETAILS} == 'lua_response'"
    mappers = [
        {"filter": _expression(is_ours), "headers_to_add": [_DECISION]},
        # The two direct responses: nobody may be served undecided, and a path which is not ours.
        {
            "filter": _expression(f"{direct} && response.code == 503"),
            "headers_to_add": [_DECISION, _reason("router_unavailable")],
        },
        {"filter": _expression(direct), "headers_to_add": [_DECISION, _reason("path_not_found")]},
    ]
    for condition, message, error_type, code in _REPLIES:
        mapper: Message = {
            "filter": _expression(condition),
            "body_format_override": error_body(message, error_type, code),
            "headers_to_add": [_DECISION, _reason(code), *([_RETRY_SOON] if code == "keys_unavailable" else [])],
        }
        mappers.append(mapper | _STATUSES.get(code, {}))
    return {"mappers": mappers}


def _reason(code: str) -> Message:
    """Why nobody was called. Where a worker decided, its own reason stays."""
    return {"header": {"key": "x-router-reason", "value": code}, "append_action": "ADD_IF_ABSENT"}


def _expression(expression: str) -> Message:
    return {
        "extension_filter": extension("cel", "extensions.access_loggers.filters.cel.v3.ExpressionFilter", expression=expression)
    }
