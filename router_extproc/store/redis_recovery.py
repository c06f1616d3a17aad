"""Whether Redis knows all totals. A server that was emptied, restarted or promoted may know less than was settled.

Rules of this file
- The scripts notice by themselves, exactly, and answer nothing; here it is found out when they may answer again.
- Whoever notices starts the wait; instances tell their totals again meanwhile (they see another ``memory``); then anybody
  ends it. So nothing has to know how many instances there are, and one that is gone blocks nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging

from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.redis_connections import SOCKET_SECONDS
from router_extproc.store.redis_scripts import Command, script
from router_extproc.store.redis_servers import Servers

# Instances look for another memory several times within this.
WAIT_MS = 1_000
# As long as this an instance that is telling may hold up the others.
LONGEST_WAIT_MS = 30_000
_TELLING_MS = 3_000
_POLL_SECONDS = 0.05

_log = logging.getLogger(__name__)


class Recovery:
    """Knows where counters may be used; one a process and store."""

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._servers = servers
        self._prefix = prefix
        # Nothing is believed before it was asked.
        self._unready = set(servers.tags)
        self._was_asked = asyncio.Event()
        self._was_ready = False
        self._memories: dict[str, bytes] = {}
        self._task: asyncio.Task[None] | None = None

    def is_ready(self, tag: str) -> bool:
        """Whether all totals of these counters are known, as far as this process has heard."""
        return tag not in self._unready

    def start(self) -> None:
        """Begins to find out, unless that is under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._recover())

    async def wait(self, seconds: float) -> None:
        """Until the servers were asked once, ``seconds`` at most; later on nobody waits here."""
        if not self._was_asked.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._was_asked.wait()

    def lost(self, tag: str) -> None:
        """A script found that totals are missing. Others of the same server miss theirs too: all are asked about."""
        if not self._unready:
            _log.warning("store has lost totals, and is not used until it was told them again")
        self._unready.add(tag)
        self.start()

    async def memory(self, *, telling: bool) -> str:
        """A text that changes when totals are to be told again. ``telling``: this instance is at it, others wait for it.

        A server of several that does not answer counts as unchanged: the others are told meanwhile.

        Raises:
            StoreUnavailableError: no server answered.
        """
        tags = self._servers.tags
        answers = await asyncio.gather(*(self._ask(tag, telling=telling) for tag in tags), return_exceptions=True)
        for tag, answer in zip(tags, answers, strict=True):
            if not isinstance(answer, BaseException):
                _, self._memories[tag] = answer
            elif not isinstance(answer, StoreUnavailableError):
                raise answer
        if isinstance(answers[0], BaseException) and all(isinstance(answer, BaseException) for answer in answers):
            raise answers[0]
        return hashlib.sha256(repr(sorted(self._memories.items())).encode()).hexdigest()

    async def aclose(self) -> None:
        """Stops finding out."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _recover(self) -> None:
        asked = sorted(self._servers.tags)
        while asked:
            answers = await asyncio.gather(*(self._is_told(tag) for tag in asked))
            for tag, is_told in zip(asked, answers, strict=True):
                if is_told:
                    self._unready.discard(tag)
                elif is_told is not None:
                    self._unready.add(tag)
            self._was_asked.set()
            # What was lost meanwhile is among them.
            asked = sorted(self._unready)
            if asked:
                await asyncio.sleep(_POLL_SECONDS)
        if self._was_ready:
            _log.info("store knows all totals again")
        self._was_ready = True

    async def _is_told(self, tag: str) -> bool | None:
        """None where the server does not answer."""
        with contextlib.suppress(StoreUnavailableError):
            ready, _ = await self._ask(tag, telling=False)
            return ready
        return None

    async def _ask(self, tag: str, *, telling: bool) -> tuple[bool, bytes]:
        keys = [f"{self._prefix}:{{{tag}}}:{name}" for name in ("ready", "recovery", "telling")]
        command = Command(script("recover"), keys, (WAIT_MS, _TELLING_MS if telling else 0, LONGEST_WAIT_MS))
        ready, memory = await self._servers.run(tag, command, deadline=SOCKET_SECONDS)
        return bool(ready), memory
