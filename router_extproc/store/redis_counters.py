"""Counters in Redis, shared by all instances: one round trip for a request, exact whoever else asks.

Rules of this file
- What happens to the counters of one tag happens in one script. A request that touches several tags (a cluster) asks them
  all at the same time; where one refuses, the others give back: it may refuse too much for a moment, never too little.
- Every reservation carries the number of the call that made or raised it, and what was there before: a call that was given
  up takes away its own only.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Hold, Level, Query, Release, StoreUnavailableError, Total, Verdict
from router_extproc.store.lives import counters_of
from router_extproc.store.redis_connections import SOCKET_SECONDS, Connections
from router_extproc.store.redis_lane import UnansweredError
from router_extproc.store.redis_recovery import Recovery
from router_extproc.store.redis_scripts import Argument, Command, script
from router_extproc.store.redis_servers import connect, tag_of
from router_extproc.store.redis_undo import SETTLING_SECONDS, Undoing

# Lua's numbers are exact up to here.
_LARGEST_AMOUNT = 2**53
_COUNTERS_A_SCRIPT = 100
_RESERVATIONS_A_SCRIPT = 100
_SET, _KEPT, _REFUSED, _BEYOND, _RAISED = 1, 2, 3, 4, 5

_Group = tuple[str, list[int]]


class RedisCounters:
    """A ``CounterStore`` in Redis, on one server, behind sentinels, or in a cluster."""

    def __init__(self, settings: StoreSettings, environ: Mapping[str, str], instance: str = "") -> None:
        """Connects to nothing yet. ``instance`` names the ledger whose totals are settled here; who only reserves needs none.

        Raises:
            StartError: an address cannot be read, or the password is not where it is said to be.
        """
        self._prefix = settings.prefix
        self._deadline = settings.deadline_ms / 1_000
        self._instance = instance
        self._servers = connect(settings, Connections(settings, environ))
        self._recovery = Recovery(self._servers, settings.prefix)
        self._undoing = Undoing(self._servers)
        self._caller = secrets.token_hex(4)
        self._calls = itertools.count()
        self._is_started = False
        # Tokens of claims whose answer never came: they are asked for again.
        self._claims: dict[str, str] = {}

    async def start(self) -> None:
        """Connects and finds out whether all totals are known, so that the first request need not; no error if not."""
        self._begin()
        await self._recovery.wait(SOCKET_SECONDS)

    async def reserve(self, reservation: str, holds: Sequence[Hold], until: float, now: float) -> Verdict:
        """As ``CounterStore.reserve``.

        Raises:
            StoreUnavailableError: Redis does not answer in time, or does not know all totals.
            ValueError: two holds on one counter, or an amount that is no amount.
        """
        if len({hold.counter for hold in holds}) != len(holds):
            raise ValueError("two holds on one counter")
        if any(not 0 <= hold.amount <= _LARGEST_AMOUNT for hold in holds):
            raise ValueError(f"an amount below 0 or above {_LARGEST_AMOUNT}")
        groups = self._groups([hold.counter for hold in holds])
        await self._check_ready(tag for tag, _ in groups)
        call = f"{self._caller}{next(self._calls)}"
        times = (_milliseconds(until), _milliseconds(now))
        asked = [
            self._reserve_group(tag, [holds[place] for place in places], reservation, call, times) for tag, places in groups
        ]
        answers = [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                self._give_back_all(groups, answers, holds, reservation, call)
                raise answer
        verdict = _verdict(groups, answers, len(holds))
        if verdict.refused:
            self._give_back_all(groups, answers, holds, reservation, call)
        return verdict

    async def release(self, releases: Sequence[Release], now: float) -> None:
        """As ``CounterStore.release``.

        Raises:
            StoreUnavailableError: Redis does not answer in time; what was released is not known.
        """
        await self._settle((), releases, now, self._deadline)

    async def settle(self, totals: Sequence[Total], releases: Sequence[Release], now: float) -> None:
        """As ``CounterStore.settle``; nobody waits for it, so it may take a second. Also before all totals are known.

        Raises:
            StoreUnavailableError: Redis does not answer in time; doing it again does no harm.
            ValueError: there are totals, and this store was opened without an instance.
        """
        if totals and not self._instance:
            raise ValueError("totals of no instance")
        await self._settle(totals, releases, now, SOCKET_SECONDS)

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        """As ``CounterStore.read``.

        Raises:
            StoreUnavailableError: Redis does not answer in time, or does not know all totals.
        """
        groups = self._groups([query.counter for query in queries])
        await self._check_ready(tag for tag, _ in groups)
        answers = await asyncio.gather(
            *(self._read_group(tag, [queries[place] for place in places], now) for tag, places in groups)
        )
        levels = [Level()] * len(queries)
        for (_, places), answer in zip(groups, answers, strict=True):
            for index, place in enumerate(places):
                levels[place] = Level(answer[index * 2], answer[index * 2 + 1])
        return tuple(levels)

    async def under_way(self, mark: str) -> list[Release]:
        """Every reservation that is counted in the life of Envoy with this mark, and the counters where it has something.

        Raises:
            StoreUnavailableError: Redis does not answer in time.
        """
        self._begin()
        counters = counters_of(mark)
        asked = [(tag, [self._key(tag, "held", counters[place]) for place in places]) for tag, places in self._groups(counters)]
        answers = await asyncio.gather(*(self._names(tag, keys, SOCKET_SECONDS) for tag, keys in asked))
        # One name is empty: that of the counter's sum.
        found = dict.fromkeys(name for answer in answers for names in answer for name in names if name)
        return await self._find(list(found), SOCKET_SECONDS)

    async def claim(self, name: str, expires_at: float, now: float) -> bool:
        """As ``CounterStore.claim``; asked again by who had no answer, it may say that the claim was got the first time.

        Raises:
            StoreUnavailableError: Redis does not answer in time.
        """
        token = self._claims.get(name) or f"{self._caller}{next(self._calls)}"
        tag = tag_of(name, self._servers.tags)
        self._begin()
        arguments = (token, _milliseconds(expires_at), _milliseconds(now))
        command = Command(script("claim"), [self._key(tag, "claim", name)], arguments)
        try:
            answer = await self._servers.run(tag, command)
        except StoreUnavailableError:
            self._claims[name] = token
            raise
        self._claims.pop(name, None)
        return bool(answer)

    async def memory(self, *, telling: bool = False) -> str:
        """A text that is another one whenever totals are to be told again; ``telling`` while this instance is at it.

        The counters are used again a second after such a change was noticed: ask for it a few times a second, and tell all
        totals of this instance when it changes, and when it is asked for the first time.

        Raises:
            StoreUnavailableError: no server answered.
        """
        self._begin()
        return await self._recovery.memory(telling=telling)

    async def aclose(self) -> None:
        """Closes all connections; what is under way is given up."""
        await self._recovery.aclose()
        await self._undoing.aclose()
        await self._servers.aclose()

    def _begin(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._recovery.start()

    async def _check_ready(self, tags: Iterable[str]) -> None:
        self._begin()
        await self._recovery.wait(self._deadline)
        if not all(map(self._recovery.is_ready, tags)):
            raise StoreUnavailableError("the store does not know all totals yet")

    async def _reserve_group(
        self, tag: str, holds: Sequence[Hold], reservation: str, call: str, times: tuple[int, int]
    ) -> list[int]:
        keys = [self._key(tag, "ready"), self._key(tag, "of", reservation)]
        arguments: list[Argument] = [reservation, call, *times]
        for hold in holds:
            keys += (self._key(tag, kind, hold.counter) for kind in ("settled", "held", "ends"))
            arguments += (hold.since, hold.amount, hold.limit, hold.kind, hold.expires_at - hold.bucket)

        def give_back(outcome: Any) -> None:
            if outcome is not None:
                self._undo(tag, holds, reservation, call, SETTLING_SECONDS if isinstance(outcome, Exception) else 0.0)

        try:
            answer = await self._servers.run(tag, Command(script("reserve"), keys, arguments), give_back)
        except UnansweredError as error:
            give_back(error)
            raise
        if answer is None:
            self._recovery.lost(tag)
            raise StoreUnavailableError("the store lost totals, and is told them again")
        return list(answer)

    def _give_back_all(
        self, groups: Sequence[_Group], answers: Sequence[Any], holds: Sequence[Hold], reservation: str, call: str
    ) -> None:
        """What this very call set aside or added; what was there before it stays."""
        for (tag, places), answer in zip(groups, answers, strict=True):
            if not isinstance(answer, BaseException):
                states = answer[2::4]
                fresh = [holds[place] for place, state in zip(places, states, strict=True) if state in {_SET, _RAISED}]
                if fresh:
                    self._undo(tag, fresh, reservation, call)

    def _undo(self, tag: str, holds: Sequence[Hold], reservation: str, call: str, delay: float = 0.0) -> None:
        keys = [self._key(tag, "of", reservation)]
        keys += (self._key(tag, kind, hold.counter) for hold in holds for kind in ("held", "ends"))
        self._undoing.add(tag, Command(script("undo"), keys, (reservation, call)), delay)

    async def _read_group(self, tag: str, queries: Sequence[Query], now: float) -> list[int]:
        keys = [self._key(tag, "ready")]
        for query in queries:
            keys += (self._key(tag, kind, query.counter) for kind in ("settled", "held", "ends"))
        arguments = (_milliseconds(now), *(query.since for query in queries))
        answer = await self._servers.run(tag, Command(script("read"), keys, arguments))
        if answer is None:
            self._recovery.lost(tag)
            raise StoreUnavailableError("the store lost totals, and is told them again")
        return list(answer)

    async def _settle(self, totals: Sequence[Total], releases: Sequence[Release], now: float, deadline: float) -> None:
        self._begin()
        told: dict[str, list[Total]] = defaultdict(list)
        over: dict[str, list[str]] = defaultdict(list)
        for total in totals:
            told[total.counter].append(total)
        unnamed = [release.reservation for release in releases if not release.counters]
        found = await self._find(unnamed, deadline) if unnamed else []
        for release in (*releases, *found):
            for counter in release.counters:
                over[counter].append(release.reservation)
        counters = list(dict.fromkeys((*told, *over)))
        commands: list[tuple[str, Command]] = []
        for tag, places in self._groups(counters):
            for first in range(0, len(places), _COUNTERS_A_SCRIPT):
                some = [counters[place] for place in places[first : first + _COUNTERS_A_SCRIPT]]
                keys: list[str] = []
                arguments: list[Argument] = [self._instance, _milliseconds(now), len(some)]
                for counter in some:
                    keys += (self._key(tag, kind, counter) for kind in ("settled", "told", "held", "ends"))
                    arguments += _totals(told[counter])
                    arguments += (len(over[counter]), *over[counter])
                ended = dict.fromkeys(reservation for counter in some for reservation in over[counter])
                keys += (self._key(tag, "of", reservation) for reservation in ended)
                commands.append((tag, Command(script("settle"), keys, arguments)))
        await asyncio.gather(*(self._servers.run(tag, command, deadline=deadline) for tag, command in commands))

    async def _find(self, reservations: Sequence[str], deadline: float) -> list[Release]:
        """What these reservations have set aside, asked for wherever that may be."""
        asked = [
            (tag, reservations[first : first + _RESERVATIONS_A_SCRIPT])
            for tag in self._servers.tags
            for first in range(0, len(reservations), _RESERVATIONS_A_SCRIPT)
        ]

        async def ask(tag: str, some: Sequence[str]) -> list[Release]:
            answer = await self._names(tag, [self._key(tag, "of", reservation) for reservation in some], deadline)
            named = zip(some, answer, strict=True)
            return [Release(reservation, tuple(names)) for reservation, names in named if names]

        return [release for found in await asyncio.gather(*(ask(*one) for one in asked)) for release in found]

    async def _names(self, tag: str, keys: Sequence[str], deadline: float) -> list[list[str]]:
        answer = await self._servers.run(tag, Command(script("named"), keys, ()), deadline=deadline)
        return [[name.decode() for name in names] for names in answer]

    def _groups(self, counters: Sequence[str]) -> list[_Group]:
        """The places of the counters that lie together."""
        groups: dict[str, list[int]] = {}
        for place, counter in enumerate(counters):
            groups.setdefault(tag_of(counter, self._servers.tags), []).append(place)
        return list(groups.items())

    def _key(self, tag: str, kind: str, name: str | None = None) -> str:
        return f"{self._prefix}:{{{tag}}}:{kind}" if name is None else f"{self._prefix}:{{{tag}}}:{kind}:{name}"


def _verdict(groups: Sequence[_Group], answers: Sequence[Any], count: int) -> Verdict:
    found: list[tuple[Level, int, float | None]] = [(Level(), _KEPT, None)] * count
    for (_, places), answer in zip(groups, answers, strict=True):
        for place, (settled, held, state, free_at) in zip(places, _fours(answer), strict=True):
            found[place] = (Level(settled, held), state, None if free_at < 0 else float(free_at))
    refused = tuple(place for place, (_, state, _) in enumerate(found) if state == _REFUSED)
    return Verdict(
        levels=tuple(level for level, _, _ in found),
        refused=refused,
        beyond=tuple(place for place, (_, state, _) in enumerate(found) if state == _BEYOND),
        free_at=tuple(found[place][2] for place in refused),
    )


def _fours(answer: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    values = iter(answer)
    return zip(values, values, values, values, strict=True)


def _totals(totals: Sequence[Total]) -> list[Argument]:
    return [len(totals), *(value for total in totals for value in (total.bucket, total.amount, total.expires_at))]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1_000)
