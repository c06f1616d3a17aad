"""Keys as the secret files that Envoy watches.

Rules of this file
- A key is read here and written into one file of mode 0600; it appears in no message, log or error.
- A key that cannot be had gives an empty secret: Envoy refuses to start without the file, and with an empty secret
  answers 401 for that deployment until the key comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from router_extproc.config.deployments import configured_deployments
from router_extproc.config.schema import Credential, Provider, RouterConfig
from router_extproc.envoyconf import names
from router_extproc.envoyconf.identity import identity_files
from router_extproc.envoyconf.messages import Message, typed
from router_extproc.errors import StartError

_SECRET = "extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a message's type, not a secret


@dataclass(frozen=True)
class CredentialKey:
    """Names one credential of one provider."""

    provider: str
    credential: str

    @property
    def secret_name(self) -> str:
        """The name of the SDS resource."""
        return f"{self.provider}@{self.credential}"

    @property
    def file_name(self) -> str:
        """The file in the secrets directory; names may hold ``/``, file names may not."""
        return f"{quote(self.provider, safe='')}@{quote(self.credential, safe='')}.json"


def credential_keys(name: str, provider: Provider) -> dict[CredentialKey, Credential]:
    """All credentials of a provider: by their own name, or by their place counted from 1."""
    return {
        CredentialKey(name, credential.name or str(place)): credential
        for place, credential in enumerate(provider.credentials, start=1)
    }


def credentials_by_deployment(config: RouterConfig) -> dict[str, CredentialKey | None]:
    """Which key each deployment uses; None where its provider needs none."""
    keys: dict[str, CredentialKey | None] = {}
    for deployment in configured_deployments(config):
        own = list(credential_keys(deployment.provider_name, deployment.provider))
        suffix = deployment.name.removeprefix(deployment.group).removeprefix("@")
        keys[deployment.name] = next((key for key in own if key.credential == suffix), own[0] if own else None)
    return keys


def deployments_without_key(config: RouterConfig, environ: Mapping[str, str]) -> frozenset[str]:
    """The deployments that Envoy would refuse to call: their provider asks for a key, and there is none yet."""
    keys = {
        key: read_key(credential, environ)
        for name, provider in config.providers.items()
        for key, credential in credential_keys(name, provider).items()
    }
    return frozenset(name for name, key in credentials_by_deployment(config).items() if key is not None and not keys[key])


def credential_files(config: RouterConfig) -> tuple[Path, ...]:
    """The files whose change calls for rendering again: keys, the listener's certificate, and what callers prove theirs by."""
    files = [credential.file for provider in config.providers.values() for credential in provider.credentials]
    if config.listener.tls is not None:
        files += [config.listener.tls.certificate, config.listener.tls.key]
    files += identity_files(config)
    return tuple(dict.fromkeys(Path(file) for file in files if file is not None))


def render_secrets(config: RouterConfig, environ: Mapping[str, str]) -> dict[str, bytes]:
    """The secret files, by their path below the rendered directory.

    Raises:
        StartError: a certificate or its key cannot be read.
    """
    files = {}
    for name, provider in config.providers.items():
        for key, credential in credential_keys(name, provider).items():
            value = read_key(credential, environ)
            files[f"secrets/{key.file_name}"] = _key_file(key, provider.credential_prefix + value if value else "")
    if config.listener.tls is not None:
        certificate = {
            "certificate_chain": {"inline_string": _read_pem("listener.tls.certificate", config.listener.tls.certificate)},
            "private_key": {"inline_string": _read_pem("listener.tls.key", config.listener.tls.key)},
        }
        files[f"secrets/{names.SERVER_CERTIFICATE}.json"] = _secret_file(
            names.SERVER_CERTIFICATE, {"tls_certificate": certificate}
        )
    if config.auth.mesh is not None:
        authorities = _read_pem("auth.mesh.certificate_authority", config.auth.mesh.certificate_authority)
        files |= _peer_authorities({"inline_string": authorities})
    return files


def placeholder_secrets(config: RouterConfig) -> dict[str, bytes]:
    """The same files without any secret, for a configuration that is shown or kept."""
    files = {
        f"secrets/{key.file_name}": _key_file(key, "")
        for name, provider in config.providers.items()
        for key in credential_keys(name, provider)
    }
    if config.listener.tls is not None:
        certificate = {"certificate_chain": {"inline_string": ""}, "private_key": {"inline_string": ""}}
        files[f"secrets/{names.SERVER_CERTIFICATE}.json"] = _secret_file(
            names.SERVER_CERTIFICATE, {"tls_certificate": certificate}
        )
    if config.auth.mesh is not None:
        # No secret: Envoy can read it where it lies.
        files |= _peer_authorities({"filename": config.auth.mesh.certificate_authority})
    return files


def _peer_authorities(source: Message) -> dict[str, bytes]:
    context = {"validation_context": {"trusted_ca": source}}
    return {f"secrets/{names.PEER_AUTHORITIES}.json": _secret_file(names.PEER_AUTHORITIES, context)}


def read_key(credential: Credential, environ: Mapping[str, str]) -> str:
    """The key without surrounding white space, or nothing when it cannot be had."""
    if credential.env is not None:
        return environ.get(credential.env, "").strip()
    try:
        return Path(credential.file or "").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _read_pem(key: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{key}: {path} cannot be read ({type(error).__name__})") from error


def _key_file(key: CredentialKey, value: str) -> bytes:
    return _secret_file(key.secret_name, {"generic_secret": {"secret": {"inline_string": value}}})


def _secret_file(name: str, secret: Message) -> bytes:
    return json.dumps({"resources": [typed(_SECRET, name=name, **secret)]}, indent=1).encode() + b"\n"
