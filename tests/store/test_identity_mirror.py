"""Every instance has all keys in a file of its own, whatever becomes of Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from router_extproc.registry.spending import KeyGrant, Raise, StoreSettings
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.identities import AuditEntry, IdentityReader, IdentityWriter, StoredRaise
from router_extproc.store.identity_mirror import IdentityMirror
from router_extproc.store.redis_identities import RedisIdentities
from tests.redis_servers import RedisServer, single_redis
from tests.store.redis_counting import eventually


class Instance:
    """One machine: its file, and its way to Redis."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        folder.mkdir(parents=True)
        self.writer = IdentityWriter(folder / "identities.sqlite")
        self.reader = IdentityReader(folder / "identities.sqlite")
        self._mirrored = IdentityReader(folder / "identities.sqlite")
        self._redis = RedisIdentities(StoreSettings(kind="redis", urls=(server.url,), deadline_ms=5_000), {})
        self.mirror = IdentityMirror(self._redis, self.writer, self._mirrored)

    def tenants(self) -> dict[str, str]:
        """The tenant of each key that workers of this instance find."""
        return {grant.id: grant.tenant for grant in self.reader.keys(limit=1_000)}

    async def aclose(self) -> None:
        await self._redis.aclose()
        for part in (self.writer, self.reader, self._mirrored):
            part.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with single_redis(tmp_path / "redis") as started:
        yield started


@asynccontextmanager
async def instances(tmp_path: Path, server: RedisServer, count: int) -> AsyncIterator[list[Instance]]:
    async with AsyncExitStack() as stack:
        made = [Instance(tmp_path / f"instance-{number}", server) for number in range(count)]
        for instance in made:
            stack.push_async_callback(instance.aclose)
        yield made


@pytest_asyncio.fixture
async def three(tmp_path: Path, server: RedisServer) -> AsyncIterator[list[Instance]]:
    async with instances(tmp_path, server, 3) as made:
        yield made


def key(name: str, tenant: str = "acme") -> KeyGrant:
    return KeyGrant(name, tenant, (("sha256:00:11", None),))


def entry(name: str) -> AuditEntry:
    return AuditEntry(name, 1.5, "admin", "key.create", name)


async def test_a_change_is_everywhere_after_one_look(three: list[Instance]) -> None:
    """Who made it has it at once, the others when they look next; looking again finds nothing new."""
    first, *others = three
    await first.mirror.put_key(key("one"), entry("a"))
    await first.mirror.add_raise(StoredRaise("r", "budget", Raise(5, 10.0)), entry("b"))
    await first.mirror.add_entry(entry("c"))
    assert first.tenants() == {"one": "acme"}
    for other in others:
        assert await other.mirror.follow()
        assert other.tenants() == {"one": "acme"}
        assert other.reader.raises() == {"budget": (Raise(5, 10.0),)}
        assert {kept.id for _, kept in other.reader.audit()} == {"a", "b", "c"}
        assert not await other.mirror.follow()


async def test_a_revocation_is_everywhere_after_one_look(three: list[Instance]) -> None:
    """A key that one instance revoked is revoked in the files of all."""
    first, second, third = three
    await first.mirror.put_key(key("one"), entry("a"))
    await second.mirror.follow()
    await third.mirror.follow()
    await second.mirror.put_key(msgspec.structs.replace(key("one"), revoked_at=2.5), entry("b"))
    for other in (first, third):
        await other.mirror.follow()
        found = other.reader.find("one")
        assert found is not None
        assert found.revoked_at == 2.5


async def test_a_change_is_made_of_what_others_made_of_the_key(three: list[Instance]) -> None:
    """Who changes a key that another instance just revoked is told so first; a change without entry leaves no trace."""
    first, second, _ = three
    await first.mirror.put_key(key("one"), entry("a"))
    await second.mirror.follow()
    await second.mirror.put_key(msgspec.structs.replace(key("one"), revoked_at=2.5), entry("b"))
    seen: list[float | None] = []

    def rename(grant: KeyGrant | None) -> tuple[KeyGrant, AuditEntry | None]:
        assert grant is not None
        seen.append(grant.revoked_at)
        return msgspec.structs.replace(grant, team="other"), entry(f"c{len(seen)}")

    changed = await first.mirror.change_key("one", rename)
    assert (seen, changed.revoked_at, changed.team) == ([None, 2.5], 2.5, "other")
    await second.mirror.follow()
    assert second.reader.find("one") == first.reader.find("one") == changed
    assert await first.mirror.change_key("one", lambda _: (changed, None)) == changed
    assert sorted(kept.id for _, kept in first.reader.audit()) == ["a", "b", "c2"]


