"""The kinds of values in ``router.yaml``: durations, sizes, names, paths, and how each is read from what is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from router_extproc.config.redaction import shown

TierName = Literal["economy", "standard", "premium"]
CapabilityName = Literal[
    "vision", "tools", "json_mode", "json_schema", "audio", "files", "logprobs", "embeddings", "speech", "transcription",
]  # fmt: skip
TASKS = (
    "code", "math", "reasoning", "structured_extraction", "classification", "summarization", "translation", "qa", "rag_qa",
    "creative_writing", "chat", "planning", "tool_step",
)  # fmt: skip
StrategyName = Literal["ordered", "cheap", "fast", "best", "auto"]
RiskName = Literal["medical", "legal", "financial", "confidential", "self_harm", "none"]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_DURATION = 10 * 366 * _MILLISECONDS["d"]
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

# Patterns of text values; messages.py says each in words.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$"
NAME_PATTERN = r"^(\*|[A-Za-z0-9][A-Za-z0-9._:/@+-]*\*?)$"
CREDENTIAL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
BASE_URL = r"^https?://[^/\s?#@]+(/[^\s?#]*)?$"
HEADER_NAME = r"^[a-z0-9-]+$"
OWN_NAME = r"^[a-z][a-z0-9_]*$"
SOMETHING = r"\S"
LANGUAGE = r"^[a-z]{2,3}$"
VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
API_PATH = r"^/v1/[^\s]*$"
MODEL_ID = r"^[!-~]+$"


def read_duration(value: object) -> object:
    """Turns ``500ms``, ``30s``, ``2m``, ``1h``, ``7d`` or a number of seconds into milliseconds; else it is refused."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        milliseconds = value * 1_000.0
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        milliseconds = float(match[1]) * _MILLISECONDS[match[2]]
    else:
        raise PydanticCustomError("duration", "expected a duration", {"fix": "write for example 500ms, 30s, 2m, 1h or 7d"})
    if not 1 <= milliseconds <= _LONGEST_DURATION:
        message = "{found} is no usable duration"
        context = {"found": shown(str(value)), "fix": "write something between 1ms and ten years"}
        raise PydanticCustomError("duration_range", message, context)
    return round(milliseconds)


def read_size(value: object) -> object:
    """Turns ``32MiB``, ``512KiB`` or a number of bytes into bytes; anything else is refused."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES[match[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("size", "expected a size", {"fix": "write for example 32MiB, 512KiB or a number of bytes"})


def read_http_version(value: object) -> object:
    """Lets ``1.1`` and ``2`` stand without quotes."""
    return str(value) if value in (1.1, 2) and not isinstance(value, bool) else value


def read_path(value: str, info: ValidationInfo) -> str:
    """A relative path is meant from the directory of the file that holds it, which ``load`` gives as context."""
    directory = info.context.get("directory") if isinstance(info.context, dict) else None
    return str(Path(directory) / value) if directory is not None else value


DURATION_SCHEMA = {"anyOf": [{"type": "string", "pattern": f"^{_DURATION.pattern}$"}, {"type": "number"}]}
SIZE_SCHEMA = {"anyOf": [{"type": "string", "pattern": f"^{_SIZE.pattern}$"}, {"type": "integer"}]}

Milliseconds = Annotated[int, BeforeValidator(read_duration), WithJsonSchema(DURATION_SCHEMA)]
Bytes = Annotated[int, Field(gt=0), BeforeValidator(read_size), WithJsonSchema(SIZE_SCHEMA)]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=NAME, max_length=120)]
NamePattern = Annotated[str, Field(pattern=NAME_PATTERN, max_length=120)]
# A task of ours, or one that `analysis.tasks` adds: which, is checked where all of the file is known.
TaskName = Annotated[
    str,
    Field(pattern=OWN_NAME, max_length=60),
    WithJsonSchema({"anyOf": [{"enum": list(TASKS)}, {"type": "string", "pattern": OWN_NAME}]}),
]
OwnName = Annotated[str, Field(pattern=OWN_NAME, max_length=60)]
LanguageCode = Annotated[str, Field(pattern=LANGUAGE)]
Phrase = Annotated[str, Field(pattern=SOMETHING, max_length=200)]
Example = Annotated[str, Field(pattern=SOMETHING, max_length=4_000)]
FilePath = Annotated[str, Field(min_length=1), AfterValidator(read_path)]
HttpVersion = Annotated[Literal["1.1", "2"], BeforeValidator(read_http_version), WithJsonSchema({"enum": ["1.1", "2", 1.1, 2]})]
ApiPath = Annotated[str, Field(pattern=API_PATH, max_length=500)]
HeaderName = Annotated[str, Field(pattern=HEADER_NAME, max_length=120)]
ModelId = Annotated[str, Field(pattern=MODEL_ID, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, le=1_000_000)]
Quality = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[float, Field(ge=0, le=1_000_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
