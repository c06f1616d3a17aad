"""Keeps ``identities.sqlite`` equal to what Redis says, and Redis equal to it where Redis forgot.

One a machine, in the observer; workers only read the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from router_extproc.registry.spending import KeyGrant
from router_extproc.store.identities import AuditEntry, IdentityReader, IdentityWriter, KeyChange, StoredRaise
from router_extproc.store.redis_identities import BehindError, Record, RedisIdentities

_AT_ONCE = 500
_MOST_AUDIT_ENTRIES = 10_000
_ATTEMPTS = 3
_Result = TypeVar("_Result")


class IdentityMirror:
    """Changes go to Redis first and are here when the call returns. Files are written in a thread, one call at a time."""

    def __init__(self, identities: RedisIdentities, writer: IdentityWriter, reader: IdentityReader) -> None:
        """``reader`` is used by this mirror alone."""
        self._identities = identities
        self._writer = writer
        self._reader = reader
        self._lock = asyncio.Lock()

    async def put_key(self, grant: KeyGrant, entry: AuditEntry) -> None:
        """As ``IdentityWriter.put_key``, for all instances.

        Raises:
            StoreUnavailableError: Redis or the file cannot be used; whether the change was made is not known.
        """
        await self._put(lambda: (grant, entry))

    async def change_key(self, key: str, change: KeyChange) -> KeyGrant:
        """Changes the key of this id, made of what it is for all instances, and returns it as it is then.

        Raises:
            StoreUnavailableError: Redis or the file cannot be used; whether the change was made is not known.
        """
        changed: list[KeyGrant] = []

        def records() -> Sequence[Record]:
            grant, entry = change(self._reader.find(key))
            changed[:] = [grant]
            return () if entry is None else (grant, entry)

        await self._put(records)
        return changed[0]

    async def add_raise(self, stored: StoredRaise, entry: AuditEntry) -> None:
        """As ``IdentityWriter.add_raise``, for all instances.

        Raises:
            StoreUnavailableError: Redis or the file cannot be used; whether the change was made is not known.
        """
        await self._put(lambda: (stored, entry))

    async def add_entry(self, entry: AuditEntry) -> None:
        """As ``IdentityWriter.add_entry``, for all instances.

        Raises:
            StoreUnavailableError: Redis or the file cannot be used; whether the change was made is not known.
        """
        await self._put(lambda: (entry,))

    async def follow(self) -> bool:
        """Takes over what other instances changed; to be called a few times a second. True where anything had changed.

        Raises:
            StoreUnavailableError: Redis or the file cannot be used.
        """
        async with self._lock:
            return await self._follow()

    async def _put(self, make: Callable[[], Sequence[Record]]) -> None:
        """Puts what ``make`` makes of what is mirrored, and makes it anew where that was old."""
        async with self._lock:
            for attempt in range(_ATTEMPTS):
                known = await _in_thread(self._writer.applied)
                records = await _in_thread(make)
                if not records:
                    return
                try:
                    await self._identities.put(records, known)
                except BehindError:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    await self._follow()
                else:
                    break
            await self._follow()

    async def _follow(self) -> bool:
        known = await _in_thread(self._writer.applied)
        latest = await self._identities.latest(known, _AT_ONCE)
        if latest.is_behind:
            await self._bring(known)
            latest = await self._identities.latest(known, _AT_ONCE)
        is_changed = False
        while latest.changes.sequence > known:
            await _in_thread(partial(self._writer.apply, latest.changes))
            known = latest.changes.sequence
            is_changed = True
            if not latest.has_more:
                break
            latest = await self._identities.latest(known, _AT_ONCE)
        return is_changed

    async def _bring(self, known: int) -> None:
        """Everything that is here, in portions; the newest audit entries only."""
        portions = _portions(self._reader)
        while (portion := await _in_thread(partial(next, portions, None))) is not None:
            await self._identities.seed(portion, known)


def _portions(reader: IdentityReader) -> Iterator[Sequence[Record]]:
    # Also where there is nothing to bring: only then does the store know that this instance has nothing.
    yield reader.stored_raises()
    entries = [entry for _, entry in reversed(reader.audit(limit=_MOST_AUDIT_ENTRIES))]
    yield from (entries[first : first + _AT_ONCE] for first in range(0, len(entries), _AT_ONCE))
    after = ""
    while keys := reader.keys(after=after, limit=_AT_ONCE):
        yield keys
        after = keys[-1].id


async def _in_thread(work: Callable[[], _Result]) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(None, work)
