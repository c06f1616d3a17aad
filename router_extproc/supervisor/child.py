"""One process that is kept alive: started, watched, restarted with back-off, replaced while it drains, stopped.

Children are direct children of the supervisor, in its process group, and die with it even when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from router_extproc.errors import StartError

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
HEALTHY_SECONDS = 10.0
"""A process that lived this long is started anew with the shortest pause."""

_PR_SET_PDEATHSIG = 1  # prctl(2)

_log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(eq=False)
class _Life:
    """One process of a child, from its start to its end."""

    process: asyncio.subprocess.Process
    began: float
    handed_over: asyncio.Event = field(default_factory=asyncio.Event)
    """It ended, or said that it takes no more work."""

    @property
    def is_over(self) -> bool:
        return self.process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Child:
    """``arguments`` is the command line; with ``speaks`` the process says ``ready`` and ``draining`` on ``--ready-fd``.

    A process that says it is draining gets its successor at once and ends in its own time. ``life_variable`` is the variable
    of its environment by which each process is told a name of its own.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        speaks: bool = False,
        output: Path | None = None,
        environment: Mapping[str, str] | None = None,
        life_variable: str | None = None,
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self.restarts = 0
        self._arguments = list(arguments)
        self._speaks = speaks
        self._output = output
        self._environment = dict(environment) if environment is not None else None
        self._life_variable = life_variable
        self._current: _Life | None = None
        self._lives: dict[_Life, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keeps one process alive until ``stop``.

        Raises:
            StartError: the first process cannot be started.
        """
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                life = await self._start()
            except OSError as error:
                if self._current is None:
                    raise StartError(f"{self.name}: cannot start {self._arguments[0]}: {error.strerror}") from error
                _log.exception("process cannot be started", extra={"child": self.name})
            else:
                await life.handed_over.wait()
                if not life.is_over:
                    self.restarts += 1
                    continue
                if self._stopping.is_set():
                    return
                if asyncio.get_running_loop().time() - life.began > HEALTHY_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                extra = {"child": self.name, "status": life.process.returncode, "pause_seconds": pause}
                _log.warning("process ended, starting it again", extra=extra)
            self.restarts += 1
            await self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def retire(self) -> None:
        """From now on no process is started any more; what runs goes on."""
        self._stopping.set()

    async def stop(self, timeout_seconds: float) -> None:
        """Asks every process of this child to end, and kills what has not after ``timeout_seconds``."""
        self.retire()
        for life in self._lives:
            life.send(signal.SIGTERM)
        if not self._lives:
            return
        _, late = await asyncio.wait(self._lives.values(), timeout=timeout_seconds)
        if late:
            _log.warning("process did not end in time, killing it", extra={"child": self.name})
            for life in self._lives:
                life.send(signal.SIGKILL)
            await asyncio.wait(late)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _start(self) -> _Life:
        arguments, reading, writing = self._arguments, -1, -1
        if self._speaks:
            reading, writing = os.pipe()
            arguments = [*arguments, "--ready-fd", str(writing)]
        parent = os.getpid()
        try:
            with contextlib.ExitStack() as opened:
                output = opened.enter_context(self._output.open("ab")) if self._output is not None else None
                process = await asyncio.create_subprocess_exec(
                    *arguments,
                    pass_fds=(writing,) if self._speaks else (),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment_of_life(),
                    preexec_fn=lambda: _before_exec(parent),
                )
        except BaseException:
            if self._speaks:
                os.close(reading)
            raise
        finally:
            if self._speaks:
                os.close(writing)
        life = self._current = _Life(process, asyncio.get_running_loop().time())
        self._lives[life] = asyncio.create_task(self._watch(life, reading))
        if not self._speaks:
            self.ready.set()
        if self._stopping.is_set():
            life.send(signal.SIGTERM)
        return life

    def _environment_of_life(self) -> Mapping[str, str] | None:
        if self._life_variable is None:
            return self._environment
        return {**(self._environment or os.environ), self._life_variable: uuid.uuid4().hex}

    async def _watch(self, life: _Life, reading: int) -> None:
        listening = asyncio.create_task(self._listen(life, reading)) if self._speaks else None
        await life.process.wait()
        if listening is not None:
            # A process of its own that it left behind may hold the pipe open.
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        self._hand_over(life)
        del self._lives[life]

    async def _listen(self, life: _Life, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        try:
            while word := (await reader.readline()).strip():
                if word == b"ready" and life is self._current:
                    self.ready.set()
                elif word == b"draining":
                    self._hand_over(life)
        finally:
            transport.close()

    def _hand_over(self, life: _Life) -> None:
        if life is self._current:
            self.ready.clear()
        life.handed_over.set()


def _before_exec(parent: int) -> None:
    """Runs in the new process, just before it becomes the program."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before that was asked for
        os._exit(1)
    # Ctrl-C reaches the whole process group; what ends when is the supervisor's business. Blocked rather than ignored:
    # Envoy installs a handler of its own, but unblocks nothing.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # Each answer that streams holds two sockets; the usual soft limit of 1024 is for programs that still use select().
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
