"""What a counter store must answer, as plain Python: the measure for every real one. Expects clocks that never go back."""

from __future__ import annotations

from collections.abc import Sequence

from router_extproc.store.counters import Hold, Level, Query, Release, Total, Verdict


class CounterModel:
    """The counters of one instance that settles."""

    def __init__(self) -> None:
        self.totals: dict[tuple[str, int], int] = {}
        self.holds: dict[tuple[str, str], tuple[int, float]] = {}
        self.claims: dict[str, float] = {}

    def reserve(self, reservation: str, holds: Sequence[Hold], until: float, now: float) -> Verdict:
        levels, refused, beyond, free_at, admitted = [], [], [], [], []
        for place, hold in enumerate(holds):
            own = self._lives(hold.counter, reservation, now)
            level = self._level(hold.counter, hold.since, now)
            level = Level(level.settled, level.held - own)
            levels.append(level)
            is_there = self._has(hold.counter, reservation, now)
            if is_there and hold.amount <= own:
                continue
            if hold.kind == "count" or level.used + hold.amount <= hold.limit:
                admitted.append(hold)
            elif hold.kind == "enforce":
                refused.append(place)
                free_at.append(self._free_at(hold))
            elif not is_there:
                beyond.append(place)
        if not refused:
            for hold in admitted:
                _, ends = self.holds.get((hold.counter, reservation), (0, until))
                self.holds[hold.counter, reservation] = (hold.amount, max(ends, until))
        return Verdict(tuple(levels), tuple(refused), tuple(beyond), tuple(free_at))

    def release(self, releases: Sequence[Release]) -> None:
        for release in releases:
            unnamed = [counter for counter, reservation in self.holds if reservation == release.reservation]
            for counter in release.counters or unnamed:
                self.holds.pop((counter, release.reservation), None)

    def settle(self, totals: Sequence[Total], releases: Sequence[Release]) -> None:
        for total in totals:
            key = total.counter, total.bucket
            self.totals[key] = max(self.totals.get(key, 0), total.amount)
        self.release(releases)

    def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        return tuple(self._level(query.counter, query.since, now) for query in queries)

    def claim(self, name: str, expires_at: float, now: float) -> bool:
        if self.claims.get(name, now) > now:
            return False
        self.claims[name] = expires_at
        return True

    def _has(self, counter: str, reservation: str, now: float) -> bool:
        return self.holds.get((counter, reservation), (0, now))[1] > now

    def _lives(self, counter: str, reservation: str, now: float) -> int:
        return self.holds[counter, reservation][0] if self._has(counter, reservation, now) else 0

    def _level(self, counter: str, since: int, now: float) -> Level:
        settled = sum(amount for (name, bucket), amount in self.totals.items() if name == counter and bucket >= since)
        held = sum(amount for (name, _), (amount, until) in self.holds.items() if name == counter and until > now)
        return Level(settled, held)

    def _free_at(self, hold: Hold) -> float | None:
        parts = sorted((bucket, amount) for (name, bucket), amount in self.totals.items() if name == hold.counter)
        parts = [(bucket, amount) for bucket, amount in parts if bucket >= hold.since]
        missing = sum(amount for _, amount in parts) + hold.amount - hold.limit
        if missing <= 0:
            return None
        for bucket, amount in parts:
            missing -= amount
            if missing <= 0:
                return float(bucket + hold.expires_at - hold.bucket)
        return None
