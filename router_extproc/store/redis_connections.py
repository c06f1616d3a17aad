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

__all__ = ["SOCKET_SECONDS", "Address", "Connections"]

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

    def __init__(self, username: str | None, read_password: Callable[[], str]) -> None:
        self._username = username
        self._read_password = read_password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._read_password()
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class Connections:
    """Makes clients for the servers of one store."""

    def __init__(self, settings: StoreSettings, environ: Mapping[str, str]) -> None:
        """Reads addresses and certificates' places, connects to nothing.

        Raises:
            StartError: an address cannot be read, or a password is not where it is said to be.
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
        self._encryption: dict[str, Any] = {"ssl": True} if self._is_encrypted else {}
        if self._is_encrypted:
            self._options |= {
                "ssl_ca_certs": settings.certificate_authority,
                "ssl_certfile": settings.certificate,
                "ssl_keyfile": settings.key,
            }
        read_password = _password_reader("store.redis.password", settings.password_env, settings.password_file, environ)
        self._credentials = _credentials(settings.username, read_password)
        env, file = settings.sentinel_password_env, settings.sentinel_password_file
        read_password = _password_reader("store.redis.sentinel.password", env, file, environ)
        self._sentinel_credentials = _credentials(settings.sentinel_username, read_password)

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

    def sentinels(self) -> Sentinel:
        """Who knows the master. One that is silent, or lets nobody in, is passed over for the next."""
        patience = {"socket_timeout": SOCKET_SECONDS}
        options = self._options | self._encryption | patience | self._sentinel_credentials
        return Sentinel(self.addresses, sentinel_kwargs=options)

    def link_by_sentinels(self) -> Link:
        """Connections to whichever server the sentinels call the master."""
        sentinel = self.sentinels()
        client = sentinel.master_for(
            self._settings.sentinel_service,
            db=self.database,
            redis_connect_func=self._processes.greet,
            **self._options,
            **self._credentials,
            **self._encryption,
        )
        return Link(client, self._processes, sentinel)


def _credentials(username: str | None, read_password: Callable[[], str] | None) -> dict[str, Any]:
    """What a client is made with; the password is tried to be read, and forgotten."""
    if read_password is None:
        return {}
    read_password()
    return {"credential_provider": _Credentials(username, read_password)}


def _password_reader(key: str, variable: str | None, file: str | None, environ: Mapping[str, str]) -> Callable[[], str] | None:
    """What reads the password of the ``key`` in ``router.yaml``; None where neither variable nor file is named.

    Calling it raises ``StartError`` while the variable or file is missing.
    """
    if variable is not None:

        def from_environment() -> str:
            password = environ.get(variable)
            if not password:
                raise StartError(f"{key}: the environment variable {variable} is not set")
            return password

        return from_environment
    if file is not None:
        path = Path(file)

        def from_file() -> str:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                return path.read_text("utf-8").strip()
            raise StartError(f"{key}: the file {path} cannot be read")

        return from_file
    return None
