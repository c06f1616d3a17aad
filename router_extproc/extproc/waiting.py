"""The waiting room: requests for which nothing has room now, but will have soon.

Rules of this file
- Nobody waits uninvited: whoever waits knows until when, and there are no more than so many at once.
- When the time has come they go one by one, interactive work before batch, each kind in the order in which it came.
- What one of a lane finds out holds for all of it: after a look in vain the lane rests. Other processes have rooms of their
  own, which look at the same limit. A lane with interactive work looks often, one with batch work alone seldom: so what becomes
  free goes to the former in most cases, however many wait in the latter.
- A full room sends batch work away before it turns interactive work down.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from router_extproc.caller import INTERACTIVE

# By so much batch work comes later than what was told to come at the same time.
_BEHIND_SECONDS = 0.01
# How long a lane rests after a look in vain.
_REST_SECONDS, _BATCH_REST_SECONDS = 0.02, 0.08


class NoRoomError(Exception):
    """The room is full, the place was needed for more urgent work, or the turn did not come in time."""


class _Waiter:
    """One place; ``turn`` is done when it is this one's turn, or with an error when its place is needed."""

    def __init__(self, lane: str, arrival: int, *, is_batch: bool) -> None:
        self.lane = lane
        self.is_batch = is_batch
        self.rank = (is_batch, arrival)
        self.is_due = False
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class WaitingRoom:
    """Everybody who waits in this process. A ``lane`` is what they wait for: the name of a budget."""

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []
        self._served: dict[str, _Waiter] = {}
        self._resting: set[str] = set()
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._waiters)

    def taken_before(self, priority: str, lanes: Iterable[str]) -> str | None:
        """One of these lanes in which more urgent work waits already; None where there is none."""
        if priority == INTERACTIVE or not self._waiters:
            return None
        taken = {waiter.lane for waiter in self._waiters if not waiter.is_batch}
        return next((lane for lane in lanes if lane in taken), None)

    @asynccontextmanager
    async def turn(
        self, lane: str, priority: str, seconds: float, most: int, patience: float | None = None
    ) -> AsyncIterator[None]:
        """Waits ``seconds``, then for whoever goes first; the block is this one's turn. ``most`` may wait at once, and nobody
        longer than his ``patience`` in seconds (None: without end).

        Raises:
            NoRoomError: see there.
        """
        is_batch = priority != INTERACTIVE
        waiter = _Waiter(lane, next(self._arrivals), is_batch=is_batch)
        self._enter(waiter, most)
        delay = max(0.0, seconds) + (_BEHIND_SECONDS if is_batch else 0.0)
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(delay, self._come_due, waiter)]
        if patience is not None:
            timers.append(loop.call_later(patience, _send_away, waiter))
        try:
            await waiter.turn
            yield
        finally:
            for timer in timers:
                timer.cancel()
            self._leave(waiter)

    def rest(self, lane: str) -> None:
        """Whose turn it is has looked in vain: the next one in the lane need not look at once."""
        if lane in self._resting:
            return
        self._resting.add(lane)
        is_urgent = any(waiter.lane == lane and not waiter.is_batch for waiter in self._waiters)
        pause = _REST_SECONDS if is_urgent else _BATCH_REST_SECONDS
        asyncio.get_running_loop().call_later(pause, self._go_on, lane)

    def _go_on(self, lane: str) -> None:
        self._resting.discard(lane)
        self._serve(lane)

    def _enter(self, waiter: _Waiter, most: int) -> None:
        if len(self._waiters) >= most:
            last = max(self._waiters, key=lambda other: other.rank, default=None)
            if last is None or not last.is_batch or waiter.is_batch or last.turn.done():
                raise NoRoomError
            self._waiters.remove(last)
            _send_away(last)
        self._waiters.append(waiter)

    def _come_due(self, waiter: _Waiter) -> None:
        waiter.is_due = True
        self._serve(waiter.lane)

    def _serve(self, lane: str) -> None:
        """Gives the next one its turn, unless somebody has it or the lane rests. Batch work has none while interactive work
        waits for its own.
        """
        if lane in self._served or lane in self._resting:
            return
        here = [waiter for waiter in self._waiters if waiter.lane == lane and not waiter.turn.done()]
        is_interactive_here = any(not waiter.is_batch for waiter in here)
        due = [waiter for waiter in here if waiter.is_due and not (waiter.is_batch and is_interactive_here)]
        if due:
            first = min(due, key=lambda waiter: waiter.rank)
            self._served[lane] = first
            first.turn.set_result(None)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if self._served.get(waiter.lane) is waiter:
            del self._served[waiter.lane]
        self._serve(waiter.lane)


def _send_away(waiter: _Waiter) -> None:
    if not waiter.turn.done():
        waiter.turn.set_exception(NoRoomError())
