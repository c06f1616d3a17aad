"""Which configurations were taken over, in the audit log: who changes router.yaml changes keys, permissions and budgets by it.

Rules of this file
- Names alone are told, no digest and no value: what they were changed to, the file's own history says.
- Each change has one entry, whatever is restarted, and however many instances share the log.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping

from router_extproc.errors import RouterError
from router_extproc.observer.identities import Identities
from router_extproc.registry.snapshot import Registry
from router_extproc.store.identities import AuditEntry

ACTION = "configuration.apply"
ACTOR = "file"

_MOST_NAMES = 20


class ConfigurationAudit:
    """Notes configurations as they come into force."""

    def __init__(self, identities: Identities, clock: Callable[[], float]) -> None:
        """``clock`` tells epoch seconds."""
        self._identities, self._clock = identities, clock
        self._noted: Registry | None = None

    async def note(self, registry: Registry) -> None:
        """Makes an entry, unless the newest is of this configuration. What cannot be written is tried again."""
        if not registry.revision or (self._noted is not None and self._noted.revision == registry.revision):
            return
        try:
            newest = await self._identities.audit(before=None, limit=1, action=ACTION)
            before = newest[0][1].subject if newest else ""
            if before != registry.revision:
                detail = {"before": before} if before else {}
                if self._noted is not None:
                    detail |= dict(changes_between(self._noted, registry))
                entry = AuditEntry(secrets.token_hex(8), self._clock(), ACTOR, ACTION, registry.revision, detail)
                await self._identities.add_entry(entry)
        except (RouterError, sqlite3.Error, OSError):
            # ``Identities.follow`` tells why, once.
            return
        self._noted = registry


def changes_between(before: Registry, after: Registry) -> Iterator[tuple[str, str]]:
    """What was added, removed and changed: ``keys_added`` and its names."""
    if before.spending.auth != after.spending.auth:
        yield "auth", after.spending.auth.mode or "not written"
    then, now = _sections(before), _sections(after)
    for section, old in then.items():
        new = now[section]
        yield from _told(f"{section}_added", [name for name in new if name not in old])
        yield from _told(f"{section}_removed", [name for name in old if name not in new])
        yield from _told(f"{section}_changed", [name for name, value in new.items() if name in old and old[name] != value])


def _sections(registry: Registry) -> dict[str, Mapping[str, object]]:
    spending = registry.spending
    return {
        "keys": spending.keys,
        "tenants": spending.tenants,
        "budgets": {budget.name: budget for budget in spending.budgets},
        "models": registry.models,
        "routes": registry.routes,
    }


def _told(what: str, names: list[str]) -> Iterator[tuple[str, str]]:
    if names:
        rest = len(names) - _MOST_NAMES
        yield what, ",".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
