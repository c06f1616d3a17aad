"""``POST /moderations``: an input that says "flag me" is flagged as violence, anything else is fine."""

from __future__ import annotations

import msgspec

from router_extproc.simulator.answers import PlainAnswer
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.provider import Provider, read_body
from router_extproc.simulator.received import ReceivedRequest

DEFAULT_MODEL = "omni-moderation-latest"
FLAGGED = "violence"
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_CERTAIN = 0.98
_UNLIKELY = 0.001


class ModerationRequest(msgspec.Struct):
    """What the answer depends on."""

    input: str | list[msgspec.Raw]
    model: str = DEFAULT_MODEL


def moderation(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:  # noqa: ARG001 -- an endpoint
    """Judge each input.

    Raises:
        Refusal: the request is malformed, or names a model that is not served.
    """
    request = read_body(received.body, ModerationRequest)
    provider.require_model(request.model)
    texts = [request.input.encode()] if isinstance(request.input, str) else [bytes(value) for value in request.input]
    results = []
    for text in texts:
        flagged = b"flag me" in text
        results.append(
            {
                "flagged": flagged,
                "categories": {name: flagged and name == FLAGGED for name in CATEGORIES},
                "category_scores": {name: _CERTAIN if flagged and name == FLAGGED else _UNLIKELY for name in CATEGORIES},
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
        )
    content = {"id": provider.new_id("modr-"), "model": request.model, "results": results}
    return PlainAnswer(body=msgspec.json.encode(content))
