"""Whether the instance can serve: a snapshot exists and at least one worker says that it serves."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT_SECONDS = 1.0
_LINK = re.compile(r"worker-\d+\.sock")


async def reasons_not_ready(snapshot: Path, sockets: Path) -> list[str]:
    """What is missing, in words; empty when the instance is ready."""
    reasons, addresses = _look(snapshot, sockets)
    if not any(await asyncio.gather(*(_is_serving(address) for address in addresses))):
        reasons.append(f"no worker is serving ({len(addresses)} known)")
    return reasons


def _look(snapshot: Path, sockets: Path) -> tuple[list[str], list[str]]:
    reasons = [] if snapshot.exists() else ["no snapshot: router.yaml has not been read yet"]
    links = [path for path in sockets.iterdir() if _LINK.fullmatch(path.name)] if sockets.exists() else []
    return reasons, [f"unix:{path.absolute()}" for path in links]


async def _is_serving(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
