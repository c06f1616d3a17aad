"""The processes of one instance, and the order in which they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from router_extproc.config.schema import RouterConfig
from router_extproc.config.state import StateDirectory
from router_extproc.store.lives import VARIABLE
from router_extproc.supervisor.child import Child
from router_extproc.supervisor.drain import announce, drain
from router_extproc.supervisor.envoy import EnvoyAdmin, EnvoyUnreachableError, command_line, find_envoy
from router_extproc.supervisor.options import Options

_STOP_SECONDS = 10.0
# Envoy sends what it logged after a tenth of a second; who was asked then has as much time again to read it.
_LOGGED_SECONDS = (0.15, 0.05)
# A worker has one core. Threads of the numerical libraries would take turns with it and with each other; the libraries
# read this when they are loaded.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Processes:
    """Planned at once, started by the supervisor."""

    def __init__(self, options: Options, config: RouterConfig) -> None:
        state, python = options.state, sys.executable
        common = ["--state", str(state.root)]
        self._worker_sockets = [state.worker_socket(index) for index in range(config.workers.count)]
        self._companions = [Child(name, line, output=_log_of(state, name)) for name, line in options.companions.items()]
        observer = [python, "-m", "router_extproc.observer", *common]
        self._observer = Child("observer", observer, speaks=True, output=_log_of(state, "observer"))
        self._workers = []
        for index in range(config.workers.count):
            worker = [python, "-m", "router_extproc.extproc", *common, "--index", str(index)]
            worker += ["--drain-ms", str(config.workers.drain_timeout)]
            name = f"worker-{index}"
            child = Child(name, worker, speaks=True, output=_log_of(state, name), environment={**os.environ, **_ONE_THREAD})
            self._workers.append(child)
        self.admin = EnvoyAdmin(config.envoy.admin_address, config.envoy.admin_port)
        # It speaks HTTP as Envoy's does.
        self._observer_admin = EnvoyAdmin(config.admin.address, config.admin.port)
        self.envoy: Child | None = None
        if options.with_envoy:
            envoy = command_line(find_envoy(), state.envoy / "bootstrap.json", state.envoy_log, config.envoy.concurrency)
            self.envoy = Child("envoy", envoy, output=state.envoy_log, life_variable=VARIABLE)

    @property
    def deciding(self) -> list[Child]:
        """All but Envoy."""
        return [*self._companions, self._observer, *self._workers]

    @property
    def all(self) -> list[Child]:
        """All of them."""
        return self.deciding if self.envoy is None else [*self.deciding, self.envoy]

    async def leave(self, delay_seconds: float) -> None:
        """Serves on for ``delay_seconds``, telling kept-alive connections to close."""
        if delay_seconds and self.envoy is not None:
            await announce(self.admin)
        await asyncio.sleep(delay_seconds)

    async def stop(self, drain_seconds: float) -> None:
        """No new connections, running answers end, then the processes that served them, and who logs them last."""
        if self.envoy is not None:
            self.envoy.retire()
            if self.envoy.ready.is_set():
                await drain(self.admin, drain_seconds)
                await self._let_observer_read()
            await self.envoy.stop(_STOP_SECONDS)
        for worker in self._workers:
            worker.retire()
        for socket in self._worker_sockets:
            # What a worker waits for before it drains: its socket is not its own any more.
            socket.unlink(missing_ok=True)
        await asyncio.gather(*(child.stop(drain_seconds) for child in (*self._workers, *self._companions)))
        await self._observer.stop(_STOP_SECONDS)

    async def _let_observer_read(self) -> None:
        """What waits in Envoy's connections to the observer is lost when Envoy ends: one that stands still is waited for."""
        for seconds in _LOGGED_SECONDS:
            await asyncio.sleep(seconds)
            with contextlib.suppress(EnvoyUnreachableError):
                await self._observer_admin.ask("/healthz")


def _log_of(state: StateDirectory, name: str) -> Path:
    return state.logs / f"{name}.log"
