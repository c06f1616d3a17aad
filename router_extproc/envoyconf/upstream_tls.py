"""TLS towards a provider: the name asked for is the name the certificate must carry."""

from __future__ import annotations

from pathlib import Path

from router_extproc.envoyconf.endpoint import Endpoint
from router_extproc.envoyconf.messages import Message, extension

SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch, distroless
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # CentOS, RHEL 7
    "/etc/ssl/cert.pem",  # macOS, FreeBSD, Alpine
)
"""Where systems keep their bundle of certificate authorities; Envoy has no default of its own."""


def system_roots() -> str:
    """The first bundle that this machine has, or the most common path when there is none."""
    return next((path for path in SYSTEM_ROOTS if Path(path).is_file()), SYSTEM_ROOTS[0])


def upstream_tls(endpoint: Endpoint, authorities: str, protocol: str) -> Message:
    """The transport socket of one provider, whose certificate is signed by one of ``authorities``, a file."""
    san_type = "IP_ADDRESS" if endpoint.is_address else "DNS"
    context: Message = {
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": [protocol],
            "validation_context": {
                "trusted_ca": {"filename": authorities},
                "match_typed_subject_alt_names": [{"san_type": san_type, "matcher": {"exact": endpoint.host}}],
            },
        },
    }
    if not endpoint.is_address:
        context["sni"] = endpoint.host
    return extension("envoy.transport_sockets.tls", "extensions.transport_sockets.tls.v3.UpstreamTlsContext", **context)
