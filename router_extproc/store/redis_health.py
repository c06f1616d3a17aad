"""What instances found out about deployments, in Redis: each leaves its own word there, and reads those of the others.

Rules of this file
- A word is what one instance said last, as a whole; it ends a moment after the instance has given its last sign.
- Redis is where words meet, and nothing is kept there: emptied, it is told again with the next exchange.
- How old a word is, the server's clock says: those of the instances need not agree for that.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.redis_connections import SOCKET_SECONDS, Connections
from router_extproc.store.redis_scripts import Argument, Command, script
from router_extproc.store.redis_servers import connect

STALE_SECONDS = 2.0
"""After so long without a sign an instance is taken for dead."""


class Heard(msgspec.Struct, frozen=True):
    """What another instance said, and how many seconds ago it gave its last sign."""

    version: str
    word: bytes
    age: float


class RedisHealth:
    """The words in one store, as the instance named ``instance`` sees them."""

    def __init__(self, settings: StoreSettings, environ: Mapping[str, str], instance: str) -> None:
        """Connects to nothing yet.

        Raises:
            StartError: an address cannot be read, or the password is not where it is said to be.
        """
        self._instance = instance
        self._servers = connect(settings, Connections(settings, environ))
        self._tag = self._servers.tags[0]
        self._keys = [f"{settings.prefix}:{{{self._tag}}}:health:{kind}" for kind in ("words", "seen")]
        self._word = ""
        self._version = 0
        self._is_told = False
        self._others: dict[str, Heard] = {}

    async def exchange(self, word: str) -> Mapping[str, Heard]:
        """Leaves ``word``, which is no empty text, where it is another than last time; returns those of all that live.

        Raises:
            StoreUnavailableError: Redis does not answer; whether the word came there is not known.
        """
        if word != self._word:
            self._word, self._version, self._is_told = word, self._version + 1, False
        if not await self._exchange():
            # Redis was emptied: what was told is told again.
            await self._exchange()
        return self._others

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._servers.aclose()

    async def _exchange(self) -> bool:
        text = "" if self._is_told else self._word
        self._is_told = False
        known = [part for name, heard in self._others.items() for part in (name, heard.version)]
        stale_ms = round(STALE_SECONDS * 1_000)
        arguments: tuple[Argument, ...] = (self._instance, str(self._version), text, stale_ms, *known)
        command = Command(script("health_exchange", "health"), self._keys, arguments)
        is_there, *found = await self._servers.run(self._tag, command, deadline=SOCKET_SECONDS)
        others = {}
        for name, age, version, said in zip(found[::4], found[1::4], found[2::4], found[3::4], strict=True):
            instance = name.decode()
            others[instance] = Heard(version.decode(), said or self._others[instance].word, age / 1_000)
        self._others = others
        self._is_told = bool(is_there)
        return self._is_told
