"""One process that is kept alive: started, watched, restarted with back-off, stopped gracefully.

Children are direct children of the supervisor, in its process group, and die with it even when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from router_extproc.errors import StartError

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
# A process that lived this long starts anew with the shortest pause.
_HEALTHY_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1

_log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@dataclass(eq=False)
class _Life:
    """One process of a child; ``draining`` is set once it said that it takes no more work."""

    process: asyncio.subprocess.Process
    draining: asyncio.Event = field(default_factory=asyncio.Event)


class Child:
    """``arguments`` is the command line; with ``speaks`` the process says ``ready`` and ``draining`` on ``--ready-fd``.

    A process that says it is draining gets its successor at once and ends in its own time.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        speaks: bool = False,
        output: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self.pid: int | None = None
        self.restarts = 0
        self._arguments = list(arguments)
        self._speaks = speaks
        self._output = output
        self._environment = dict(environment) if environment is not None else None
        self._lives: set[_Life] = set()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keeps one process alive until ``stop``."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping:
            started = time.monotonic()
            life = await self._start()
            handed_over = asyncio.Event()
            self._spawn(self._watch(life, handed_over))
            await handed_over.wait()
            if self._stopping:
                return
            self.restarts += 1
            status = life.process.returncode
            if status is None:
                continue
            pause = _FIRST_PAUSE_SECONDS if time.monotonic() - started > _HEALTHY_SECONDS else pause
            _log.warning(
                "process ended, starting it again", extra={"child": self.name, "status": status, "pause_seconds": pause}
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def stop(self, timeout_seconds: float) -> None:
        """Asks every process of this child to end, and kills what has not after ``timeout_seconds``."""
        self._stopping = True
        running = [life.process for life in self._lives if life.process.returncode is None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.gather(*(process.wait() for process in running))
        except TimeoutError:
            for process in (process for process in running if process.returncode is None):
                _log.warning("process did not end in time, killing it", extra={"child": self.name})
                process.kill()
                await process.wait()

    async def _start(self) -> _Life:
        arguments, reading, writing = self._arguments, -1, -1
        if self._speaks:
            reading, writing = os.pipe()
            arguments = [*arguments, "--ready-fd", str(writing)]
        output = self._output.open("ab") if self._output is not None else None
        try:
            life = _Life(
                await asyncio.create_subprocess_exec(
                    *arguments,
                    pass_fds=(writing,) if self._speaks else (),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment,
                    preexec_fn=_die_with_parent,
                )
            )
        except OSError as error:
            raise StartError(f"{self.name}: cannot start {arguments[0]}: {error.strerror}") from error
        finally:
            if self._speaks:
                os.close(writing)
            if output is not None:
                output.close()
        self._lives.add(life)
        self.pid = life.process.pid
        if self._speaks:
            self._spawn(self._listen(life, reading))
        else:
            self.ready.set()
        return life

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, life: _Life, handed_over: asyncio.Event) -> None:
        ended = asyncio.create_task(life.process.wait())
        draining = asyncio.create_task(life.draining.wait())
        await asyncio.wait((ended, draining), return_when=asyncio.FIRST_COMPLETED)
        if self.pid == life.process.pid:
            self.ready.clear()
        handed_over.set()
        await ended
        draining.cancel()
        self._lives.discard(life)

    async def _listen(self, life: _Life, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        try:
            while word := (await reader.readline()).strip():
                if word == b"ready" and self.pid == life.process.pid:
                    self.ready.set()
                elif word == b"draining":
                    life.draining.set()
        finally:
            transport.close()
