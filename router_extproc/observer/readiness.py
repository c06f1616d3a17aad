"""Whether the instance should be sent requests: it is not about to stop, and it has a snapshot and a worker that serves."""

from __future__ import annotations

import asyncio
import re

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from router_extproc.config.state import StateDirectory

_TIMEOUT_SECONDS = 1.0
_LINK = re.compile(r"worker-\d+\.sock")


async def reasons_not_ready(state: StateDirectory) -> list[str]:
    """What speaks against it, in words; empty when the instance is ready."""
    reasons, addresses = _look(state)
    if not any(await asyncio.gather(*(_is_serving(address) for address in addresses))):
        reasons.append(f"no worker is serving ({len(addresses)} known)")
    return reasons


def _look(state: StateDirectory) -> tuple[list[str], list[str]]:
    reasons = ["the instance is stopping"] if state.stopping.exists() else []
    if not state.snapshot.exists():
        reasons.append("no snapshot: router.yaml has not been read yet")
    sockets = state.sockets
    links = [path for path in sockets.iterdir() if _LINK.fullmatch(path.name)] if sockets.exists() else []
    return reasons, [f"unix:{path.absolute()}" for path in links]


async def _is_serving(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
