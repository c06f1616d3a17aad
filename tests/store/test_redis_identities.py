"""Keys, raises and audit entries in Redis: seen by all instances, filled again from their copies after a loss."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from router_extproc.registry.spending import KeyGrant, Raise, StoreSettings
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.identities import AuditEntry, StoredRaise
from router_extproc.store.redis_identities import BehindError, RedisIdentities
from tests.redis_servers import RedisServer, single_redis


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest_asyncio.fixture
async def identities(server: RedisServer) -> AsyncIterator[RedisIdentities]:
    opened = RedisIdentities(StoreSettings(kind="redis", urls=(server.url,), deadline_ms=5_000), {})
    yield opened
    await opened.aclose()


def key(name: str, tenant: str = "acme") -> KeyGrant:
    return KeyGrant(name, tenant, (("sha256:00:11", None),))


def entry(name: str) -> AuditEntry:
    return AuditEntry(name, 1.5, "admin", "key.create", name, {"tenant": "acme"})


async def test_changes_come_back_in_their_order(identities: RedisIdentities) -> None:
    """What one instance changes, another is told from where it had come to; a record changed twice comes once, as it is."""
    await identities.put([key("one"), entry("a")], 0)
    first = await identities.latest(0)
    assert first.changes.keys == (key("one"),)
    assert first.changes.audit == (entry("a"),)
    granted = StoredRaise("r", "budget", Raise(5, 10.0))
    await identities.put([key("one", "other"), granted], first.changes.sequence)
    second = await identities.latest(first.changes.sequence)
    assert (second.changes.keys, second.changes.raises, second.changes.audit) == ((key("one", "other"),), (granted,), ())
    assert second.changes.sequence > first.changes.sequence
    assert not second.is_behind
    assert (await identities.latest(second.changes.sequence)).changes.sequence == second.changes.sequence


async def test_many_changes_come_in_portions(identities: RedisIdentities) -> None:
    """Nothing is left out or told twice where there is more than one portion."""
    await identities.put([key(f"k{number}") for number in range(7)], 0)
    known, names = 0, []
    while True:
        latest = await identities.latest(known, limit=3)
        names += [grant.id for grant in latest.changes.keys]
        known = latest.changes.sequence
        if not latest.has_more:
            break
    assert names == [f"k{number}" for number in range(7)]


async def test_who_has_not_brought_its_copy_changes_nothing(server: RedisServer, identities: RedisIdentities) -> None:
    """After Redis was emptied or started again an instance brings what it has before it changes anything."""
    await identities.put([key("one")], 0)
    known = (await identities.latest(0)).changes.sequence
    with server.client() as client:
        client.flushall()
    with pytest.raises(BehindError):
        await identities.put([key("two")], known)
    assert (await identities.latest(known)).is_behind
    await identities.seed([key("one")], known)
    latest = await identities.latest(known)
    assert latest.changes.keys == (key("one"),)
    await identities.put([key("two")], latest.changes.sequence)
    assert (await identities.latest(latest.changes.sequence)).changes.keys == (key("two"),)


@pytest.mark.parametrize("newer_first", [True, False])
async def test_the_newest_copy_wins(server: RedisServer, identities: RedisIdentities, *, newer_first: bool) -> None:
    """Of two instances the one that had come farther is right about a key, whichever brings its copy first."""
    await identities.put([key("one", "old")], 0)
    older = (await identities.latest(0)).changes.sequence
    await identities.put([key("one", "new")], older)
    newer = (await identities.latest(older)).changes.sequence
    with server.client() as client:
        client.flushall()
    copies = [(key("one", "new"), newer), (key("one", "old"), older)]
    for grant, known in copies if newer_first else reversed(copies):
        await identities.seed([grant], known)
    assert (await identities.latest(newer)).changes.keys == (key("one", "new"),)


async def test_a_change_after_the_loss_wins_over_all_copies(server: RedisServer, identities: RedisIdentities) -> None:
    """A key that was revoked since is not brought back by an instance that comes late with its copy."""
    await identities.put([key("one", "old")], 0)
    known = (await identities.latest(0)).changes.sequence
    with server.client() as client:
        client.flushall()
    await identities.seed([key("one", "old")], known)
    since = (await identities.latest(known)).changes.sequence
    await identities.put([key("one", "revoked")], since)
    await identities.seed([key("one", "old")], known + 1)
    assert (await identities.latest(since)).changes.keys == (key("one", "revoked"),)


async def test_only_so_many_audit_entries_are_kept(identities: RedisIdentities, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis keeps the newest entries; the others are in the mirrors."""
    monkeypatch.setattr("router_extproc.store.redis_identities.MOST_AUDIT_ENTRIES", 3)
    for number in range(5):
        known = (await identities.latest(0)).changes.sequence if number else 0
        await identities.put([entry(f"a{number}")], known)
    assert [kept.id for kept in (await identities.latest(0)).changes.audit] == ["a2", "a3", "a4"]


async def test_a_server_that_is_gone_is_unavailable(server: RedisServer, identities: RedisIdentities) -> None:
    """Without Redis nothing can be changed, and that is said."""
    server.kill()
    with pytest.raises(StoreUnavailableError):
        await identities.put([key("one")], 0)
