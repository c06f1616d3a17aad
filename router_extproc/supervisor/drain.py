"""Lets the answers end that Envoy is giving, before it is stopped."""

from __future__ import annotations

import asyncio
import logging

from router_extproc.envoyconf.names import LISTENER
from router_extproc.supervisor.envoy import EnvoyAdmin, EnvoyUnreachableError

SETTLED_SECONDS = 1.0
"""So long nothing must run: a request may be on its way on a connection that was kept alive."""

UNCONNECTED_SECONDS = 0.2
"""The same where nobody is connected: who came the moment the port was closed is counted by then."""

_POLL_SECONDS = 0.1

_log = logging.getLogger(__name__)


async def announce(admin: EnvoyAdmin) -> None:
    """From now on each answer tells its connection to close; new ones are still taken."""
    try:
        await admin.ask("/healthcheck/fail", "POST")
    except EnvoyUnreachableError:
        _log.warning("Envoy does not answer: kept-alive connections are not told to close")


async def drain(admin: EnvoyAdmin, timeout_seconds: float) -> None:
    """Clients find the port closed and go elsewhere, kept-alive connections are told to close, running answers end."""
    now = asyncio.get_running_loop().time
    deadline = now() + timeout_seconds
    quiet_since: float | None = None
    try:
        await admin.ask("/healthcheck/fail", "POST")
        await admin.ask("/drain_listeners", "POST")
        while now() < deadline:
            clients = await admin.clients(LISTENER)
            if clients.requests:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now()
            elif now() - quiet_since >= (SETTLED_SECONDS if clients.connections else UNCONNECTED_SECONDS):
                return
            await asyncio.sleep(_POLL_SECONDS)
        _log.warning("answers were still running at the end of workers.drain_timeout")
    except EnvoyUnreachableError:
        _log.warning("Envoy does not answer, stopping without draining it")
