"""Keys, raises and the audit log in Redis: what one instance changes, all others have within a moment.

Rules of this file
- Redis is where changes meet, not where they are looked up: every instance mirrors them into its ``identities.sqlite``, and
  goes on with that when Redis is away.
- A Redis that was emptied or restarted is filled again from the mirrors; the newest copy wins, whoever comes first.
- Digests only, as in the mirror.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from router_extproc.registry.spending import KeyGrant, StoreSettings
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.identities import AuditEntry, Changes, StoredRaise
from router_extproc.store.redis_connections import SOCKET_SECONDS, Connections
from router_extproc.store.redis_scripts import Argument, Command, script
from router_extproc.store.redis_servers import connect

MOST_AUDIT_ENTRIES = 50_000
"""So many audit entries are kept in Redis; the mirrors keep theirs as long as they are told to."""

Record = KeyGrant | StoredRaise | AuditEntry
_KINDS: Mapping[str, type[Record]] = {"key": KeyGrant, "raise": StoredRaise, "audit": AuditEntry}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class BehindError(StoreUnavailableError):
    """Redis is new to this instance, which has to bring what it has, by ``seed``; or it knows a newer version of a key that is
    to be changed. What helps is to ask for what is new.
    """


class Latest(msgspec.Struct, frozen=True):
    """What changed, and whether there is more of it. ``is_behind``: the instance has to ``seed`` what it has first."""

    changes: Changes
    has_more: bool
    is_behind: bool


class RedisIdentities:
    """``known`` is how far the asking instance has come: the ``sequence`` of the last changes that it applied, 0 at first."""

    def __init__(self, settings: StoreSettings, environ: Mapping[str, str]) -> None:
        """Connects to nothing yet.

        Raises:
            StartError: an address cannot be read, or the password is not where it is said to be.
        """
        self._servers = connect(settings, Connections(settings, environ))
        self._tag = self._servers.tags[0]
        kinds = ("state", "records", "changed", "audits")
        self._keys = [f"{settings.prefix}:{{{self._tag}}}:identities:{kind}" for kind in kinds]

    async def put(self, records: Sequence[Record], known: int) -> None:
        """Makes changes that belong together: a key or raise with its audit entry. They come back with ``latest``.

        A key is changed only where nobody changed it after ``known``: what is put was made of what it was then.

        Raises:
            BehindError: nothing was changed.
            StoreUnavailableError: Redis does not answer; whether anything was changed is not known.
        """
        if await self._run("identities_put", (known, MOST_AUDIT_ENTRIES, *_fields(records))) is None:
            raise BehindError("the store is new to this instance, or ahead of it")

    async def seed(self, records: Sequence[Record], known: int) -> None:
        """Brings what this instance has, some hundreds of records at a time; doing it again changes nothing.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        await self._run("identities_seed", (known, MOST_AUDIT_ENTRIES, *_fields(records)))

    async def latest(self, known: int, limit: int = 500) -> Latest:
        """Records that changed after ``known``, in the order of their changes, as they are now.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        is_behind, sequence, *found = await self._run("identities_changes", (known, limit))
        records = [_record(field, text) for field, text in zip(found[::3], found[1::3], strict=True)]
        has_more = len(records) == limit
        changes = Changes(
            keys=tuple(record for record in records if isinstance(record, KeyGrant)),
            raises=tuple(record for record in records if isinstance(record, StoredRaise)),
            audit=tuple(record for record in records if isinstance(record, AuditEntry)),
            sequence=int(found[-1] if has_more else sequence),
        )
        return Latest(changes, has_more=has_more, is_behind=bool(is_behind))

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._servers.aclose()

    async def _run(self, name: str, arguments: Sequence[Argument]) -> list[bytes]:
        command = Command(script(name, "identities"), self._keys, arguments)
        answer: list[bytes] = await self._servers.run(self._tag, command, deadline=SOCKET_SECONDS)
        return answer


def _fields(records: Iterable[Record]) -> Iterable[str]:
    for record in records:
        yield f"{_NAMES[type(record)]} {record.id}"
        yield msgspec.json.encode(record).decode()


def _record(field: bytes, text: bytes) -> Record:
    kind, _, _ = field.decode().partition(" ")
    record: Record = msgspec.json.decode(text, type=_KINDS[kind])
    return record
