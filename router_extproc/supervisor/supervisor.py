"""The life of one instance: Envoy, workers and observer, from the first file written to the last one drained."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from router_extproc.config.schema import RouterConfig, Workers
from router_extproc.config.state import StateDirectory
from router_extproc.envoyconf.secrets import credential_files
from router_extproc.errors import StartError
from router_extproc.store.open import check_store
from router_extproc.supervisor.control import ControlPlane
from router_extproc.supervisor.envoy import EnvoyAdmin, EnvoyUnreachableError
from router_extproc.supervisor.files import replace_file
from router_extproc.supervisor.lock import exclusive
from router_extproc.supervisor.options import Options
from router_extproc.supervisor.ports import require_free_ports
from router_extproc.supervisor.processes import Processes
from router_extproc.supervisor.watch import changes

READY_SECONDS = 30.0
_READY_POLL_SECONDS = 0.05
_SWEEP_SECONDS = 5.0
# A process that died so often before it was ever ready will not do better the next time.
_MOST_START_FAILURES = 3

_log = logging.getLogger(__name__)


class Supervisor:
    """Runs one instance until SIGTERM or SIGINT, and a second SIGINT ends it without waiting for running answers.

    ``on_ready`` is called once clients are served.
    """

    def __init__(self, options: Options, on_ready: Callable[[RouterConfig], None]) -> None:
        self._options, self._on_ready = options, on_ready
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._is_serving = False
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Starts everything, keeps it alive, drains it.

        Raises:
            ConfigurationError: the configuration cannot be used.
            StartError: a port, a binary, a process or the store cannot be had, or another instance runs here.
        """
        options = self._options
        options.state.create()
        with exclusive(options.state):
            control = ControlPlane(options.load, options.state, options.environment)
            first = control.read()
            require_free_ports(first.config, with_envoy=options.with_envoy)
            await check_store(first.registry.spending.store, options.environment)
            _remove_old_sockets(options.state)
            options.state.stopping.unlink(missing_ok=True)
            control.start(first)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
            processes = Processes(options, first.config)
            try:
                await self._first_of(self._serve(control, processes), self._stopping.wait())
                if self._failure is not None:
                    raise self._failure
            finally:
                await self._first_of(self._stop(processes, first.config.workers), self._hurrying.wait())
                if self._hurrying.is_set():
                    await processes.stop(0)
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                options.state.instance.unlink(missing_ok=True)
                options.state.stopping.unlink(missing_ok=True)

    def _interrupt(self) -> None:
        (self._hurrying if self._stopping.is_set() else self._stopping).set()

    async def _serve(self, control: ControlPlane, processes: Processes) -> None:
        """Starts everything, and returns only by an error."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._start(control, processes)
        except TimeoutError:
            waiting = [child.name for child in processes.all if not child.ready.is_set()] or ["envoy"]
            raise StartError(f"{', '.join(waiting)} did not start in time; see {self._options.state.logs}") from None
        self._write_instance(control.applied.config)
        self._on_ready(control.applied.config)
        self._is_serving = True
        self._in_background(self._sweep(control))
        await self._follow(control, processes.admin)

    async def _stop(self, processes: Processes, workers: Workers) -> None:
        """Says so first. A port that closes resets whoever is about to be accepted: balancers get time to leave before."""
        self._options.state.stopping.touch()
        if self._is_serving and self._failure is None:
            await processes.leave((workers.drain_delay or 0) / 1_000)
        await processes.stop(workers.drain_timeout / 1_000)

    async def _start(self, control: ControlPlane, processes: Processes) -> None:
        """Envoy comes last: it must not serve by its default chain what workers are about to decide."""
        for child in processes.deciding:
            self._in_background(child.run())
        for child in processes.deciding:
            while not child.ready.is_set():
                if child.restarts >= _MOST_START_FAILURES:
                    raise StartError(f"{child.name} does not start; see {self._options.state.logs / child.name}.log")
                await asyncio.sleep(_READY_POLL_SECONDS)
        if processes.envoy is None:
            return
        self._in_background(processes.envoy.run())
        while not await _is_ready(processes.admin):
            if processes.envoy.restarts >= _MOST_START_FAILURES:
                raise StartError(f"envoy does not start; see {self._options.state.envoy_log}")
            await asyncio.sleep(_READY_POLL_SECONDS)
        refusal = await control.refusal(processes.admin)
        if refusal is not None:
            raise StartError(refusal)

    async def _follow(self, control: ControlPlane, admin: EnvoyAdmin) -> None:
        """Applies router.yaml whenever it changes, and renders anew when a credential's file does or a first key is made."""
        file = self._options.file

        def paths() -> tuple[Path, ...]:
            files = (*((file,) if file is not None else ()), *credential_files(control.applied.config))
            return (*files, self._options.state.keys_exist)

        async for _ in changes(paths):
            if await control.reload(admin):
                self._write_instance(control.applied.config)

    async def _sweep(self, control: ControlPlane) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            control.sweep()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs ``work`` beside the rest; its failure ends the instance."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_failure)
        self._tasks.append(task)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
            self._stopping.set()

    async def _first_of(self, *works: Coroutine[Any, Any, object]) -> None:
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _write_instance(self, config: RouterConfig) -> None:
        scheme = "https" if config.listener.tls else "http"
        instance = {
            "pid": os.getpid(),
            "clients": f"{scheme}://{config.listener.address}:{config.listener.port}",
            "admin": f"http://{config.admin.address}:{config.admin.port}",
            "envoy_admin": f"http://{config.envoy.admin_address}:{config.envoy.admin_port}",
        }
        replace_file(self._options.state.instance, json.dumps(instance).encode())


async def _is_ready(admin: EnvoyAdmin) -> bool:
    try:
        return await admin.is_ready()
    except EnvoyUnreachableError:
        return False


def _remove_old_sockets(state: StateDirectory) -> None:
    """What killed processes left behind."""
    for path in state.sockets.iterdir():
        path.unlink()
