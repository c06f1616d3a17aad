"""Counters in SQLite: exact for whoever races, idempotent, and an error rather than a wrong answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.store.counters import Hold, HoldKind, Level, Query, Release, Total
from router_extproc.store.sqlite_counters import SqliteCounters
from tests.store.counter_model import CounterModel

NOW = 1_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
async def counters(path: Path) -> AsyncIterator[SqliteCounters]:
    opened = SqliteCounters(path)
    yield opened
    await opened.aclose()


def hold(amount: int = 10, *, limit: int = 100, counter: str = "a", kind: HoldKind = "enforce", since: int = 900) -> Hold:
    return Hold(counter, bucket=960, since=since, amount=amount, limit=limit, kind=kind, expires_at=1_020)


async def test_what_fits_is_set_aside(counters: SqliteCounters) -> None:
    """An amount that just fits is set aside and counts from then on; the verdict shows the level before it."""
    first = await counters.reserve("one", [hold(100)], NOW + 60, NOW)
    second = await counters.reserve("two", [hold(1)], NOW + 60, NOW)
    assert (first.levels, first.refused) == ((Level(0, 0),), ())
    assert (second.levels, second.refused, second.free_at) == ((Level(0, 100),), (0,), (None,))
    assert await counters.read([Query("a", 0), Query("unknown", 0)], NOW) == (Level(0, 100), Level())


async def test_all_or_nothing(counters: SqliteCounters) -> None:
    """When one counter refuses, nothing is set aside in the others, and all that refuse are named."""
    await counters.settle([Total("b", 960, 95, 1_020), Total("c", 960, 96, 1_020)], [], NOW)
    verdict = await counters.reserve("one", [hold(), hold(counter="b"), hold(counter="c")], NOW + 60, NOW)
    assert verdict.refused == (1, 2)
    assert await counters.read([Query("a", 0), Query("b", 0)], NOW) == (Level(0, 0), Level(95, 0))


async def test_asking_again_for_no_more_changes_nothing(counters: SqliteCounters) -> None:
    """What is there is admitted as it is where it is enough, though the counter is full; new counters are checked."""
    await counters.reserve("one", [hold(100)], NOW + 60, NOW)
    again = await counters.reserve("one", [hold(7), hold(5, counter="b")], NOW + 60, NOW)
    assert (again.levels, again.refused) == ((Level(), Level()), ())
    assert await counters.read([Query("a", 0), Query("b", 0)], NOW) == (Level(0, 100), Level(0, 5))
    refused = await counters.reserve("one", [hold(7), hold(500, counter="c")], NOW + 60, NOW)
    assert refused.refused == (1,)
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 100),)


async def test_asking_again_for_more(counters: SqliteCounters) -> None:
    """What is there is raised if that fits beside the others, and lasts longer; else it stays as it was, and all else too."""
    await counters.reserve("one", [hold(10)], NOW + 60, NOW)
    await counters.reserve("two", [hold(50)], NOW + 99, NOW)
    raised = await counters.reserve("one", [hold(50), hold(5, counter="b")], NOW + 70, NOW)
    assert (raised.levels, raised.refused) == ((Level(0, 50), Level()), ())
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 100),)
    refused = await counters.reserve("one", [hold(51), hold(7, counter="b")], NOW + 80, NOW)
    assert (refused.levels, refused.refused, refused.free_at) == ((Level(0, 50), Level()), (0,), (None,))
    assert await counters.read([Query("a", 0), Query("b", 0)], NOW + 69) == (Level(0, 100), Level(0, 5))
    assert await counters.read([Query("a", 0)], NOW + 70) == (Level(0, 50),)


async def test_many_counters_at_once(counters: SqliteCounters) -> None:
    """A reservation may take from more counters than one statement looks at, and what has expired in any of them is gone."""
    many = [hold(100, counter=f"c{number}") for number in range(100)]
    await counters.reserve("one", [many[-1]], NOW + 1, NOW)
    assert (await counters.reserve("two", many, NOW + 60, NOW)).refused == (99,)
    found = await counters.reserve("two", many, NOW + 60, NOW + 1)
    assert (found.levels, found.refused) == ((Level(),) * 100, ())
    assert (await counters.reserve("three", many, NOW + 60, NOW + 1)).refused == tuple(range(100))


async def test_what_is_raised_never_ends_earlier(counters: SqliteCounters) -> None:
    """Whoever asks for more, but for a shorter time, leaves the end as it was."""
    await counters.reserve("one", [hold(10)], NOW + 60, NOW)
    await counters.reserve("one", [hold(20)], NOW + 30, NOW)
    assert await counters.read([Query("a", 0)], NOW + 59) == (Level(0, 20),)


async def test_raising_what_is_observed_or_counted(counters: SqliteCounters) -> None:
    """What is observed stays as it is where more does not fit, for its owner is told of it; what is counted always grows."""
    await counters.reserve("one", [hold(10, kind="observe"), hold(10, counter="b", kind="count")], NOW + 60, NOW)
    verdict = await counters.reserve("one", [hold(101, kind="observe"), hold(101, counter="b", kind="count")], NOW + 60, NOW)
    assert (verdict.refused, verdict.beyond) == ((), ())
    assert await counters.read([Query("a", 0), Query("b", 0)], NOW) == (Level(0, 10), Level(0, 101))


async def test_kinds_of_holds(counters: SqliteCounters) -> None:
    """What is observed is left out when it does not fit, and reported; what is only counted always fits."""
    holds = [hold(101, counter="observed", kind="observe"), hold(101, counter="counted", kind="count"), hold()]
    verdict = await counters.reserve("one", holds, NOW + 60, NOW)
    assert (verdict.refused, verdict.beyond, verdict.free_at) == ((), (0,), ())
    read = await counters.read([Query("observed", 0), Query("counted", 0), Query("a", 0)], NOW)
    assert read == (Level(), Level(0, 101), Level(0, 10))


async def test_reservations_expire(counters: SqliteCounters) -> None:
    """What is set aside counts until its end, for reservations and readers alike; then its owner may come again."""
    await counters.reserve("one", [hold(100)], NOW + 60, NOW)
    assert (await counters.reserve("two", [hold()], NOW + 99, NOW + 59.9)).refused == (0,)
    assert await counters.read([Query("a", 0)], NOW + 60) == (Level(),)
    assert (await counters.reserve("two", [hold()], NOW + 99, NOW + 60)).refused == ()
    assert (await counters.reserve("one", [hold(95)], NOW + 99, NOW + 60)).refused == (0,)


async def test_settling_replaces_what_was_set_aside(counters: SqliteCounters) -> None:
    """Totals come in as what was set aside goes; telling them again, late or in another order changes nothing."""
    await counters.reserve("one", [hold(60)], NOW + 60, NOW)
    await counters.settle([Total("a", 960, 12, 1_020)], [Release("one", ("a", "never"))], NOW)
    assert await counters.read([Query("a", 900)], NOW) == (Level(12, 0),)
    await counters.settle([Total("a", 960, 30, 1_020)], [Release("one", ("a",))], NOW)
    await counters.settle([Total("a", 960, 12, 1_020)], [], NOW)
    assert await counters.read([Query("a", 900)], NOW) == (Level(30, 0),)


async def test_giving_back_what_is_not_there(counters: SqliteCounters) -> None:
    """It is no error, and takes nothing from others."""
    await counters.reserve("one", [hold(60)], NOW + 60, NOW)
    await counters.release([Release("other", ("a", "b"))], NOW)
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 60),)


async def test_when_there_will_be_room(counters: SqliteCounters) -> None:
    """A refusal says when enough parts will have left the window; no time when only what is set aside is in the way, or the
    amount never fits.
    """
    parts = [Total("a", 900, 30, 0), Total("a", 930, 30, 0), Total("a", 960, 30, 0), Total("a", 890, 500, 0)]
    await counters.settle([*parts, Total("b", 960, 1, 0)], [], NOW)
    await counters.reserve("held", [hold(95, counter="b")], NOW + 60, NOW)
    asked = [hold(20), hold(41, counter="b"), hold(101, counter="c")]
    verdict = await counters.reserve("one", asked, NOW + 60, NOW)
    assert (verdict.refused, verdict.free_at) == ((0, 1, 2), (960.0, None, None))
    assert (await counters.reserve("two", [hold(41)], NOW + 60, NOW)).free_at == (990.0,)


async def test_a_claim_is_given_once(path: Path, counters: SqliteCounters) -> None:
    """Of all who ask, one gets it, until it expires."""
    other = SqliteCounters(path)
    answers = await asyncio.gather(*(store.claim("alert:x", NOW + 60, NOW) for store in (counters, other) * 8))
    assert sum(answers) == 1
    assert not await other.claim("alert:x", NOW + 99, NOW + 59)
    assert await other.claim("alert:x", NOW + 99, NOW + 60)
    await other.aclose()


async def test_what_is_no_reservation(counters: SqliteCounters) -> None:
    """Two holds on one counter, names and amounts that no database can keep, are errors of the caller and of nobody else."""
    for holds in ([hold(), hold()], [hold(-1)], [hold(2**60)], [hold(counter="a\0b")]):
        with pytest.raises(ValueError, match=r"counter|amount"):
            await counters.reserve("one", holds, NOW + 60, NOW)


_COUNTERS = st.sampled_from(["a", "b", 'budget "per" tenant|tenant=é \\ %7B'])
_HOLDS = st.lists(
    st.builds(
        Hold,
        _COUNTERS,
        bucket=st.sampled_from([940, 960]),
        since=st.sampled_from([900, 940, 960]),
        amount=st.integers(0, 40),
        limit=st.integers(0, 100),
        kind=st.sampled_from(["enforce", "observe", "count"]),
        expires_at=st.just(1_100),
    ),
    max_size=3,
    unique_by=lambda one: one.counter,
)
_RESERVATIONS = st.sampled_from(["r1", "r2", "r3", "r4"])
_RELEASES = st.lists(st.builds(Release, _RESERVATIONS, st.lists(_COUNTERS).map(tuple)), max_size=2)
_TOTALS = st.lists(
    st.builds(Total, _COUNTERS, st.sampled_from([900, 940, 960]), st.integers(0, 60), st.just(1_100)), max_size=2
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), _RESERVATIONS, _HOLDS, st.integers(1, 30)),
        st.tuples(st.just("settle"), _TOTALS, _RELEASES),
        st.tuples(st.just("claim"), st.sampled_from(["x", "y"]), st.integers(1, 30)),
        st.tuples(st.just("wait"), st.integers(1, 20)),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(steps=_STEPS, at_once=st.booleans())
def test_it_answers_as_the_model_does(tmp_path_factory: pytest.TempPathFactory, *, steps: list[tuple], at_once: bool) -> None:
    """Whatever is asked, one after the other or at once, the answers are those of the plain model."""

    async def play() -> None:
        store, model, now, asked, expected = SqliteCounters(file), CounterModel(), NOW, [], []
        for step in steps:
            match step:
                case ("reserve", reservation, holds, seconds):
                    asked.append(store.reserve(reservation, holds, now + seconds, now))
                    expected.append(model.reserve(reservation, holds, now + seconds, now))
                case ("settle", totals, releases):
                    asked.append(store.settle(totals, releases, now))
                    expected.append(model.settle(totals, releases))
                case ("claim", name, seconds):
                    asked.append(store.claim(name, now + seconds, now))
                    expected.append(model.claim(name, now + seconds, now))
                case (_, seconds):
                    # Within one transaction there is one clock.
                    assert await asyncio.gather(*asked) == expected
                    now, asked, expected = now + seconds, [], []
            if not at_once:
                assert await asyncio.gather(*asked) == expected
                asked, expected = [], []
        assert await asyncio.gather(*asked) == expected
        queries = [Query(counter, since) for counter in ("a", "b") for since in (0, 940)]
        assert await store.read(queries, now) == model.read(queries, now)
        await store.aclose()

    file = tmp_path_factory.mktemp("counters") / "ledger.sqlite"
    asyncio.run(play())
    with closing(sqlite3.connect(file)) as connection:
        sums = connection.execute("select counter, sum(amount) from holds group by counter").fetchall()
        kept = connection.execute("select counter, held from counters where held != 0").fetchall()
        assert sorted(kept) == sorted(row for row in sums if row[1])
