"""Changes of router.yaml stand in the audit log, beside those of keys and budgets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from router_extproc.config.state import StateDirectory
from router_extproc.observer.configuration_audit import ConfigurationAudit, changes_between
from router_extproc.observer.identities import Identities
from router_extproc.registry.snapshot import Plan, Registry, Route
from router_extproc.registry.spending import AuthSettings, KeyGrant, Spending, StoreSettings, Tenant
from router_extproc.store.identities import AuditEntry

NOW = 1_772_366_400.0
FIRST = Registry(revision="one", spending=Spending(keys={"ci": KeyGrant("ci", "acme", (("sha256:00:11", None),))}))
SECOND = replace(FIRST, revision="two", spending=Spending())


@pytest.fixture
async def identities(tmp_path: Path) -> AsyncIterator[Identities]:
    opened = Identities(StateDirectory(tmp_path), {})
    await opened.follow(StoreSettings())
    yield opened
    await opened.aclose()


async def entries(identities: Identities) -> list[AuditEntry]:
    """The audit log, oldest first."""
    return [entry for _, entry in (await identities.audit(before=None, limit=100))[::-1]]


async def test_each_configuration_is_noted_once(identities: Identities) -> None:
    """With what it changed; to see it again, also after a restart, is no change."""
    audit = ConfigurationAudit(identities, lambda: NOW)
    for registry in (Registry(), FIRST, FIRST, SECOND, FIRST):
        await audit.note(registry)
    await ConfigurationAudit(identities, lambda: NOW).note(FIRST)
    found = [(entry.actor, entry.action, entry.subject, entry.detail) for entry in await entries(identities)]
    assert found == [
        ("file", "configuration.apply", "one", {}),
        ("file", "configuration.apply", "two", {"before": "one", "keys_removed": "ci"}),
        ("file", "configuration.apply", "one", {"before": "two", "keys_added": "ci"}),
    ]


async def test_a_change_while_nothing_ran_is_noted(identities: Identities) -> None:
    """What was in force before is told, though nobody remembers what stood in it; other entries between are passed over."""
    await ConfigurationAudit(identities, lambda: NOW).note(FIRST)
    await identities.put_key(KeyGrant("k1", "acme", ()), AuditEntry("e1", NOW, "local", "key.create", "k1"))
    await ConfigurationAudit(identities, lambda: NOW).note(SECOND)
    assert [(entry.subject, entry.detail) for entry in await entries(identities)][2] == ("two", {"before": "one"})


async def test_what_cannot_be_written_yet_is_written_later(tmp_path: Path) -> None:
    """Before the store is known nothing can be noted; nothing is lost by it, and nobody fails."""
    identities = Identities(StateDirectory(tmp_path), {})
    audit = ConfigurationAudit(identities, lambda: NOW)
    await audit.note(FIRST)
    await identities.follow(StoreSettings())
    assert await entries(identities) == []
    await audit.note(FIRST)
    assert [entry.subject for entry in await entries(identities)] == ["one"]
    await identities.aclose()


def test_changes_are_told_by_name() -> None:
    """Which keys, tenants, budgets, models and routes, and how callers prove who they are; never a digest."""
    before = replace(FIRST, routes={"a": Route("a"), "b": Route("b")})
    changed = Spending(
        auth=AuthSettings(mode="keys"),
        keys={"ci": KeyGrant("ci", "acme", (("sha256:22:33", None),))},
        tenants={f"t{number}": Tenant() for number in range(25)},
    )
    after = replace(before, spending=changed, routes={"b": Route("b", Plan("best")), "c": Route("c")})
    told = dict(changes_between(before, after))
    assert told.pop("tenants_added").endswith("t19 and 5 more")
    assert told == {
        "auth": "keys",
        "keys_changed": "ci",
        "routes_added": "c",
        "routes_removed": "a",
        "routes_changed": "b",
    }
    assert dict(changes_between(after, after)) == {}
