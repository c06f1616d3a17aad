"""A provider's base URL taken apart into what Envoy must know."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Endpoint:
    """``authority`` is what the Host header says, ``path`` the base path without a trailing slash (``/`` when empty)."""

    secure: bool
    host: str
    port: int
    authority: str
    path: str

    @classmethod
    def of(cls, base_url: str) -> Endpoint:
        """Reads a base URL that the schema has accepted."""
        parts = urlsplit(base_url)
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        return cls(
            secure=secure,
            host=host,
            port=parts.port or (443 if secure else 80),
            authority=parts.netloc.rpartition("@")[2],
            path=parts.path.rstrip("/") or "/",
        )

    @property
    def is_address(self) -> bool:
        """The host is an IP address: nothing to resolve, and no name for the server to choose a certificate by."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True
