"""``GET /models`` and ``GET /models/{id}``."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec

from router_extproc.simulator.answers import PlainAnswer
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.provider import ANY_MODEL, Provider
from router_extproc.simulator.received import ReceivedRequest

# Any fixed day will do; this one keeps answers the same from run to run (2024-01-01).
_CREATED = 1_704_067_200


def list_models(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:  # noqa: ARG001 -- an endpoint
    """Return every model the deployment serves."""
    models = [_model(model) for model in provider.models or (ANY_MODEL,)]
    return PlainAnswer(body=msgspec.json.encode({"object": "list", "data": models}))


def describe_model(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:  # noqa: ARG001 -- an endpoint
    """Return one model.

    Raises:
        Refusal: 404 for a model that is not served.
    """
    model = unquote(received.path.rpartition("/models/")[2])
    provider.require_model(model)
    return PlainAnswer(body=msgspec.json.encode(_model(model)))


def _model(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": _CREATED, "owned_by": "simulator"}
