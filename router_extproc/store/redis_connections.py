"""Connections to Redis servers: addresses, TLS and credentials, from what ``router.yaml`` says about the store.

Rules of this file
- A password is read where it lies each time a connection is made, so that it can be changed without a restart; it is in no
  message and in no object that prints itself.
- Nothing is tried again in here: whoever waits for an answer has a deadline, and decides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from router_extproc.errors import StartError
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.redis_link import SOCKET_SECONDS, Link
from router_extproc.store.redis_processes import Processes

__all__ = ["SOCKET_SECONDS", "Address", "Connections", "password_reader"]

_DEFAULT_PORT = 6379
_DEFAULT_SENTINEL_PORT = 26379
_CONNECTIONS = 4


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Credentials(CredentialProvider):
    """User and password for each new connection."""

    def __init__(self, username: str | None, read_password: Callable[[], str | None]) -> None:
        self._username = username
        self._read_password = read_password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._read_password() or ""
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class Connections:
    """Makes clients for the servers of one store."""

    def __init__(self, settings: StoreSettings, environ: Mapping[str, str]) -> None:
        """Reads addresses and certificates' places, connects to nothing.

        Raises:
            StartError: an address cannot be read, or the password is not where it is said to be.
        """
        self._settings = settings
        default_port = _DEFAULT_SENTINEL_PORT if settings.kind == "redis_sentinel" else _DEFAULT_PORT
        parts = [urlsplit(url) for url in settings.urls]
        if not parts:
            raise StartError("store.redis: no url: write where Redis listens, redis://host:6379")
        self.addresses = tuple(Address(part.hostname or "localhost", part.port or default_port) for part in parts)
        self.database = int(parts[0].path.strip("/") or 0)
        self._processes = Processes()
        self._options: dict[str, Any] = {
            # Whoever asks has a clock.
            "socket_timeout": None,
            "socket_connect_timeout": SOCKET_SECONDS,
            # Names of the client and its library would be two more commands that a user has to be allowed.
            "driver_info": None,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        self._is_encrypted = parts[0].scheme == "rediss"
        if self._is_encrypted:
            self._options |= {
                "ssl_ca_certs": settings.certificate_authority,
                "ssl_certfile": settings.certificate,
                "ssl_keyfile": settings.key,
            }
        read_password = password_reader(settings, environ)
        self._credentials: dict[str, Any] = {}
        if read_password is not None:
            read_password()
            self._credentials = {"credential_provider": _Credentials(settings.username, read_password)}

    def client(self, address: Address) -> Redis:
        """A client for one server."""
        pool = BlockingConnectionPool(
            max_connections=_CONNECTIONS,
            timeout=SOCKET_SECONDS,
            connection_class=SSLConnection if self._is_encrypted else Connection,
            host=address.host,
            port=address.port,
            db=self.database,
            redis_connect_func=self._processes.greet,
            **self._options,
            **self._credentials,
        )
        return Redis.from_pool(pool)

    def link(self, address: Address) -> Link:
        """Connections to one server."""
        return Link(self.client(address), self._processes)

    def link_by_sentinels(self) -> Link:
        """Connections to whichever server the sentinels call the master."""
        encryption: dict[str, Any] = {"ssl": True} if self._is_encrypted else {}
        # A sentinel that is silent is passed over for the next.
        sentinel = Sentinel(self.addresses, sentinel_kwargs=self._options | encryption | {"socket_timeout": SOCKET_SECONDS})
        client = sentinel.master_for(
            self._settings.sentinel_service,
            db=self.database,
            redis_connect_func=self._processes.greet,
            **self._options,
            **self._credentials,
            **encryption,
        )
        return Link(client, self._processes, sentinel)


def password_reader(settings: StoreSettings, environ: Mapping[str, str]) -> Callable[[], str | None] | None:
    """What reads the password; None where the settings name none.

    Calling it raises ``StartError`` while the variable or file is missing.
    """
    if settings.password_env is not None:
        variable = settings.password_env

        def from_environment() -> str | None:
            password = environ.get(variable)
            if not password:
                raise StartError(f"store.redis.password: the environment variable {variable} is not set")
            return password

        return from_environment
    if settings.password_file is not None:
        path = Path(settings.password_file)

        def from_file() -> str | None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                return path.read_text("utf-8").strip()
            raise StartError(f"store.redis.password: the file {path} cannot be read")

        return from_file
    return None
