"""The observer process: takes Envoy's access logs over gRPC, and serves the admin API beside it.

Envoy does not acknowledge log entries and does not wait for them: what is slow here costs no request, and what is lost
here is lost to the decision log, not to the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from router_extproc.analysis.classifier import Classifier
from router_extproc.analysis.location import artefact_folder
from router_extproc.config.state import StateDirectory
from router_extproc.config.watched_file import WatchedFile
from router_extproc.errors import StartError
from router_extproc.observer.admin import AdminServer, admin_app, bind
from router_extproc.observer.bookkeeping import Bookkeeping
from router_extproc.observer.configuration_audit import ConfigurationAudit
from router_extproc.observer.decision_log import DecisionLog, JsonLinesFile
from router_extproc.observer.desk import Desk
from router_extproc.observer.explaining import CurrentRouter
from router_extproc.observer.health import Breakers
from router_extproc.observer.health_exchange import HealthExchange
from router_extproc.observer.health_file import HealthFile
from router_extproc.observer.identities import Identities
from router_extproc.observer.intake import Intake
from router_extproc.observer.live_figures import Live, LiveFigures
from router_extproc.observer.metrics import Metrics
from router_extproc.observer.options import ObserverOptions, read_options, read_token
from router_extproc.observer.probe_claims import forget_claims
from router_extproc.observer.readiness import reasons_not_ready
from router_extproc.observer.reload_report import ReloadReport, read_reload_report
from router_extproc.observer.worker_counters import WorkerCounters
from router_extproc.registry.health import DeploymentHealth
from router_extproc.registry.snapshot import Registry, read_registry
from router_extproc.router import Router
from router_extproc.store.decisions import DecisionWriter
from router_extproc.store.lives import METADATA

# Envoy collects entries for a moment before it sends them, and every decider must know within a second.
HEALTH_SECONDS = 0.1
FLUSH_SECONDS = 0.2
# Envoy writes its log file out fifty times a second. What a request took from limits must be free again as soon as it ended:
# else callers who keep to a limit of requests in progress, one after the other, are refused by their own shadow.
SETTLE_SECONDS = 0.02
# Who took nothing from any limit only comes to stand in the ledger: many together cost half as much.
SETTLE_PATIENCE_SECONDS = 0.2
# What is settled is told at once; so often the store is asked whether it still knows what it was told.
TELL_SECONDS = 0.2
# What was under way when Envoy died is over for its clients: they may try again soon after its next start.
FREE_SECONDS = 0.2
DELIVER_SECONDS = 1.0
# A key that was revoked elsewhere is refused here within a second.
FOLLOW_SECONDS = 0.2
# What one instance finds out about a deployment, all know within a second.
SHARE_SECONDS = 0.2
ROTATE_SECONDS = 5.0
COUNTERS_SECONDS = 1.0
TIDY_SECONDS = 60.0
# Envoy's log streams never end by themselves.
_GRACE_SECONDS = 0.3
_LARGEST_MESSAGE_BYTES = 64 << 20

_log = logging.getLogger(__name__)


class AccessLogs(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc] # grpc ships no types
    """Hands each message's entries to the intake."""

    def __init__(self, intake: Intake, clock: Callable[[], float]) -> None:
        self._intake, self._clock = intake, clock

    async def StreamAccessLogs(self, messages: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802, ARG002 - gRPC's
        """Reads one stream to its end; only its first message names the log."""
        log = ""
        async for message in messages:
            log = message.identifier.log_name or log
            self._intake.take(log, message.http_logs.log_entry, self._clock())
        return als_pb2.StreamAccessLogsResponse()


class _Health(health_aio.HealthServicer):  # type: ignore[misc] # grpc ships no types
    """Answers Envoy's health checks, and hears who asks."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's
        """As the class above."""
        for key, value in context.invocation_metadata():
            if key == METADATA:
                self._hear(value)
        return await super().Check(request, context)


class Observer:
    """One observer over a state directory; Envoy finds it at the directory's ``observer_socket``."""

    def __init__(self, state: StateDirectory, clock: Callable[[], float] = time.time) -> None:
        """Takes the admin port and the files.

        Raises:
            StartError: the supervisor left no options, or the admin port is taken.
            StoreError: the database was written by a newer version.
            OSError: the state directory cannot be written.
        """
        self._state, self._clock = state, clock
        self._options_file = WatchedFile(state.observer_options, read_options)
        options = self._options_file.news()
        if options is None:
            raise StartError(f"{state.observer_options} is missing or cannot be read; `router-extproc up` writes it")
        self._options: ObserverOptions = options
        self._snapshot_file = WatchedFile(state.snapshot, read_registry)
        self._reload_file = WatchedFile(state.root / "reload.json", read_reload_report)
        self._listener = bind(options.admin_address, options.admin_port)
        self._health_file = HealthFile(state.health)
        self._breakers = Breakers(options.cooling, lambda: uuid.uuid4().hex)
        before = self._health_file.load()
        self._breakers.restore(before.deployments, clock())
        state.create()
        self._log = DecisionLog(
            JsonLinesFile(state.decision_log, options.max_log_bytes), DecisionWriter(state.decision_database)
        )
        figures = Metrics()
        self.metrics = figures.registry
        self._intake = Intake(self._breakers, figures, self._log.add)
        self._intake.token_ratios.restore(before.token_ratios)
        self._exchange = HealthExchange(uuid.uuid4().hex, self._breakers, state.probes, os.environ, clock)
        self._live = Live(
            WorkerCounters(state.root / "counters"),
            observer_totals=self._totals,
            instances=self._exchange.instances,
            warned=figures.spending.warned,
        )
        self.metrics.register(LiveFigures(self._live))
        self._registry = Registry()
        self._bookkeeping = Bookkeeping(state, figures.spending, clock)
        self._identities = Identities(state, os.environ)
        self._configuration_audit = ConfigurationAudit(self._identities, clock)
        self._router = CurrentRouter(lambda: Classifier.load(artefact_folder(os.environ)))
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")

    async def run(self, ready_descriptor: int | None) -> None:
        """Serves until SIGTERM or SIGINT, then writes what it has and ends."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        self._reread()
        self._write_health()
        await self._bookkeeping.open()
        await self._follow()
        socket_path = self._state.sockets / f"observer.{os.getpid()}.sock"
        server = await self._start(socket_path)
        admin = AdminServer(admin_app(self), self._listener)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(admin.run_until_stopped())
            timers = [
                tasks.create_task(_each(HEALTH_SECONDS, self._keep_up)),
                tasks.create_task(_each(FLUSH_SECONDS, self._flush)),
                tasks.create_task(_each(COUNTERS_SECONDS, self._read_counters)),
                tasks.create_task(
                    _each(self._settle_seconds, functools.partial(self._bookkeeping.settle, SETTLE_PATIENCE_SECONDS))
                ),
                tasks.create_task(_each(TELL_SECONDS, self._bookkeeping.tell, self._bookkeeping.news)),
                tasks.create_task(_each(FREE_SECONDS, self._bookkeeping.free)),
                tasks.create_task(_each(DELIVER_SECONDS, self._bookkeeping.deliver)),
                tasks.create_task(_each(FOLLOW_SECONDS, self._follow)),
                tasks.create_task(_each(SHARE_SECONDS, self._share)),
                tasks.create_task(_each(ROTATE_SECONDS, self._rotate)),
                tasks.create_task(_each(TIDY_SECONDS, self._tidy)),
            ]
            _take_link(self._state.observer_socket, socket_path)
            _sweep_sockets(socket_path)
            _say(ready_descriptor, "ready")
            await stopping.wait()
            admin.should_exit = True
            await server.stop(_GRACE_SECONDS)
            for timer in timers:
                timer.cancel()
            await asyncio.wait([serving, *timers])
        await self._finish()
        socket_path.unlink(missing_ok=True)
        # A successor must find the port and the files free: this is said last, not first.
        _say(ready_descriptor, "draining")

    @property
    def decisions(self) -> Path:
        """The SQLite file of decisions."""
        return self._state.decision_database

    @property
    def reload(self) -> ReloadReport:
        """What became of the last change of router.yaml."""
        return self._live.reload

    @property
    def desk(self) -> Desk:
        """Keys, budgets and what was spent."""
        return Desk(
            identities=self._identities,
            registry=lambda: self._registry,
            store=lambda: self._bookkeeping.store,
            outbox=lambda: self._bookkeeping.outbox,
            ledger=self._state.ledger,
            clock=self._clock,
            token=lambda: read_token(self._options, os.environ),
        )

    def router(self) -> Router:
        """Decides for the configuration that is in force; takes a while when it is new."""
        return self._router()

    def health(self) -> Mapping[str, DeploymentHealth]:
        """All deployments, at most ``HEALTH_SECONDS`` ago."""
        return self._live.health

    def token_ratios(self) -> Mapping[str, float]:
        """What was learned of models, at most ``HEALTH_SECONDS`` ago."""
        return self._live.token_ratios

    async def reasons_not_ready(self) -> list[str]:
        """What the instance lacks to serve; empty when it serves."""
        return await reasons_not_ready(self._state)

    async def _start(self, socket_path: Path) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        )
        als_pb2_grpc.add_AccessLogServiceServicer_to_server(AccessLogs(self._intake, self._clock), server)
        health = _Health(self._bookkeeping.envoy.hear)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        server.add_insecure_port(f"unix:{socket_path}")
        await server.start()
        await health.set("", health_pb2.HealthCheckResponse.SERVING)
        return server

    def _keep_up(self) -> None:
        self._reread()
        self._write_health()

    def _write_health(self) -> None:
        now = self._clock()
        self._intake.pass_time(now)
        own = self._breakers.view(now)
        self._live.health = health = self._exchange.together(own, self._intake.names.deployments, now)
        self._live.token_ratios = ratios = self._intake.token_ratios.view()
        try:
            self._health_file.write(health, now, ratios)
        except OSError:
            _log.exception("health file cannot be written")

    def _reread(self) -> None:
        options = self._options_file.news()
        if options is not None:
            self._breakers.cool(options.cooling)
            self._options = options
        registry = self._snapshot_file.news()
        if registry is not None:
            self._intake.know(registry)
            self._router.know(registry)
            self._bookkeeping.know(registry)
            self._registry = registry
        report = self._reload_file.news()
        if report is not None:
            self._live.reload = report

    async def _follow(self) -> None:
        if self._bookkeeping.settings is not None:
            await self._identities.follow(self._bookkeeping.settings)
            await self._configuration_audit.note(self._registry)

    async def _share(self) -> None:
        if self._bookkeeping.settings is not None:
            await self._exchange.step(self._bookkeeping.settings, self._intake.names.deployments)

    def _settle_seconds(self) -> float:
        # Where nothing is limited, nobody waits for what the log says.
        return SETTLE_SECONDS if self._bookkeeping.is_limiting else SETTLE_PATIENCE_SECONDS

    async def _rotate(self) -> None:
        await self._bookkeeping.rotate(self._options.max_log_bytes)

    async def _flush(self) -> None:
        batch = self._log.take()
        if batch:
            await self._on_disk_thread(functools.partial(self._log.write, batch, self._options.max_log_bytes))

    def _read_counters(self) -> None:
        self._live.workers.refresh(self._clock())

    async def _tidy(self) -> None:
        now = self._clock()
        options = self._options
        await self._on_disk_thread(functools.partial(self._log.forget, now - options.keep_ms / 1_000, options.keep_records))
        await self._on_disk_thread(functools.partial(forget_claims, self._state.probes, now))
        await self._bookkeeping.tidy()
        await self._identities.tidy(now)

    async def _finish(self) -> None:
        self._intake.finish(self._clock())
        self._write_health()
        await self._flush()
        await self._bookkeeping.aclose()
        await self._identities.aclose()
        await self._exchange.aclose()
        self._disk.shutdown()
        self._log.close()

    async def _on_disk_thread(self, work: Callable[[], None]) -> None:
        # Shielded: a batch that was taken is written even when the timer that took it is cancelled.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._disk, work))

    def _totals(self) -> Mapping[str, int]:
        return {
            "record_dropped": self._log.dropped,
            "attempt_without_request": self._intake.join.orphans,
            "attempt_late": self._intake.join.late,
        }


async def _each(
    seconds: float | Callable[[], float], work: Callable[[], Awaitable[None] | None], news: asyncio.Event | None = None
) -> None:
    """Works every so many seconds, and whenever there are news."""
    while True:
        pause = seconds() if callable(seconds) else seconds
        if news is None:
            await asyncio.sleep(pause)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await news.wait()
            news.clear()
        done = work()
        if done is not None:
            await done


def _take_link(link: Path, target: Path) -> None:
    """Points Envoy's path at this process in one step: gRPC removes its own path when it stops, never the link."""
    temporary = link.with_name(f"{target.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name)
    temporary.replace(link)


def _sweep_sockets(own: Path) -> None:
    """Removes what observers that were killed left behind; there is only ever one, and it is this one."""
    for path in own.parent.glob("observer.*.sock"):
        if path != own:
            path.unlink(missing_ok=True)


def _say(descriptor: int | None, word: str) -> None:
    if descriptor is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, f"{word}\n".encode())
