"""Gives back what was set aside for calls that nobody waited for any longer: else it would lie there until it expires."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.redis_scripts import Command
from router_extproc.store.redis_servers import Servers

# What a stalled server has in its buffers is done before this has passed; an undo that came first would undo nothing.
SETTLING_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
_MOST_ATTEMPTS = 240
_MOST_REMEMBERED = 10_000


class _Undo(NamedTuple):
    due: float
    tag: str
    command: Command
    attempts: int


class Undoing:
    """Runs commands in the background until they succeed, for some minutes; what is beyond ``_MOST_REMEMBERED`` expires."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._waiting: deque[_Undo] = deque(maxlen=_MOST_REMEMBERED)
        self._task: asyncio.Task[None] | None = None

    def add(self, tag: str, command: Command, delay: float = 0.0) -> None:
        """Runs ``command`` after ``delay`` seconds."""
        loop = asyncio.get_running_loop()
        self._waiting.append(_Undo(loop.time() + delay, tag, command, 0))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work())

    async def aclose(self) -> None:
        """Forgets what is left."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            now = loop.time()
            due = [undo for undo in self._waiting if undo.due <= now]
            if not due:
                await asyncio.sleep(min(undo.due for undo in self._waiting) - now)
                continue
            self._waiting = deque((undo for undo in self._waiting if undo.due > now), self._waiting.maxlen)
            await asyncio.gather(*(self._try(undo) for undo in due))

    async def _try(self, undo: _Undo) -> None:
        try:
            await self._servers.run(undo.tag, undo.command)
        except StoreUnavailableError:
            if undo.attempts < _MOST_ATTEMPTS:
                due = asyncio.get_running_loop().time() + _PAUSE_SECONDS
                self._waiting.append(_Undo(due, undo.tag, undo.command, undo.attempts + 1))
