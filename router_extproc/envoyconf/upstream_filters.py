"""The filters in front of each provider, run again on every attempt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from router_extproc.config.schema import Provider
from router_extproc.envoyconf import names
from router_extproc.envoyconf.layout import Layout
from router_extproc.envoyconf.listener import CLIENT_CREDENTIALS
from router_extproc.envoyconf.matchers import only_when_compressed, only_when_held, only_when_ticket_asks
from router_extproc.envoyconf.messages import Message, extension, file_source, remove_prefix, set_header
from router_extproc.envoyconf.secrets import CredentialKey
from router_extproc.envoyconf.workers import judge_leg, rename_leg, unpack_leg

_HEADER_MUTATION = "extensions.filters.http.header_mutation.v3.HeaderMutation"

# Upstream filters cannot read their cluster's metadata from Lua: these headers carry it there and are then removed.
_PREPARED = (
    ("x-router-deployment", "%UPSTREAM_CLUSTER_RAW%"),
    ("x-router-model", f"%CLUSTER_METADATA({names.TICKET}:model)%"),
    ("x-router-tier", f"%CLUSTER_METADATA({names.TICKET}:tier)%"),
    ("x-router-provider-model", f"%CLUSTER_METADATA({names.TICKET}:provider_model)%"),
    ("x-router-path", f"%CLUSTER_METADATA({names.TICKET}:path)%"),
    ("x-router-host", f"%CLUSTER_METADATA({names.TICKET}:host)%"),
)

# What a provider must not be able to tell Envoy's router or our clients.
_FORGED = ("x-router-", "x-envoy-")

# Meant for the provider's own host, wrong on ours.
_NOT_OURS = ("alt-svc", "strict-transport-security", "set-cookie")


def upstream_filters(
    layout: Layout, provider: Provider, key: CredentialKey | None, key_headers: Iterable[str], judgement_ms: int
) -> list[Message]:
    """In request order; on the answer they run in reverse, so that router.lua sees what the client will see.

    ``key_headers`` are the headers in which any provider gets its key.
    """
    return [
        _prepare(key_headers),
        _script("lua", layout.script),
        only_when_ticket_asks(judge_leg(judgement_ms), "judge"),
        only_when_ticket_asks(rename_leg(), "rename", later=True),
        only_when_compressed(unpack_leg()),
        only_when_held(_script("answered", layout.answered_script)),
        _strip(),
        *([_credential(layout, provider, key)] if key is not None else []),
        extension("codec", "extensions.filters.http.upstream_codec.v3.UpstreamCodec"),
    ]


def _prepare(key_headers: Iterable[str]) -> Message:
    """What an attempt changed in the headers, the next one finds: the last provider's key goes before anybody sees it."""
    mutations: list[Message] = [{"append": set_header(header, value)} for header, value in _PREPARED]
    mutations += [{"remove": header} for header in sorted({*CLIENT_CREDENTIALS, *key_headers})]
    return extension("prepare", _HEADER_MUTATION, mutations={"request_mutations": mutations})


def _script(name: str, path: Path) -> Message:
    return extension(name, "extensions.filters.http.lua.v3.Lua", default_source_code={"filename": str(path)})


def _strip() -> Message:
    """x-request-id and x-envoy-attempt-count stay: both logs read them from the live request, and they say nothing."""
    request = [
        remove_prefix("x-router-"),
        {"remove": "x-forwarded-proto"},
        {"remove": "x-forwarded-for"},
        {"remove": "x-envoy-external-address"},
        {"remove": "x-envoy-expected-rq-timeout-ms"},
    ]
    response = [*(remove_prefix(prefix) for prefix in _FORGED), *({"remove": header} for header in _NOT_OURS)]
    return extension("strip", _HEADER_MUTATION, mutations={"request_mutations": request, "response_mutations": response})


def _credential(layout: Layout, provider: Provider, key: CredentialKey) -> Message:
    """Envoy reads the key from its file: no other process, and no configuration dump, ever shows it."""
    secret = {"name": key.secret_name, "sds_config": file_source(layout.secrets / key.file_name)}
    generic = extension(
        "envoy.http.injected_credentials.generic",
        "extensions.http.injected_credentials.generic.v3.Generic",
        header=provider.credential_header,
        credential=secret,
    )
    return extension(
        "credential",
        "extensions.filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        credential=generic,
    )
