"""Keys, raises and the audit log: seen by the next look-up of every process, cheap for workers, whatever their number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from router_extproc.registry.spending import Budget, KeyGrant, Raise
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.identities import AuditEntry, Changes, IdentityReader, IdentityWriter, StoredRaise
from router_extproc.store.sqlite_file import StoreError, put_aside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identities.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[IdentityWriter]:
    opened = IdentityWriter(path)
    yield opened
    opened.close()


@pytest.fixture
def reader(path: Path) -> Iterator[IdentityReader]:
    opened = IdentityReader(path)
    yield opened
    opened.close()


def grant(key: str, tenant: str = "acme", revoked_at: float | None = None) -> KeyGrant:
    digests = (("sha256:00:11", None), ("sha256:22:33", 5.0))
    return KeyGrant(key, tenant, digests, tags={"app": "x"}, budgets=(Budget("b", "usd", 5),), revoked_at=revoked_at)


def entry(name: str, at: float = 1.0) -> AuditEntry:
    return AuditEntry(name, at, "cli", "key.create", "k1", {"tenant": "acme"})


def test_a_key_is_found_as_it_was_stored(writer: IdentityWriter, reader: IdentityReader) -> None:
    """Everything that a key grants comes back; an id that nobody has is none."""
    writer.put_key(grant("k1"), entry("e1"))
    assert reader.find("k1") == grant("k1")
    assert reader.find("k1") is reader.find("k1")
    assert reader.find("k2") is None


def test_the_next_look_up_sees_a_change(writer: IdentityWriter, reader: IdentityReader) -> None:
    """A key that was just used and known is known as revoked at once; so are new keys and new raises."""
    assert not reader.has_keys()
    assert reader.raises() == {}
    writer.put_key(grant("k1"), entry("e1"))
    assert reader.has_keys()
    assert reader.find("k1") == grant("k1")
    writer.put_key(grant("k1", revoked_at=9.0), entry("e2"))
    assert reader.find("k1") == grant("k1", revoked_at=9.0)
    writer.add_raise(StoredRaise("r1", "team", Raise(500, 99.0, 1.0)), entry("e3"))
    assert reader.raises() == {"team": (Raise(500, 99.0, 1.0),)}
    assert reader.raises() is reader.raises()
    assert reader.stored_raises() == [StoredRaise("r1", "team", Raise(500, 99.0, 1.0))]


def test_no_file_is_no_keys(path: Path, reader: IdentityReader) -> None:
    """Before the first key there is nothing to be found, no file is made, and one that comes later is seen."""
    assert (reader.find("k1"), reader.has_keys(), reader.keys(), reader.audit()) == (None, False, [], [])
    assert not path.exists()
    with closing(IdentityWriter(path)) as writer:
        assert not reader.has_keys()
        writer.put_key(grant("k1"), entry("e1"))
    assert reader.find("k1") == grant("k1")


def test_a_file_in_another_ones_place_is_seen(path: Path, writer: IdentityWriter, reader: IdentityReader) -> None:
    """A reader holds on to no file that was replaced or removed."""
    writer.put_key(grant("k1"), entry("e1"))
    assert reader.has_keys()
    put_aside(path, "test")
    writer.put_key(grant("k2"), entry("e1"))
    assert (reader.find("k1"), reader.find("k2")) == (None, grant("k2"))
    writer.close()
    path.unlink()
    assert reader.find("k2") is None


def test_what_cannot_be_read_is_an_error(path: Path, reader: IdentityReader) -> None:
    """A broken file, or one of a newer version, is no file without keys: nobody is let in by it."""
    path.write_bytes(b"no database" * 1_000)
    for ask in (lambda: reader.find("k1"), reader.has_keys, reader.raises, reader.keys, reader.audit):
        with pytest.raises(StoreUnavailableError, match=r"identities\.sqlite"):
            ask()
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 99")
    with pytest.raises(StoreUnavailableError, match="newer version"):
        reader.find("k1")
    with pytest.raises(StoreError, match="newer version"):
        IdentityWriter(path)


def test_a_broken_file_is_put_aside_by_who_writes(path: Path, reader: IdentityReader) -> None:
    """The observer begins a new one and keeps the old."""
    path.write_bytes(b"no database" * 1_000)
    with closing(IdentityWriter(path)) as writer:
        assert writer.applied() == 0
        writer.put_key(grant("k1"), entry("e1"))
    assert reader.find("k1") == grant("k1")
    assert path.with_name("identities.sqlite.broken").exists()


def test_only_keys_in_use_are_kept_in_memory(path: Path, writer: IdentityWriter) -> None:
    """However many are asked for, a few are remembered: those used last."""
    writer.apply(Changes(keys=tuple(grant(f"k{number}") for number in range(20))))
    with closing(IdentityReader(path, cached_keys=3)) as reader:
        first = reader.find("k0")
        for number in range(1, 20):
            assert reader.find(f"k{number}") == grant(f"k{number}")
            assert reader.find("k0") is first
        assert list(reader._keys) == ["k18", "k19", "k0"]


def test_keys_are_listed_a_page_at_a_time(writer: IdentityWriter, reader: IdentityReader) -> None:
    """In the order of their ids, of one tenant or of all."""
    writer.apply(Changes(keys=tuple(grant(f"k{number}", "acme" if number % 2 else "bolt") for number in range(6))))
    assert [key.id for key in reader.keys(limit=4)] == ["k0", "k1", "k2", "k3"]
    assert [key.id for key in reader.keys(after="k3", limit=4)] == ["k4", "k5"]
    assert [key.id for key in reader.keys(tenant="acme", after="k1")] == ["k3", "k5"]


def test_every_change_has_its_entry(writer: IdentityWriter, reader: IdentityReader) -> None:
    """The newest first, a page at a time; no change is stored without its entry."""
    writer.put_key(grant("k1"), entry("e1"))
    writer.add_raise(StoredRaise("r1", "team", Raise(5, 9.0)), entry("e2"))
    writer.add_entry(entry("e3"))
    assert [found.id for _, found in reader.audit(limit=2)] == ["e3", "e2"]
    assert reader.audit(before=reader.audit()[1][0]) == [(1, entry("e1"))]
    broken = AuditEntry("e4", float("nan"), "cli", "key.create", "k2")
    with pytest.raises(ValueError, match="cannot hold this"):
        writer.put_key(grant("k2"), broken)
    assert reader.find("k2") is None


def test_applying_again_changes_nothing(writer: IdentityWriter, reader: IdentityReader) -> None:
    """What another authority says may come twice; how far it has come is stored with it."""
    changes = Changes((grant("k1"),), (StoredRaise("r1", "team", Raise(5, 9.0)),), (entry("e1"),), sequence=7)
    writer.apply(changes)
    writer.apply(changes)
    assert writer.applied() == 7
    assert (len(reader.keys()), reader.raises(), len(reader.audit())) == (1, {"team": (Raise(5, 9.0),)}, 1)


def test_what_is_over_is_forgotten(writer: IdentityWriter, reader: IdentityReader) -> None:
    """Raises that ended and old entries go; keys stay, so that a revoked one is known as such."""
    writer.put_key(grant("k1", revoked_at=1.0), entry("e1", at=1.0))
    writer.add_raise(StoredRaise("r1", "team", Raise(5, 9.0)), entry("e2", at=5.0))
    assert writer.forget(raises_before=9.5, audit_before=5.0) == 2
    assert reader.raises() == {}
    assert [found.id for _, found in reader.audit()] == ["e2"]
    assert reader.find("k1") is not None
