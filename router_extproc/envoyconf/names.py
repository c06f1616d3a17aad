"""Names that several files of the rendered configuration, or other processes, must agree on."""

from __future__ import annotations

WORKERS = "extproc"
"""Cluster of all decider workers."""

OBSERVER = "observer"
"""Cluster of the observer, which receives the access logs."""

LISTENER = "clients"
ROUTES = "routes"
SERVER_CERTIFICATE = "listener"
PEER_AUTHORITIES = "peers"

TOKEN_KEYS = "_token_keys"  # noqa: S105 - the name of a cluster
"""Cluster of the issuer that tells its public keys; no deployment's name begins like it."""

TICKET = "router"
"""Namespace of the decision in the request's dynamic metadata; also of a cluster's own metadata."""

REQUEST = "router.request"
"""Namespace of what the route leg says about one request beside its ticket, all of it texts.

``cost``: estimated, in USD. ``account``: what is settled by. ``budget_remaining``: USD. ``degraded``: as in the ticket.
``usage_injected`` "1": the stream's usage was not the client's wish. Each of ``RATE_LIMITS``: that header's value.
"""

RATE_LIMITS = tuple(
    f"x-ratelimit-{figure}-{unit}" for unit in ("requests", "tokens") for figure in ("limit", "remaining", "reset")
)
"""Response headers by which OpenAI tells its limits, and keys in ``REQUEST`` by which we tell ours."""

ATTEMPT = "router.attempt"
"""Namespace of what ``router.lua`` reports about the attempts of a request."""

STATE = "router.state"
"""Namespace of what ``router.lua`` remembers between attempts: the client's own path, and times."""

USAGE = "router.usage"
"""Namespace of the token counts that a provider reported, and of ``events``: how many events of a stream came."""

CALLER = "router.caller"
"""Namespace of who asks: texts ``tenant team user key tier``, the list ``features``, the object ``tags``."""

BILLED = "router.billed"
"""Namespace of what providers reported for answers that the judge leg turned down: by the attempt's number as text, an
object of the numbers ``prompt_tokens``, ``completion_tokens``, ``cached_tokens``, or with the text ``unreported``."""

ROUTE_LEG = "route"
RENAME_LEG = "rename"
JUDGE_LEG = "judge"
UNPACK_LEG = "unpack"
UNDECIDED = "undecided"
"""Filter that lets through what may pass although no worker decided, and route of what none decided."""

USAGE_ONLY = "usage_only"
"""Filter that takes away the usage which a client did not ask for."""

ROUTE_LEG_AGAIN = "ext_proc.route.again"
"""Filter that asks a worker once more when the first one died over a large request."""

PAUSE = "pause"
"""Filter before that, which gives Envoy time to learn of the death."""

PEER = "x-router-peer"
"""Request header with the SPIFFE id of the client's certificate, set by Envoy for the route leg."""

JWT = "x-router-jwt"
"""Request header with the payload of a verified token in base64url, set by Envoy for the route leg."""

SIZE = "x-router-size"
"""Request header that keeps the content-length, which ext_proc takes away."""

LEG = "leg"
"""gRPC metadata key by which a worker tells the legs apart."""

LIFE = "%ENVIRONMENT(ROUTER_ENVOY_LIFE)%"
"""What Envoy says to workers and observer under ``store.lives.METADATA``: the name of its life, ``-`` without one."""

ATTEMPT_LOG = "attempts"
REQUEST_LOG = "requests"

FINAL = "x-envoy-ratelimited"
"""Response header with which ``router.lua`` tells Envoy not to retry; removed before the client sees it."""

NO_DEFAULT_CHAIN = "no-default-chain"
"""A cluster that does not exist: what is routed to it is answered by Envoy with 503."""
