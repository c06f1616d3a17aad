"""The way to one Redis server: calls made at the same time travel together, each has a deadline, a dead server costs nothing.

Rules of this file
- A call that was given up may still have done its work: whoever made it is told what became of it, when that is known.
- The deadline is the server's: so long it may be silent. While it answers others, and where this process's own loop came
  late, a call waits longer, some deadlines at most: else a burst of requests would look like a dead store, and pass uncounted.
- A server that answers nobody for a while is dead, and so is one whose connection fails: then nobody waits, calls fail at
  once until it has answered again. One call that took too long shows a busy server, and costs only that call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import AskError, MovedError, NoScriptError, RedisError

from router_extproc.errors import StartError
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.redis_connections import SOCKET_SECONDS
from router_extproc.store.redis_link import Link
from router_extproc.store.redis_scripts import Command

_TOGETHER = 64
_UNDER_WAY = 2
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5
# A loop that is late by more than this share of the deadline did not listen. Nobody waits longer than so many times.
_LATE_SHARE = 0.1
_MOST_REPRIEVES = 10
# What has arrived in time is read, taken apart and handed over by several turns of the loop.
_TURNS = 5
_MESSAGE_LENGTH = 200
# A server is dead that has answered nobody for so many deadlines.
_DEADLINES_OF_SILENCE = 3
_CLOSED = "the store is closed"

# What a call learns late: the answer, or the error that leaves it open whether there was one.
Late = Callable[[Any], None]
FAILURES = (RedisError, OSError, StartError, asyncio.TimeoutError)

_log = logging.getLogger(__name__)


class UnansweredError(StoreUnavailableError):
    """The command was sent and no answer came: whether it did its work is not known."""


class _Call:
    """One command and who waits for it."""

    __slots__ = ("command", "due", "future", "is_sent", "late", "reprieves")

    def __init__(self, command: Command, future: asyncio.Future[Any], due: float, late: Late | None) -> None:
        self.command = command
        self.future = future
        self.due = due
        self.late = late
        self.is_sent = False
        self.reprieves = 0

    def finish(self, outcome: Any) -> None:
        """Hands over the answer, or the error that is what is known of it."""
        if self.future.done():
            if self.late is not None and self.is_sent:
                self.late(outcome)
        elif isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Lane:
    """Commands to one server. ``is_wanted`` says, while the server is gone, whether it is still the one to ask."""

    def __init__(self, name: str, link: Link, deadline: float, is_wanted: Callable[[], Awaitable[bool]] | None = None) -> None:
        self.name = name
        self._link = link
        self._deadline = deadline
        self._is_wanted = is_wanted
        self._waiting: deque[_Call] = deque()
        # What is sent over connections that are still believed in.
        self._under_way: list[Sequence[_Call]] = []
        self._is_flush_due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: str | None = None
        self._complaint = ""
        self._is_closed = False
        self._silent_since: float | None = None
        self._answered_at = 0.0

    @property
    def is_broken(self) -> bool:
        """Whether calls fail at once."""
        return self._broken is not None

    async def call(self, command: Command, late: Late | None = None, deadline: float | None = None) -> Any:
        """The script's answer, within ``deadline`` seconds, else the lane's.

        Raises:
            StoreUnavailableError: there was none in time. ``late`` then hears what became of it, if it was sent.
            UnansweredError: the connection failed meanwhile.
            MovedError, AskError: another server of the cluster has the keys.
        """
        if self._broken is not None:
            raise StoreUnavailableError(self._broken)
        loop = asyncio.get_running_loop()
        call = _Call(command, loop.create_future(), loop.time() + (deadline or self._deadline), late)
        self._waiting.append(call)
        if not self._is_flush_due:
            # Not at once: what other requests ask in this turn of the loop goes along.
            self._is_flush_due = True
            loop.call_soon(self._flush)
        timer = loop.call_at(call.due, self._expire, call)
        try:
            return await call.future
        finally:
            timer.cancel()

    async def aclose(self) -> None:
        """Gives up what is under way and closes the connections."""
        self._is_closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_waiting(_CLOSED)
        await self._link.aclose()

    def _flush(self) -> None:
        self._is_flush_due = False
        while self._waiting and len(self._under_way) < _UNDER_WAY and self._broken is None and not self._is_closed:
            batch: list[_Call] = []
            while self._waiting and len(batch) < _TOGETHER:
                call = self._waiting.popleft()
                if not call.future.done():
                    call.is_sent = True
                    batch.append(call)
            if batch:
                self._under_way.append(batch)
                self._start(self._send(batch, self._under_way))

    async def _send(self, batch: Sequence[_Call], under_way: list[Sequence[_Call]]) -> None:
        try:
            answers = await self._link.send([call.command for call in batch])
            unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                again = await self._link.send([batch[place].command for place in unknown], by_text=True)
                for place, answer in zip(unknown, again, strict=True):
                    answers[place] = answer
        except FAILURES as error:
            failed = UnansweredError(self._describe(error))
            if under_way is self._under_way:
                self._break(str(failed))
            for call in batch:
                call.finish(failed)
        except asyncio.CancelledError:
            for call in batch:
                call.finish(UnansweredError(_CLOSED))
            raise
        else:
            self._silent_since = None
            self._answered_at = asyncio.get_running_loop().time()
            for call, answer in zip(batch, answers, strict=True):
                call.finish(self._outcome(answer))
        finally:
            under_way.remove(batch)
            self._flush()

    def _outcome(self, answer: Any) -> Any:
        if not isinstance(answer, Exception) or isinstance(answer, MovedError | AskError):
            return answer
        complaint = self._describe(answer)
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warning("store refuses", extra={"store": self.name, "reason": complaint})
        return StoreUnavailableError(complaint)

    def _describe(self, error: BaseException) -> str:
        """What is told of a server's or the client's error; neither puts a password into it."""
        lines = str(error).splitlines() or ["no answer"]
        return f"the store {self.name} failed: {lines[0][:_MESSAGE_LENGTH]}"

    def _expire(self, call: _Call, turns: int = 0) -> None:
        if call.future.done():
            return
        loop = asyncio.get_running_loop()
        if turns < _TURNS:
            loop.call_soon(self._expire, call, turns + 1)
            return
        now = loop.time()
        late = now - call.due
        due = self._answered_at + self._deadline
        if late > self._deadline * _LATE_SHARE:
            due = max(due, now + min(late, self._deadline))
        if due > now and call.reprieves < _MOST_REPRIEVES:
            call.reprieves += 1
            call.due = due
            loop.call_at(due, self._expire, call)
            return
        reason = f"the store {self.name} did not answer within {self._deadline * 1_000:g} ms"
        call.future.set_exception(StoreUnavailableError(reason))
        if self._silent_since is None:
            self._silent_since = now - self._deadline
        if now - self._silent_since >= _DEADLINES_OF_SILENCE * self._deadline:
            self._break(reason)

    def _break(self, reason: str) -> None:
        if self._broken is not None or self._is_closed:
            return
        self._broken = reason
        _log.warning("store is unavailable", extra={"store": self.name, "reason": reason})
        self._fail_waiting(reason)
        self._start(self._mend())

    def _fail_waiting(self, reason: str) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(StoreUnavailableError(reason))

    async def _mend(self) -> None:
        """Until the server answers twice, the second time within the deadline: the first may have had to connect."""
        pause = _FIRST_PAUSE_SECONDS
        # Others may be as dead as the one that failed, without having said so.
        await self._link.close_idle()
        # Asked each time: the client may swallow the cancellation of what it was just doing.
        while not self._is_closed and (self._is_wanted is None or await self._is_wanted()):
            try:
                async with asyncio.timeout(SOCKET_SECONDS):
                    await self._link.ask("PING")
                async with asyncio.timeout(self._deadline):
                    await self._link.ask("PING")
            except FAILURES as error:
                self._explain(error)
            else:
                self._come_back()
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _explain(self, error: BaseException) -> None:
        """A server may be lost for one reason and stay away for another: a password that is wrong now, data being loaded."""
        reason = self._describe(error)
        if reason != self._broken:
            self._broken = reason
            _log.warning("store stays unavailable", extra={"store": self.name, "reason": reason})

    def _come_back(self) -> None:
        self._broken = None
        # What is still under way went over connections of before, which may be dead: it is not waited for, and tells nothing.
        self._under_way, self._silent_since = [], None
        _log.info("store is back", extra={"store": self.name})
        self._flush()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
