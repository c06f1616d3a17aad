"""The paths of the OpenAI API that are served, and who answers each."""

from __future__ import annotations

from collections.abc import Callable

from router_extproc.simulator.answers import Answer
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.audio import speech, transcription
from router_extproc.simulator.openai.chat import chat_completion
from router_extproc.simulator.openai.completions import completion
from router_extproc.simulator.openai.embeddings import embeddings
from router_extproc.simulator.openai.error_bodies import Refusal
from router_extproc.simulator.openai.files import describe_file, list_files, upload_file
from router_extproc.simulator.openai.models import describe_model, list_models
from router_extproc.simulator.openai.moderations import moderation
from router_extproc.simulator.openai.provider import Provider
from router_extproc.simulator.openai.responses import response
from router_extproc.simulator.received import ReceivedRequest

Endpoint = Callable[[ReceivedRequest, Provider, Faults], Answer]

_EXACT: dict[str, dict[str, Endpoint]] = {
    "/audio/speech": {"POST": speech},
    "/audio/transcriptions": {"POST": transcription},
    "/chat/completions": {"POST": chat_completion},
    "/completions": {"POST": completion},
    "/embeddings": {"POST": embeddings},
    "/files": {"GET": list_files, "POST": upload_file},
    "/models": {"GET": list_models},
    "/moderations": {"POST": moderation},
    "/responses": {"POST": response},
}
_BELOW: dict[str, dict[str, Endpoint]] = {
    "/files/": {"GET": describe_file},
    "/models/": {"GET": describe_model},
}


def find_endpoint(method: str, path: str, base_path: str) -> Endpoint:
    """Return who answers this request.

    Raises:
        Refusal: 404 for a path that the API does not have, 405 for a method that the path does not take.
    """
    below = path.removeprefix(base_path) if path.startswith(base_path) else ""
    methods = _EXACT.get(below)
    if methods is None:
        methods = next((found for prefix, found in _BELOW.items() if below.startswith(prefix)), None)
    if methods is None:
        raise Refusal(404, f"Invalid URL ({method} {path})", code="unknown_url")
    endpoint = methods.get("GET" if method == "HEAD" else method)
    if endpoint is None:
        allowed = ", ".join(sorted(methods))
        raise Refusal(
            405,
            f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to make a {allowed} request?)",
            code="method_not_supported",
            headers={"allow": allowed},
        )
    return endpoint
