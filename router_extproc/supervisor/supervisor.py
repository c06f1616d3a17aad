"""The life of one instance: Envoy, workers and observer, from the first file written to the last one drained."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import watchfiles

from router_extproc.config.schema import RouterConfig
from router_extproc.config.state import StateDirectory
from router_extproc.envoyconf.secrets import credential_files
from router_extproc.errors import StartError
from router_extproc.observer.options import Cooling, ObserverOptions, encode_options
from router_extproc.supervisor.child import Child
from router_extproc.supervisor.control import ControlPlane, Watcher
from router_extproc.supervisor.envoy import EnvoyAdmin, command_line, find_envoy
from router_extproc.supervisor.files import replace_file

_READY_SECONDS = 30.0
_READY_POLL_SECONDS = 0.05
_SETTLED_SECONDS = 1.0
_OBSERVER_STOP_SECONDS = 10.0
_WATCH_STEP_MS = 50
_WATCH_POLL_MS = 1_000

_log = logging.getLogger(__name__)


@dataclass
class Options:
    """How an instance is run: ``load`` reads its configuration, ``file`` is where it is written, if anywhere."""

    load: Callable[[], RouterConfig]
    state: StateDirectory
    file: Path | None = None
    with_envoy: bool = True
    companions: Mapping[str, list[str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


class Supervisor:
    """Runs one instance until SIGTERM or SIGINT. ``on_ready`` is called once clients are served."""

    def __init__(self, options: Options, on_ready: Callable[[RouterConfig], None]) -> None:
        self._options, self._on_ready = options, on_ready
        self._children: list[Child] = []
        self._envoy: Child | None = None
        self._admin: EnvoyAdmin | None = None

    async def run(self) -> None:
        """Starts everything, keeps it alive, drains it.

        Raises:
            ConfigurationError: the configuration cannot be used.
            StartError: a port, a binary or a process cannot be had.
        """
        options = self._options
        options.state.create()
        config = options.load()
        self._require_ports(config)
        control = ControlPlane(
            options.load, options.state, options.environment, drain_seconds=config.workers.drain_timeout / 1_000
        )
        config = control.start().config
        write_observer_options(options.state, config)
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        self._plan_children(config)
        tasks = [asyncio.create_task(child.run()) for child in self._children]
        try:
            await self._until_serving(tasks, stopping)
            if not stopping.is_set():
                self._write_instance(config)
                self._on_ready(config)
                tasks.append(asyncio.create_task(self._follow_changes(control)))
                tasks.append(asyncio.create_task(self._sweep(control)))
                await self._wait(stopping.wait, tasks)
        finally:
            await self._stop(config)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            options.state.instance.unlink(missing_ok=True)

    def _plan_children(self, config: RouterConfig) -> None:
        state, python = self._options.state, sys.executable
        logs = state.logs
        common = ["--state", str(state.root)]
        for name, arguments in self._options.companions.items():
            self._children.append(Child(name, arguments, output=logs / f"{name}.log"))
        observer = [python, "-m", "router_extproc.observer", *common]
        self._children.append(Child("observer", observer, speaks=True, output=logs / "observer.log"))
        for index in range(config.workers.count):
            worker = [python, "-m", "router_extproc.extproc", *common, "--index", str(index)]
            worker += ["--drain-ms", str(config.workers.drain_timeout)]
            self._children.append(Child(f"worker-{index}", worker, speaks=True, output=logs / f"worker-{index}.log"))
        self._admin = EnvoyAdmin(config.envoy.admin_address, config.envoy.admin_port)
        if self._options.with_envoy:
            envoy = command_line(find_envoy(), state.envoy / "bootstrap.json", state.envoy_log, config.envoy.concurrency)
            self._envoy = Child("envoy", envoy, output=logs / "envoy.log")

    async def _until_serving(self, tasks: list[asyncio.Task[None]], stopping: asyncio.Event) -> None:
        async def started() -> None:
            for child in self._children:
                await child.ready.wait()
            if self._envoy is not None:
                tasks.append(asyncio.create_task(self._envoy.run()))
                self._children.append(self._envoy)
                while self._admin is not None and not await self._admin.is_ready():  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(_READY_POLL_SECONDS)

        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._wait(started, tasks, stopping)
        except TimeoutError:
            waiting = [child.name for child in self._children if not child.ready.is_set()] or ["envoy"]
            raise StartError(f"{', '.join(waiting)} did not start; see {self._options.state.logs}") from None

    async def _wait(
        self, what: Callable[[], Awaitable[object]], tasks: list[asyncio.Task[None]], stopping: asyncio.Event | None = None
    ) -> None:
        """Waits for ``what``, or until it should stop, or until a task fails: its error is then ours."""
        waiting = [asyncio.ensure_future(what())]
        if stopping is not None:
            waiting.append(asyncio.ensure_future(stopping.wait()))
        try:
            done, _ = await asyncio.wait([*waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for waiter in waiting:
                waiter.cancel()

    async def _follow_changes(self, control: ControlPlane) -> None:
        """Applies router.yaml whenever it changes, and renders a credential anew whenever its file does."""

        def paths() -> tuple[Path, ...]:
            file = self._options.file
            keys = credential_files(control.applied.config) if control.applied else ()
            return (*((file,) if file is not None else ()), *keys)

        watcher = Watcher(paths)
        while True:
            folders = watcher.folders()
            if not folders:
                await asyncio.Event().wait()
            # The time-out covers what a file system does not tell, such as a symlink's target in another folder.
            async for _ in watchfiles.awatch(
                *folders,
                step=_WATCH_STEP_MS // 5,
                debounce=_WATCH_STEP_MS,
                recursive=False,
                yield_on_timeout=True,
                rust_timeout=_WATCH_POLL_MS,
            ):
                if watcher.changed():
                    if await control.reload(self._admin) and control.applied is not None:
                        write_observer_options(self._options.state, control.applied.config)
                    watcher.changed()
                    if watcher.folders() != folders:
                        break

    async def _sweep(self, control: ControlPlane) -> None:
        while True:
            await asyncio.sleep(5)
            await control.sweep()

    async def _stop(self, config: RouterConfig) -> None:
        """No new connections, running answers end, then the processes that served them."""
        timeout = config.workers.drain_timeout / 1_000
        if self._envoy is not None and self._envoy.pid is not None and self._admin is not None:
            await self._drain_envoy(self._admin, timeout)
            await self._envoy.stop(_OBSERVER_STOP_SECONDS)
        observers = [child for child in self._children if child.name == "observer"]
        others = [child for child in self._children if child.name != "observer" and child is not self._envoy]
        await asyncio.gather(*(child.stop(timeout) for child in others))
        await asyncio.gather(*(child.stop(_OBSERVER_STOP_SECONDS) for child in observers))

    async def _drain_envoy(self, admin: EnvoyAdmin, timeout_seconds: float) -> None:
        """Lets running answers end: health checks fail, listeners close, kept-alive connections are told to close."""
        deadline = time.monotonic() + timeout_seconds
        quiet_since: float | None = None
        try:
            await admin.ask("/healthcheck/fail", "POST")
            await admin.ask("/drain_listeners", "POST")
            while time.monotonic() < deadline:
                active = (await admin.figures("^http.clients.downstream_rq_active$")).get(
                    "http.clients.downstream_rq_active", 0
                )
                if active:
                    quiet_since = None
                elif quiet_since is None:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since >= _SETTLED_SECONDS:
                    return
                await asyncio.sleep(0.1)
            _log.warning("answers were still running at the end of the drain timeout")
        except (OSError, asyncio.IncompleteReadError):
            _log.warning("Envoy does not answer, stopping without draining")

    def _require_ports(self, config: RouterConfig) -> None:
        wanted = {"admin.port": (config.admin.address, config.admin.port)}
        if self._options.with_envoy:
            wanted["listener.port"] = (config.listener.address, config.listener.port)
            wanted["envoy.admin_port"] = (config.envoy.admin_address, config.envoy.admin_port)
        for key, (address, port) in wanted.items():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    trial.bind((address, port))
                except OSError as error:
                    raise StartError(
                        f"{key}: cannot listen on {address}:{port}: {error.strerror}; set {key} in router.yaml"
                    ) from error

    def _write_instance(self, config: RouterConfig) -> None:
        scheme = "https" if config.listener.tls else "http"
        instance = {
            "pid": os.getpid(),
            "clients": f"{scheme}://{config.listener.address}:{config.listener.port}",
            "admin": f"http://{config.admin.address}:{config.admin.port}",
            "envoy_admin": f"http://{config.envoy.admin_address}:{config.envoy.admin_port}",
        }
        replace_file(self._options.state.instance, json.dumps(instance).encode())


def write_observer_options(state: StateDirectory, config: RouterConfig) -> None:
    """What the observer needs of the configuration; it reads no YAML."""
    cooling = Cooling(
        failures=config.cooling.failures,
        failure_ratio=config.cooling.failure_ratio,
        window_ms=config.cooling.window,
        time_ms=config.cooling.time,
        max_time_ms=config.cooling.max_time,
    )
    options = ObserverOptions(
        admin_address=config.admin.address,
        admin_port=config.admin.port,
        cooling=cooling,
        max_log_bytes=config.decision_log.max_file_bytes,
        keep_ms=config.decision_log.keep,
    )
    replace_file(state.observer_options, encode_options(options))
