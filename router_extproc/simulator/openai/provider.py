"""What all endpoints of one deployment share: its name, its models, its memory."""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from itertools import count
from typing import Any, TypeVar

import msgspec

from router_extproc.simulator.configuration import SimulatedDeployment
from router_extproc.simulator.openai.error_bodies import context_length_exceeded, invalid, model_not_found
from router_extproc.simulator.openai.prompt_cache import PromptCache

# Offered by ``GET /models`` where the deployment serves any model.
ANY_MODEL = "simulated"
_REMEMBERED_FILES = 1000

Body = TypeVar("Body")


class Provider:
    """One deployment as its endpoints see it."""

    def __init__(self, deployment: SimulatedDeployment) -> None:
        self.name = deployment.name
        self.models = deployment.models
        self.context_window = deployment.context_window
        self.prompt_cache = PromptCache()
        self.files: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._numbers = count(1)
        self._id_start = os.urandom(6).hex()

    def new_id(self, prefix: str) -> str:
        """Return an id that no other answer has, in this run or another."""
        return f"{prefix}{self._id_start}{next(self._numbers):010x}"

    def now(self) -> int:
        """Return the Unix time that answers carry as ``created``, in seconds."""
        return int(time.time())

    def fingerprint(self, model: str) -> str:
        """Return the ``system_fingerprint``: the same for the same deployment and model."""
        return "fp_" + hashlib.blake2b(f"{self.name}/{model}".encode(), digest_size=5).hexdigest()

    def require_model(self, model: str) -> None:
        """Raise ``Refusal`` (404) for a model that this deployment does not serve."""
        if self.models is not None and model not in self.models:
            raise model_not_found(model)

    def require_room(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Raise ``Refusal`` (400) where prompt and answer do not fit into the context window."""
        if self.context_window is not None and prompt_tokens + completion_tokens > self.context_window:
            raise context_length_exceeded(self.context_window, prompt_tokens, completion_tokens)

    def remember_file(self, file: dict[str, Any]) -> None:
        """Keep an uploaded file's description; the oldest go first."""
        self.files[file["id"]] = file
        while len(self.files) > _REMEMBERED_FILES:
            self.files.popitem(last=False)


def read_body(body: bytes, expected: type[Body]) -> Body:
    """Decode a JSON request.

    Raises:
        Refusal: 400, worded as OpenAI words a body that is no JSON, lacks a field or has one of the wrong type.
    """
    try:
        return msgspec.json.decode(body, type=expected)
    except msgspec.ValidationError as error:
        message = str(error)
        if "missing required field `model`" in message:
            raise invalid("you must provide a model parameter") from error
        if "missing required field" in message:
            field = message.split("`")[1]
            raise invalid(f"Missing required parameter: '{field}'.", param=field, code="missing_required_parameter") from error
        raise invalid(f"Invalid type: {message}.", code="invalid_type") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
            "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from error
