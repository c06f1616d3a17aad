"""Keys, raises and the audit log as the observer serves them: written here, or where all instances meet.

Rules of this file
- Without a shared store the file of this machine is the authority; with one that is, and the file is its mirror.
- Every change comes with its audit entry. The flag that the first key leaves is there before its owner can read the key.
- A change of a key is made of what the key is at that moment, whoever else changes it: nothing undoes a revocation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from router_extproc.config.state import StateDirectory
from router_extproc.errors import RouterError
from router_extproc.registry.spending import KeyGrant, Raise, StoreSettings
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.identities import AuditEntry, IdentityReader, IdentityWriter, KeyChange, StoredRaise

T = TypeVar("T")

_RAISES_KEPT_SECONDS = 30 * 86_400.0
_AUDIT_KEPT_SECONDS = 400 * 86_400.0

_log = logging.getLogger(__name__)


class Authority(Protocol):
    """Where changes are made."""

    async def put_key(self, grant: KeyGrant, entry: AuditEntry) -> None:
        """Adds or replaces a key.

        Raises:
            StoreUnavailableError: whether it was done is not known.
        """

    async def change_key(self, key: str, change: KeyChange) -> KeyGrant:
        """Changes the key of this id, and returns it as it is then.

        Raises:
            StoreUnavailableError: whether it was done is not known.
        """

    async def add_raise(self, stored: StoredRaise, entry: AuditEntry) -> None:
        """Adds a raise.

        Raises:
            StoreUnavailableError: whether it was done is not known.
        """

    async def add_entry(self, entry: AuditEntry) -> None:
        """Notes a change that was made elsewhere.

        Raises:
            StoreUnavailableError: whether it was done is not known.
        """

    async def follow(self) -> bool:
        """Takes over what others changed; True where anything had.

        Raises:
            StoreUnavailableError: it cannot be asked.
        """


class OwnFile:
    """The file of this machine as the authority. Blocking work is done on one thread of its own."""

    def __init__(self, writer: IdentityWriter, reader: IdentityReader) -> None:
        """``reader`` is used here alone."""
        self._writer, self._reader = writer, reader
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="identities")

    async def put_key(self, grant: KeyGrant, entry: AuditEntry) -> None:
        """As ``Authority.put_key``.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        await self._run(lambda: self._writer.put_key(grant, entry))

    async def change_key(self, key: str, change: KeyChange) -> KeyGrant:
        """As ``Authority.change_key``.

        Raises:
            StoreUnavailableError: nothing was written.
        """

        def read_and_write() -> KeyGrant:
            grant, entry = change(self._reader.find(key))
            if entry is not None:
                self._writer.put_key(grant, entry)
            return grant

        return await self._run(read_and_write)

    async def add_raise(self, stored: StoredRaise, entry: AuditEntry) -> None:
        """As ``Authority.add_raise``.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        await self._run(lambda: self._writer.add_raise(stored, entry))

    async def add_entry(self, entry: AuditEntry) -> None:
        """As ``Authority.add_entry``.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        await self._run(lambda: self._writer.add_entry(entry))

    async def follow(self) -> bool:
        """Nobody else writes here."""
        return False

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class Identities:
    """What the admin API reads and changes."""

    def __init__(self, state: StateDirectory, environ: Mapping[str, str]) -> None:
        """Opens nothing yet: where the authority is, the configuration says."""
        self._state, self._environ = state, environ
        self._reader = IdentityReader(state.identities)
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="identities-read")
        self._settings: StoreSettings | None = None
        self._authority: Authority | None = None
        self._closing = contextlib.AsyncExitStack()
        self._is_away = False

    async def follow(self, settings: StoreSettings) -> None:
        """Uses the authority that the settings name, and takes over what other instances changed.

        That it cannot be used is told once, and tried again with the next call.
        """
        try:
            if settings != self._settings:
                await self._open(settings)
            if self._authority is not None and await self._authority.follow():
                await self._flag()
        except (RouterError, sqlite3.Error, OSError) as error:
            if not self._is_away:
                _log.exception("keys and raises of other instances cannot be read", extra={"reason": str(error)})
            self._is_away = True
            return
        if self._is_away:
            _log.warning("keys and raises of other instances are read again")
            self._is_away = False

    async def tidy(self, now: float) -> None:
        """Forgets raises that ended long ago, and audit entries after a year and a month."""
        if self._authority is None:
            return

        def forget() -> None:
            with contextlib.closing(IdentityWriter(self._state.identities)) as writer:
                writer.forget(now - _RAISES_KEPT_SECONDS, now - _AUDIT_KEPT_SECONDS)

        try:
            await self._read(forget)
        except (RouterError, sqlite3.Error, OSError):
            _log.exception("old raises and audit entries cannot be deleted")

    async def put_key(self, grant: KeyGrant, entry: AuditEntry) -> None:
        """Adds a key or replaces the one of this id.

        Raises:
            StoreUnavailableError: whether it was done is not known.
        """
        await self._there().put_key(grant, entry)
        await self._flag()

    async def change_key(self, key: str, change: KeyChange) -> KeyGrant:
        """Changes the key of this id, and returns it as it is then; other changes of it come before or after, not between.

        Raises:
            StoreUnavailableError: whether it was done is not known.
        """
        return await self._there().change_key(key, change)

    async def add_raise(self, stored: StoredRaise, entry: AuditEntry) -> None:
        """Adds a raise.

        Raises:
            StoreUnavailableError: whether it was done is not known.
        """
        await self._there().add_raise(stored, entry)

    async def add_entry(self, entry: AuditEntry) -> None:
        """Notes a change that was made elsewhere.

        Raises:
            StoreUnavailableError: whether it was done is not known.
        """
        await self._there().add_entry(entry)

    async def find(self, key: str) -> KeyGrant | None:
        """The key of this id.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        return await self._read(lambda: self._reader.find(key))

    async def keys(self, *, tenant: str | None, after: str, limit: int) -> list[KeyGrant]:
        """Keys in the order of their ids, from behind ``after`` on.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        return await self._read(lambda: self._reader.keys(tenant=tenant, after=after, limit=limit))

    async def raises(self) -> Mapping[str, tuple[Raise, ...]]:
        """All raises by the name of their budget.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        return await self._read(self._reader.raises)

    async def audit(self, *, before: int | None, limit: int, action: str | None = None) -> list[tuple[int, AuditEntry]]:
        """The newest entries, all or those of one action.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        return await self._read(lambda: self._reader.audit(before=before, limit=limit, action=action))

    async def aclose(self) -> None:
        """Closes everything."""
        await self._closing.aclose()
        await self._read(self._reader.close)
        self._reading.shutdown()

    async def _open(self, settings: StoreSettings) -> None:
        await self._closing.aclose()
        self._authority = None
        writer = IdentityWriter(self._state.identities)
        self._closing.callback(writer.close)
        reader = IdentityReader(self._state.identities)
        self._closing.callback(reader.close)
        if settings.kind == "sqlite":
            self._authority = OwnFile(writer, reader)
        else:
            from router_extproc.store.identity_mirror import IdentityMirror  # noqa: PLC0415 - only what is used is loaded
            from router_extproc.store.redis_identities import RedisIdentities  # noqa: PLC0415 - as above

            shared = RedisIdentities(settings, self._environ)
            self._closing.push_async_callback(shared.aclose)
            self._authority = IdentityMirror(shared, writer, reader)
        self._settings = settings
        await self._flag()

    def _there(self) -> Authority:
        if self._authority is None:
            raise StoreUnavailableError("there is no configuration yet")
        return self._authority

    async def _flag(self) -> None:
        """Leaves the flag by which the supervisor closes the door to requests that no worker decided."""
        if not self._state.keys_exist.exists() and await self._read(self._reader.has_keys):
            self._state.keys_exist.touch()

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)
