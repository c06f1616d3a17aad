"""The kinds of values in ``router.yaml``: durations, sizes, names, paths, and how each is read from what is written."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from router_extproc.config.redaction import shown
from router_extproc.config.tree import WrittenNumber

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
_DOLLARS = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?")
# What is an amount as it seems, and then too much, too fine or below zero.
_DECIMAL = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?")
# Short exponents: the exact value of 1e999999999 would fill the memory.
_NUMERAL = re.compile(r"[-+]?[0-9.]{1,40}(?:[eE][-+]?[0-9]{1,3})?")
_MICRO_DOLLARS = 1_000_000
# A billion dollars, and as many micro-dollars as tokens at most: sums of a thousand such caps still fit into 64 bits.
_MOST_DOLLARS = 1_000_000_000
MOST = _MOST_DOLLARS * _MICRO_DOLLARS

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
# Like CREDENTIAL_NAME and BASE_URL, and no equal text: messages.py tells what was meant by the pattern.
OWN_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
WEB_ADDRESS = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"
KEY_ID = r"^[A-Za-z0-9_-]{1,60}$"
DIGEST = r"^sha256:([0-9a-f]{2}){8,64}:[0-9a-f]{64}$"
LABELS = ("tenant", "team", "user", "key", "session", "route", "model", "provider", "deployment")
LABEL = rf"^({'|'.join(LABELS)}|tag:[A-Za-z0-9][A-Za-z0-9._-]*)$"
LABEL_VALUE = r"^[^\x00-\x1f\x7f]+$"
SPIFFE_ID = r"^spiffe://[^\s*]+\*?$"
REDIS_URL = r"^rediss?://[^/\s?#@]+(/[0-9]{1,5})?$"


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


def is_duration(text: str) -> bool:
    """Whether a duration is written, and not a size."""
    return _DURATION.fullmatch(text) is not None


def as_duration(milliseconds: int) -> str:
    """A duration as a user would write it: in the largest unit that leaves no fraction."""
    return _in_units(milliseconds, _MILLISECONDS)


def as_size(size: int) -> str:
    """A size in bytes, likewise."""
    return _in_units(size, _BYTES)


def _in_units(amount: int, units: dict[str, int]) -> str:
    unit = next(name for name, size in reversed(units.items()) if amount % size == 0)
    return f"{amount // units[unit]}{unit}"


def read_size(value: object) -> object:
    """Turns ``32MiB``, ``512KiB`` or a number of bytes into bytes; anything else is refused."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES[match[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("size", "expected a size", {"fix": "write for example 32MiB, 512KiB or a number of bytes"})


def read_dollars(value: object) -> object:
    """Turns USD as they are written (``12``, ``0.25``, ``"12.50"``) into whole micro-dollars; nothing is rounded."""
    text = value.text if isinstance(value, WrittenNumber) else repr(value) if isinstance(value, int | float) else value
    form = _DECIMAL if isinstance(value, str) else _NUMERAL
    if isinstance(value, bool) or not isinstance(text, str) or not form.fullmatch(text):
        raise _no_amount(value)
    micro_dollars = Fraction(text) * _MICRO_DOLLARS
    if micro_dollars < 0:
        message, fix = "an amount cannot be negative, found {found}", "write 0 to allow nothing"
    elif micro_dollars > MOST:
        message, fix = "{found} is more than a billion dollars", "leave the budget out to allow everything"
    elif micro_dollars.denominator != 1:
        message, fix = "{found} is finer than a millionth of a dollar", "write at most six digits after the point"
    elif isinstance(value, str) and not _DOLLARS.fullmatch(value):
        raise _no_amount(value)
    else:
        return int(micro_dollars)
    raise PydanticCustomError("amount", message, {"found": shown(text), "fix": fix})


def _no_amount(value: object) -> PydanticCustomError:
    found = "nothing" if value is None else f"`{shown(str(value))}`" if isinstance(value, str) else "something else"
    context = {"found": found, "fix": "write for example 25 or 0.50"}
    return PydanticCustomError("amount", "expected an amount in USD, found {found}", context)


