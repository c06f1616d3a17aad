"""One worker's gRPC server: carries messages between Envoy and the legs, and ends gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.config.state import StateDirectory
from router_extproc.extproc.admission import Admission
from router_extproc.extproc.body_budget import BodyBudget
from router_extproc.extproc.callers import Callers
from router_extproc.extproc.conclusion import conclude
from router_extproc.extproc.counters import Counters
from router_extproc.extproc.deadline import Guard, unguarded
from router_extproc.extproc.judge_leg import JudgeLeg
from router_extproc.extproc.live import POLL_SECONDS, Live, Probes
from router_extproc.extproc.messages import MORE_TIME
from router_extproc.extproc.rename_leg import RenameLeg
from router_extproc.extproc.route_leg import RouteLeg
from router_extproc.extproc.stores import OpenStores
from router_extproc.extproc.ticket import TicketOffice
from router_extproc.extproc.unpack_leg import UnpackLeg
from router_extproc.store.identities import IdentityReader
from router_extproc.store.lives import METADATA, Lives

# The schema's bound of ``limits.max_body_bytes``, with room for the message around a body. Envoy keeps to the limit of
# the configuration; a worker that did so too would refuse in silence what a reload has just allowed.
_LARGEST_MESSAGE_BYTES = (1 << 30) + (1 << 20)
COUNTERS_SECONDS = 1.0
HANDOVER_SECONDS = 10.0
"""How long a worker that was told to end goes on while it waits for its successor."""

_HANDOVER_POLL_SECONDS = 0.05
# Whoever wakes up later than this stood still, and reads in as much time what came meanwhile.
_PUNCTUAL_SECONDS = 0.05
# Envoy's buffer filter bounds bodies. A bound here, set once, would let those fall open that a later router.yaml allows.
_UNLIMITED = -1

_log = logging.getLogger(__name__)


class Worker:
    """Decider number ``index`` of the instance whose files lie in ``state``."""

    def __init__(
        self,
        state: StateDirectory,
        index: int,
        drain_seconds: float,
        classifier: Classifier = NOTHING_LEARNED,
        guard: Guard = unguarded,
    ) -> None:
        self._link = state.worker_socket(index)
        self._socket = state.worker_process_socket(index, os.getpid())
        self._counters_path = state.root / "counters" / f"worker-{index}.json"
        self._drain_seconds = drain_seconds
        self._live = Live(state.snapshot, state.health, classifier)
        self._guard = guard
        self._probes = Probes(state.probes)
        self._office = TicketOffice()
        self._counters = Counters()
        self._callers = Callers(IdentityReader(state.identities), state.keys_exist.exists)
        self._looked_at = time.monotonic()
        self._stores = OpenStores(self._live.view.registry.spending.store, state.ledger, os.environ)
        self._admission = Admission(self._stores, self._callers, self._counters.admissions, Lives(state.lives))
        self._budget = BodyBudget(self._live.view.registry.max_body_bytes_in_flight)
        self._judged_bytes = 0
        self._draws = random.Random()  # noqa: S311 - draws weights, guards nothing
        self._health = health_aio.HealthServicer()
        # The names by which Envoy's configuration tells the legs apart.
        self._legs = {"route": self._route, "rename": self._rename, "judge": self._judge, "unpack": self._unpack}

    async def run(self, ready_descriptor: int | None) -> None:
        """Serves until SIGTERM, then hands over to its successor and lets running conversations end."""
        if self._admission.is_needed(self._live.view.registry.spending):
            await self._stores.prepare()
        server = self._server()
        await server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        self._take_link()
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        async with asyncio.TaskGroup() as tasks:
            works = (self._refresh_health(), self._refresh_configuration(), self._write_counters())
            timers = [tasks.create_task(work) for work in works]
            _say(ready_descriptor, "ready")
            # What lives now lives until the end: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            await stopping.wait()
            _say(ready_descriptor, "draining")
            await self._until_replaced()
            await server.stop(self._drain_seconds)
            for timer in timers:
                timer.cancel()
        await self._admission.aclose()
        await self._stores.aclose()
        with contextlib.suppress(OSError):  # a full disk, as the log says
            self._counters.write(self._counters_path)
        self._socket.unlink(missing_ok=True)

    async def _until_replaced(self) -> None:
        """Waits until Envoy's path leads to another process, or to none because the instance ends."""
        with contextlib.suppress(TimeoutError, FileNotFoundError):
            async with asyncio.timeout(HANDOVER_SECONDS):
                while self._link.readlink().name == self._socket.name:  # noqa: ASYNC110 - another process's doing
                    await asyncio.sleep(_HANDOVER_POLL_SECONDS)

    def _server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _LARGEST_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", 1_000_000),
                ("grpc.so_reuseport", 0),
                # Else windows grow to megabytes, and bodies that wait for their turn are in memory all the same.
                ("grpc.http2.bdp_probe", 0),
            ]
        )
        handler = grpc.stream_stream_rpc_method_handler(
            self._process, request_deserializer=ProcessingRequest.FromString, response_serializer=None
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("envoy.service.ext_proc.v3.ExternalProcessor", {"Process": handler}),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_insecure_port(f"unix:{self._socket}")
        return server

    def _take_link(self) -> None:
        """Points Envoy's path at this process in one step: gRPC removes its own path when it stops, never the link."""
        temporary = self._link.with_suffix(f".{os.getpid()}.link")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self._socket.name)
        temporary.replace(self._link)

    async def _process(self, _: Any, context: grpc.aio.ServicerContext) -> None:
        leg = next(value for key, value in context.invocation_metadata() if key == "leg")
        self._counters.streams += 1
        try:
            await self._legs[leg](context)
        except Exception:
            # Envoy serves the request by its default chain; that a decision failed must not go unseen.
            self._counters.failed += 1
            _log.exception("conversation failed", extra={"leg": leg})
            raise
        finally:
            self._counters.streams -= 1

    async def _route(self, context: grpc.aio.ServicerContext) -> None:
        message = await context.read()
        if message is grpc.aio.EOF:
            return
        if time.monotonic() - self._looked_at > 2 * POLL_SECONDS:
            # This process stood still: what waited meanwhile is decided by what is true now, not by what was then.
            self._look()
        draw = self._draws.getrandbits(32)
        leg = RouteLeg(self._live.view, self._office, self._probes, draw=draw, guard=self._guard, callers=self._callers)
        if leg.headers(message):
            async with self._hold(leg.body_size, context):
                while (message := await context.read()) is not grpc.aio.EOF:
                    is_last = leg.body(message)
                    del message  # a large body is held by the leg now
                    if is_last:
                        await self._conclude(leg, context)
                        break
        else:
            await self._conclude(leg, context)

    @contextlib.asynccontextmanager
    async def _hold(self, size: int, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        """Room for a body before it is read; Envoy is told to be patient where there is none yet."""
        if self._budget.must_wait(size):
            await context.write(MORE_TIME)
        async with self._budget.hold(size):
            yield

    async def _conclude(self, leg: RouteLeg, context: grpc.aio.ServicerContext) -> None:
        async def be_patient() -> None:
            await context.write(MORE_TIME)

        life = next((value for key, value in context.invocation_metadata() if key == METADATA), "")
        answers = await conclude(leg, self._admission, be_patient, life)
        self._counters.count(leg.outcome)
        while answers:
            await context.write(answers.pop(0))

    async def _rename(self, context: grpc.aio.ServicerContext) -> None:
        self._counters.attempt_leg += 1
        leg = RenameLeg()
        message = await context.read()
        if message is grpc.aio.EOF:
            return
        await context.write(leg.headers(message))
        async with self._hold(leg.body_size, context):
            message = await context.read()
            if message is not grpc.aio.EOF:
                await context.write(leg.body(message))

    async def _judge(self, context: grpc.aio.ServicerContext) -> None:
        self._counters.attempt_leg += 1
        leg = JudgeLeg(lambda: self._judged_bytes < self._budget.limit)
        clock = asyncio.get_running_loop().time
        silent_at: float | None = None
        held = 0
        reading = asyncio.ensure_future(context.read())
        try:
            while True:
                waiting = None if silent_at is None or leg.silence_ms is None else max(0.0, silent_at - clock())
                done, _ = await asyncio.wait((reading,), timeout=waiting)
                if not done and silent_at is not None and clock() - silent_at > _PUNCTUAL_SECONDS:
                    # It was not the provider that was silent: what it said while this process stood still is unread yet.
                    done, _ = await asyncio.wait((reading,), timeout=_PUNCTUAL_SECONDS)
                if done:
                    message = reading.result()
                    if message is grpc.aio.EOF:
                        return
                    answers = leg.receive(message)
                    if silent_at is None and leg.silence_ms is not None:
                        silent_at = clock() + leg.silence_ms / 1_000
                    reading = asyncio.ensure_future(context.read())
                else:
                    answers = leg.silent()
                self._judged_bytes += leg.held_bytes - held
                held = leg.held_bytes
                for answer in answers:
                    await context.write(answer)
        finally:
            self._judged_bytes -= held
            reading.cancel()

    async def _unpack(self, context: grpc.aio.ServicerContext) -> None:
        self._counters.attempt_leg += 1
        leg = UnpackLeg()
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(leg.receive(message))

    async def _refresh_health(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self._look()

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        self._live.refresh_health()
        self._callers.refresh()

    async def _refresh_configuration(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self._live.refresh_configuration()
            self._budget.limit = self._live.view.registry.max_body_bytes_in_flight
            self._stores.follow(self._live.view.registry.spending.store)

    async def _write_counters(self) -> None:
        was_written = True
        while True:
            self._counters.in_flight_bytes = self._budget.held + self._judged_bytes
            try:
                self._counters.write(self._counters_path)
                was_written = True
            except OSError:
                # A full disk must not end a worker, nor fill a log.
                if was_written:
                    _log.exception("counters cannot be written")
                was_written = False
            await asyncio.sleep(COUNTERS_SECONDS)


def _say(descriptor: int | None, word: str) -> None:
    if descriptor is not None:
        os.write(descriptor, f"{word}\n".encode())
