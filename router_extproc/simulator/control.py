"""``/_simulator/...``: looking at what a simulator received, and changing its faults while it runs.

Every deployment's port answers for itself, or for another with ``?deployment=NAME``, which is how one reaches a deployment
whose port is closed. These requests are neither recorded nor counted, and no fault touches them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from router_extproc.errors import StartError
from router_extproc.simulator.answers import PlainAnswer
from router_extproc.simulator.deployment import Deployment
from router_extproc.simulator.faults import FaultScript
from router_extproc.simulator.openai import Refusal
from router_extproc.simulator.received import ReceivedRequest

SetFaults = Callable[[str, FaultScript], Awaitable[None]]


async def control(
    request: ReceivedRequest, deployments: Mapping[str, Deployment], default: Deployment, set_faults: SetFaults
) -> PlainAnswer:
    """Answer one control request; refusals are answers too."""
    try:
        deployment = _chosen(request, deployments, default)
        return await _perform(request, deployment, set_faults)
    except Refusal as refusal:
        return refusal.answer
    except StartError as error:
        return Refusal(503, str(error)).answer


def _chosen(request: ReceivedRequest, deployments: Mapping[str, Deployment], default: Deployment) -> Deployment:
    names = parse_qs(request.query).get("deployment")
    if not names:
        return default
    if names[0] not in deployments:
        raise Refusal(404, f"There is no deployment {names[0]!r}; there are: {', '.join(deployments)}.", param="deployment")
    return deployments[names[0]]


async def _perform(request: ReceivedRequest, deployment: Deployment, set_faults: SetFaults) -> PlainAnswer:
    match request.method, request.path:
        case "GET", "/_simulator/requests":
            return _json(deployment.recorder.requests())
        case "DELETE", "/_simulator/requests":
            deployment.recorder.reset()
            return _json({"deleted": True})
        case "GET", "/_simulator/stats":
            return _json(deployment.recorder.statistics)
        case "GET", "/_simulator/faults":
            return _json(deployment.script)
        case "PUT", "/_simulator/faults":
            await set_faults(deployment.name, _read_script(request.body))
            return _json(deployment.script)
        case "DELETE", "/_simulator/faults":
            await set_faults(deployment.name, deployment.config.faults)
            return _json(deployment.script)
        case _:
            raise Refusal(404, f"The simulator has no {request.method} {request.path}.", code="unknown_url")


def _read_script(body: bytes) -> FaultScript:
    try:
        script: FaultScript = msgspec.json.decode(body, type=FaultScript)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"These are no faults: {error}", code="invalid_faults") from error
    return script


def _json(value: Any) -> PlainAnswer:
    return PlainAnswer(body=msgspec.json.encode(value))