def read_instant(value: object) -> object:
    """Turns ``2026-12-31`` (the beginning of that day in UTC) or ``2026-12-31T18:00:00+01:00`` into epoch seconds."""
    fix = {"fix": "write for example 2026-12-31 or 2026-12-31T18:00:00Z"}
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) and not value.isdigit() else None
    except ValueError:
        moment = None
    if moment is None:
        raise PydanticCustomError("instant", "expected a date or a time", fix)
    if moment.tzinfo is None:
        if isinstance(value, str) and len(value) > len("2026-12-31"):
            raise PydanticCustomError("instant", "says no time zone", {"fix": "end it with Z for UTC, or with +02:00"})
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def read_rollover(value: object) -> object:
    """Lets ``true`` and ``false`` be; a day without a time stays a day, because where it begins is up to the window's zone."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value[:4].isdecimal():
        fix = {"fix": "write the date from which on, for example 2030-06-01"}
        raise PydanticCustomError("rollover", "expected true, false, a date or a time", fix)
    instant = read_instant(value)
    return date.fromisoformat(value) if len(value) == len("2026-12-31") else instant


def read_revocation(value: object) -> object:
    """Turns ``true`` into the beginning of time, ``false`` into None, and a time into epoch seconds."""
    if isinstance(value, bool):
        return 0.0 if value else None
    return None if value is None else read_instant(value)


def read_http_version(value: object) -> object:
    """Lets ``1.1`` and ``2`` stand without quotes."""
    return str(value) if value in (1.1, 2) and not isinstance(value, bool) else value


def read_address(value: str) -> str:
    """Refuses what has the form of a URL and names no host or port that exists, such as ``http://[::/``."""
    try:
        parts = urlsplit(value)
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        fix = {"fix": "write for example host.example:8000, or [::1]:8000 for an IPv6 address"}
        raise PydanticCustomError("wrong_form", "names no usable host and port", fix)
    return value


def read_path(value: str, info: ValidationInfo) -> str:
    """A relative path is meant from the directory of the file that holds it, which ``load`` gives as context."""
    directory = info.context.get("directory") if isinstance(info.context, dict) else None
    return str(Path(directory) / value) if directory is not None else value


DURATION_SCHEMA = {"anyOf": [{"type": "string", "pattern": f"^{_DURATION.pattern}$"}, {"type": "number"}]}
AMOUNT_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_DOLLARS.pattern}$"}]}
INSTANT_SCHEMA = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}(T.*(Z|[+-]\d{2}:\d{2}))?$"}
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
Dollars = Annotated[int, BeforeValidator(read_dollars), WithJsonSchema(AMOUNT_SCHEMA)]
Amount = Annotated[int, Field(ge=0, le=MOST)]
Instant = Annotated[float, BeforeValidator(read_instant), WithJsonSchema(INSTANT_SCHEMA)]
Rollover = Annotated[
    bool | float | date, BeforeValidator(read_rollover), WithJsonSchema({"anyOf": [{"type": "boolean"}, INSTANT_SCHEMA]})
]
Revocation = Annotated[
    float | None, BeforeValidator(read_revocation), WithJsonSchema({"anyOf": [{"type": "boolean"}, INSTANT_SCHEMA]})
]
OwnId = Annotated[str, Field(pattern=OWN_ID, max_length=60)]
KeyId = Annotated[str, Field(pattern=KEY_ID)]
DigestText = Annotated[str, Field(pattern=DIGEST)]
Label = Annotated[str, Field(pattern=LABEL, max_length=70)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE, max_length=200)]
SpiffeId = Annotated[str, Field(pattern=SPIFFE_ID, max_length=2048)]
RedisUrl = Annotated[str, Field(pattern=REDIS_URL, max_length=300), AfterValidator(read_address)]
BaseUrl = Annotated[str, Field(pattern=BASE_URL, max_length=500), AfterValidator(read_address)]
WebAddress = Annotated[str, Field(pattern=WEB_ADDRESS, max_length=500), AfterValidator(read_address)]
VariableName = Annotated[str, Field(pattern=VARIABLE_NAME, max_length=120)]
PriorityName = Literal["interactive", "batch"]
