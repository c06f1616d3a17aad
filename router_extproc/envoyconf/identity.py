"""What Envoy itself proves about callers: tokens by ``jwt_authn``, certificates of a mesh by mutual TLS.

A worker learns of a proof by request headers (``names.JWT``, ``names.PEER``) which the listener removes before anything
else from what clients send, and whose names no provider ever sees.
"""

from __future__ import annotations

import json
from pathlib import Path

from router_extproc.config.auth import Jwt
from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf import names
from router_extproc.envoyconf.endpoint import Endpoint
from router_extproc.envoyconf.messages import Message, duration, extension, file_source
from router_extproc.errors import StartError

FETCH_TIMEOUT_MS = 5_000
"""How long an issuer may take to tell its keys."""

KEYS_KEPT_MS = 300_000
"""How long an issuer's keys are used before they are asked for again, in the background: Envoy's own default is 10 minutes."""

# Where clients put what they are given as their key: as the SDKs of OpenAI, Azure and Anthropic do.
_PLACES = (
    {"name": "authorization", "value_prefix": "Bearer "},
    {"name": "authorization", "value_prefix": "bearer "},
    {"name": "api-key"},
    {"name": "x-api-key"},
)


def read_token_keys(config: RouterConfig) -> Message | None:
    """The issuer's public keys that lie in a file, as they are now; Envoy does not look at that file again by itself.

    Raises:
        StartError: the file cannot be read, or holds no set of keys.
    """
    if config.auth.jwt is None or config.auth.jwt.jwks_file is None:
        return None
    path = config.auth.jwt.jwks_file
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise StartError(f"auth.jwt.jwks_file: {path} cannot be read ({type(error).__name__})") from error
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise StartError(f"auth.jwt.jwks_file: {path} holds no JSON Web Key Set")
    return {"inline_string": text}


def identity_files(config: RouterConfig) -> tuple[str, ...]:
    """The files whose change calls for rendering again."""
    jwt, mesh = config.auth.jwt, config.auth.mesh
    files = (jwt.jwks_file if jwt is not None else None, mesh.certificate_authority if mesh is not None else None)
    return tuple(file for file in files if file is not None)


def token_filters(config: RouterConfig, keys: Message | None) -> list[Message]:
    """The filter that lets only requests with a valid token through, if tokens are what callers prove themselves by.

    ``keys`` is a data source with the issuer's keys; without it the file is named.
    """
    jwt = config.auth.jwt
    if jwt is None:
        return []
    provider: Message = {
        "issuer": jwt.issuer,
        "from_headers": list(_PLACES),
        "forward_payload_header": names.JWT,
        # What never ends cannot be taken back.
        "require_expiration": True,
        **_keys_of(jwt, keys),
    }
    if jwt.audiences:
        provider["audiences"] = list(jwt.audiences)
    rule = {"match": {"prefix": "/v1/"}, "requires": {"provider_name": "caller"}}
    return [
        extension(
            "token",
            "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            providers={"caller": provider},
            rules=[rule],
            # Envoy's own would repeat the address with its query, where some clients carry keys.
            strip_failure_response=True,
        )
    ]


def _keys_of(jwt: Jwt, keys: Message | None) -> Message:
    if jwt.jwks_file is not None:
        return {"local_jwks": keys or {"filename": jwt.jwks_file}}
    remote = {
        "http_uri": {"uri": jwt.jwks_uri, "cluster": names.TOKEN_KEYS, "timeout": duration(FETCH_TIMEOUT_MS)},
        "cache_duration": duration(KEYS_KEPT_MS),
        # Before the first request, and from then on before the keys are too old: no request waits for them.
        "async_fetch": {},
    }
    return {"remote_jwks": remote}


def token_keys_endpoint(config: RouterConfig) -> Endpoint | None:
    """Where the issuer tells its keys, if Envoy is to ask there."""
    jwt = config.auth.jwt
    return Endpoint.of(jwt.jwks_uri) if jwt is not None and jwt.jwks_uri is not None else None


def peer_validation(config: RouterConfig, secrets: Path) -> Message:
    """What the listener's TLS asks of clients: a certificate of the mesh, or nothing."""
    if config.auth.mesh is None:
        return {}
    source = {"name": names.PEER_AUTHORITIES, "sds_config": file_source(secrets / f"{names.PEER_AUTHORITIES}.json")}
    return {"validation_context_sds_secret_config": source}