async def test_an_instance_knows_whether_it_was_ever_told(server: RedisServer, three: list[Instance]) -> None:
    """Also by a Redis in which there is nothing yet; what it was told once it does not forget."""
    first, second, _ = three
    assert not first.reader.has_followed()
    await first.mirror.follow()
    server.kill()
    with pytest.raises(StoreUnavailableError):
        await second.mirror.follow()
    assert (first.reader.has_followed(), second.reader.has_followed()) == (True, False)


async def test_keys_of_before_redis_are_taken_along(three: list[Instance]) -> None:
    """Keys that were made while the file was all there was are in Redis after the first look, and then everywhere."""
    first, second, _ = three
    first.writer.put_key(key("one"), entry("a"))
    first.writer.add_raise(StoredRaise("r", "budget", Raise(5, 10.0)), entry("b"))
    await first.mirror.follow()
    await second.mirror.put_key(key("two"), entry("c"))
    await first.mirror.follow()
    for instance in (first, second):
        assert instance.tenants() == {"one": "acme", "two": "acme"}
        assert instance.reader.raises() == {"budget": (Raise(5, 10.0),)}
        assert {kept.id for _, kept in instance.reader.audit()} == {"a", "b", "c"}


async def test_without_redis_keys_are_still_known(server: RedisServer, three: list[Instance]) -> None:
    """Nothing can be changed, and that is said; what is known stays known."""
    first = three[0]
    await first.mirror.put_key(key("one"), entry("a"))
    server.kill()
    with pytest.raises(StoreUnavailableError):
        await first.mirror.put_key(key("two"), entry("b"))
    with pytest.raises(StoreUnavailableError):
        await first.mirror.follow()
    assert first.tenants() == {"one": "acme"}


@pytest.mark.parametrize("first_back", [0, 1, 2])
async def test_an_emptied_redis_is_filled_from_the_copies(
    server: RedisServer, tmp_path: Path, three: list[Instance], first_back: int
) -> None:
    """Whoever comes first: what the one knew that had come farthest is what all know in the end, newcomers too."""
    for number, instance in enumerate(three):
        # The later instances have seen more.
        await three[2].mirror.put_key(key("one", f"tenant-{number}"), entry(f"a{number}"))
        await instance.mirror.follow()
        await three[2].mirror.put_key(key(f"own-{number}"), entry(f"b{number}"))
    server.kill()
    server.start()
    order = three[first_back:] + three[:first_back]
    for _ in range(2):
        for instance in order:
            await eventually(instance.mirror.follow)
    async with instances(tmp_path / "new", server, 1) as (newcomer,):
        await newcomer.mirror.follow()
        expected = {"one": "tenant-2", "own-0": "acme", "own-1": "acme", "own-2": "acme"}
        assert [instance.tenants() for instance in (*three, newcomer)] == [expected] * 4
        assert len(newcomer.reader.audit()) == 6


async def test_a_revocation_after_the_loss_holds(server: RedisServer, three: list[Instance]) -> None:
    """A key that is revoked in the emptied Redis is not brought back by an instance that was asleep."""
    first, sleeper, _ = three
    await first.mirror.put_key(key("one"), entry("a"))
    await sleeper.mirror.follow()
    with server.client() as client:
        client.flushall()
    await first.mirror.put_key(msgspec.structs.replace(key("one"), revoked_at=2.5), entry("b"))
    await sleeper.mirror.follow()
    await first.mirror.follow()
    for instance in (first, sleeper):
        found = instance.reader.find("one")
        assert found is not None
        assert found.revoked_at == 2.5


async def test_more_keys_than_one_portion(three: list[Instance], monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies are brought and fetched in portions, and are complete."""
    monkeypatch.setattr("router_extproc.store.identity_mirror._AT_ONCE", 7)
    first, second, _ = three
    for number in range(40):
        first.writer.put_key(key(f"key-{number:02}"), entry(f"a{number}"))
    await first.mirror.follow()
    await second.mirror.follow()
    assert second.tenants() == first.tenants()
    assert len(second.tenants()) == 40
    assert len(second.reader.audit()) == 40
