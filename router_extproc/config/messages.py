"""What pydantic found wrong, in words for the person who wrote the file.

One function for each family of pydantic's error types; an unknown type falls back to pydantic's own words, so that a
newer version can add one without being silent.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from router_extproc.config import schema, values
from router_extproc.config.redaction import shown
from router_extproc.config.source import Path, Source
from router_extproc.config.tree import Scalar
from router_extproc.config.when import Keywords, Probability
from router_extproc.errors import Problem

# What each pattern of the schema asks for, and an example of it.
_PATTERNS = {
    values.NAME: ("is not a name", "letters, digits and . _ : / @ + - only, a letter or digit first"),
    values.NAME_PATTERN: ("is not a name", "letters, digits and . _ : / @ + - only, with * at the end for any rest"),
    values.OWN_NAME: ("is not a name", "lower-case letters, digits and _ only, a letter first"),
    values.LANGUAGE: ("is not a language", "its ISO 639-1 code, such as en or fr"),
    values.SOMETHING: ("holds no text", "write a word at least"),
    values.CREDENTIAL_NAME: ("is not a credential's name", "letters, digits and . _ - only, a letter or digit first"),
    values.BASE_URL: ("expected a base URL", "for example https://api.openai.com/v1, without user name, ? or #"),
    values.HEADER_NAME: ("is not a header's name", "lower-case letters, digits and - only"),
    values.VARIABLE_NAME: ("expected the name of an environment variable", "for example OPENAI_API_KEY, never the key itself"),
    values.MODEL_ID: ("is not a model's id", "printable ASCII characters without spaces"),
    values.OWN_ID: ("is not a name", "letters, digits and . _ - only, a letter or digit first"),
    values.KEY_ID: ("is not a key's id", "letters, digits, _ and - only, 60 at most"),
    values.DIGEST: ("is not a key's digest", "write sha256:SALT:HASH, both in lower-case hexadecimal, never the key itself"),
    values.LABEL: ("is not a label", f"write one of {', '.join(values.LABELS)}, or tag:NAME"),
    values.LABEL_VALUE: ("is not a value of a label", "write a text without line breaks"),
    values.SPIFFE_ID: (
        "is not a SPIFFE id",
        "for example spiffe://cluster.local/ns/search/sa/frontend, with * at its end at most",
    ),
    values.REDIS_URL: (
        "expected a Redis address",
        "for example redis://127.0.0.1:6379 or rediss://redis.example:6380/0, without password",
    ),
    values.WEB_ADDRESS: (
        "expected an http or https address",
        "for example https://issuer.example/jwks.json, without password, ? or #",
    ),
    values.API_PATH: ("is not a path of the API", "begin with /v1/, for example /v1/embeddings or /v1/audio/*"),
}
# Patterns of values that may hold a secret by mistake: the value is not repeated.
_SILENT_PATTERNS = {
    values.BASE_URL,
    values.DIGEST,
    values.KEY_ID,
    values.REDIS_URL,
    values.VARIABLE_NAME,
    values.WEB_ADDRESS,
}
_EXAMPLES = {
    "base_url": "base_url: https://api.openai.com/v1",
    "certificate": "certificate: server.pem",
    "key": "key: server.key",
    "input": "input: 2.50",
    "output": "output: 10.00",
    "provider": "provider: openai",
    "name": "name: long-prompts",
    "then": "then: {targets: [gpt-4o]}",
    "tenant": "tenant: search",
    "issuer": "issuer: https://login.example",
    "identities": "identities: {spiffe://cluster.local/ns/search/*: search}",
    "certificate_authority": "certificate_authority: roots.pem",
    "usd": "usd: 25",
    "until": "until: 2030-12-31",
}
# Words of other gateways and what they are called here.
_SYNONYMS = {
    "api_base": "base_url",
    "endpoint": "base_url",
    "url": "base_url",
    "type": "dialect",
    "host": "address",
    "bind": "address",
    "timeout": "timeouts",
    "retries": "retry",
    "fallback": "last_resort",
    "fallbacks": "last_resort",
    "max_tokens": "output_limit",
    "max_output_tokens": "output_limit",
    "context_length": "context_window",
    "price": "prices",
    "pricing": "prices",
    "conditions": "when",
    "if": "when",
    "plan": "then",
    "cert": "certificate",
    "always_include_stream_usage": "include_stream_usage",
    "stream_options": "include_stream_usage",
    "tpm": "tokens_per_minute",
    "rpm": "requests_per_minute",
    "max_parallel_requests": "parallel",
    "max_budget": "usd",
    "budget_duration": "window",
    "period": "window",
    "soft_budget": "warn_at",
    "expires_at": "expires",
    "expiry": "expires",
    "hash": "digest",
    "selector": "match",
    "labels": "match",
    "group_by": "per",
    "min": "at_least",
    "minimum": "at_least",
    "from": "at_least",
    "gte": "at_least",
    "ge": "at_least",
    "above": "at_least",
    "max": "at_most",
    "maximum": "at_most",
    "to": "at_most",
    "lte": "at_most",
    "le": "at_most",
    "below": "at_most",
}
_FIGURE = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def is_called_otherwise(error: ErrorDetails, source: Source) -> bool:
    """Whether a missing key is there under another gateway's name: that problem says enough."""
    path: Path = error["loc"]
    others = [word for word, ours in _SYNONYMS.items() if path and ours == path[-1]]
    return error["type"] == "missing" and any(source.find((*path[:-1], word)) is not None for word in others)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that was probably meant, or None."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return found[0] if found else None


def meant(word: str, choices: Iterable[str], *, what: str) -> str:
    """A fix that names the nearest choice, or else what there is to choose from."""
    known = list(choices)
    guess = nearest(word, known)
    if guess is not None:
        return f"did you mean `{guess}`?"
    listed = ", ".join(shown(name) for name in known[:12])
    more = ", …" if len(known) > 12 else ""  # noqa: PLR2004 - a dozen fit on a line
    return f"{what}: {listed}{more}" if known else f"{what}: none"


def describe(error: ErrorDetails, source: Source) -> Problem:
    """One pydantic error as a problem with its place in the file."""
    path: Path = error["loc"]
    at_key = bool(path) and path[-1] == "[key]"
    if at_key:
        path = path[:-1]
    if error["type"] == "extra_forbidden":
        return source.problem(path, "unknown key", fix=_known_keys(path), code="unknown_key", key=True)
    if error["type"] == "missing":
        example = _EXAMPLES.get(str(path[-1]))
        fix = f"for example `{example}`" if example else ""
        return source.problem(path, "is missing", fix=fix, code="missing_key", key=True)
    code, message, fix = _wording(error, path[-1] if at_key else error["input"], path, source)
    return source.problem(path, message, fix=fix, code=code, key=at_key)


def _wording(error: ErrorDetails, value: object, path: Path, source: Source) -> tuple[str, str, str]:
    """Code, message and fix of what is wrong with a value."""
    kind = error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    bound = next((bound for bound in _BOUNDS if bound in context), None)
    code, message, fix = "invalid", error["msg"], str(context.get("fix", ""))
    if kind == "literal_error":
        code, (message, fix) = "unknown_value", _wrong_choice(path, value)
    elif kind == "string_pattern_mismatch":
        code, (message, fix) = "wrong_form", _wrong_form(str(context["pattern"]), value)
    elif kind in _TYPES:
        code, (message, fix) = "wrong_type", _TYPES[kind](value, source, path)
    elif kind in ("duration", "size"):
        code, message = "wrong_type", f"{error['msg']}, found {_found(value)}"
    elif kind == "string_too_long":
        code, message = "out_of_range", f"longer than {context['max_length']} characters"
    elif kind == "string_too_short":
        code, message = "out_of_range", "is empty"
    elif kind in ("too_short", "too_long"):
        few = kind == "too_short"
        wanted = f"at least {context['min_length']}" if few else f"at most {context['max_length']}"
        code, message = "out_of_range", f"expected {wanted} of these, found {context['actual_length']}"
    elif bound is not None:
        code, message = "out_of_range", f"expected {_bounded(bound, context[bound], value)}, found {_figure(value)}"
    return code, message, fix


def _bounded(bound: str, limit: object, value: object) -> str:
    """What a bound asks for, in the unit of what is written: the program's milliseconds and bytes say nothing to a reader."""
    if isinstance(value, str) and isinstance(limit, int):
        limit = values.as_duration(limit) if values.is_duration(value) else values.as_size(limit)
        return f"{_BOUNDS[bound]} {limit}"
    return f"a number {_BOUNDS[bound]} {_figure(limit)}"


def _known_keys(path: Path) -> str:
    """What was probably meant by an unknown key."""
    word = str(path[-1])
    section = section_at(path[:-1])
    known = list(section.model_fields) if section is not None else []
    home = _home_of(word) if len(path) == 1 else None
    if _SYNONYMS.get(word) in known:
        return f"here it is called `{_SYNONYMS[word]}`"
    if nearest(word, known) is None and home is not None:
        return f"it belongs in `{home}`"
    return meant(word, known, what="the keys here are")


def _home_of(word: str) -> str | None:
    """The section of the file that has such a key, for a key written at the top."""
    for name in schema.RouterConfig.model_fields:
        section = section_at((name,))
        if section is not None and word in section.model_fields:
            return name
    return None


def _wrong_choice(path: Path, value: object) -> tuple[str, str]:
    choices = [str(choice) for choice in _choices(annotation_at(path))]
    found = f"`{shown(value)}`" if isinstance(value, str) else _found(value)
    message = f"{found} is not one of {', '.join(choices)}" if len(choices) > 1 else f"expected {choices[0]}, found {found}"
    guess = nearest(str(value), choices)
    return message, f"did you mean `{guess}`?" if guess and len(choices) > 1 else ""


def _wrong_form(pattern: str, value: object) -> tuple[str, str]:
    message, fix = _PATTERNS[pattern]
    if pattern in _SILENT_PATTERNS or not isinstance(value, str):
        return message, fix
    return f"`{shown(value)}` {message}" if value else f"an empty text {message}", fix


def _found(value: object) -> str:
    """What stands in the file, without repeating a text that was to be something else."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (int, float)):
        return f"the number {_figure(value)}"
    if isinstance(value, str):
        return f"the text `{shown(value)}`" if value else "an empty text"
    return "a mapping" if isinstance(value, dict) else "a list"


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(value: object, source: Source, path: Path) -> tuple[str, str]:
    example = _EXAMPLES.get(str(path[-1])) if path else None
    if value is None and example is not None:
        return "expected text, found nothing", f"for example `{example}`"
    node = source.find(path)
    quotable = isinstance(node, Scalar) and value is not None
    fix = f'write it in quotes: "{shown(node.text)}"' if isinstance(node, Scalar) and quotable else ""
    return f"expected text, found {_found(value)}", fix


def _number(value: object, what: str) -> tuple[str, str]:
    is_quoted = isinstance(value, str) and value.strip().lstrip("+-").replace(".", "", 1).isdigit()
    return f"expected {what}, found {_found(value)}", "write it without quotes" if is_quoted else ""


def _truth(value: object, *_: object) -> tuple[str, str]:
    meaning = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(str(value).lower())
    return f"expected true or false, found {_found(value)}", f"write {meaning}" if meaning else ""


def _mapping(value: object, _: Source, path: Path) -> tuple[str, str]:
    found = "text" if isinstance(value, str) else _found(value)
    section = section_at(path)
    if section is not None and {"at_least", "at_most"} == set(section.model_fields):
        return f"expected bounds, found {_found(value)}", _as_bounds(value, "0.5" if section is Probability else "5")
    if section is Keywords and isinstance(value, str):
        return "expected a list of words, found text", f"write it in brackets: [{shown(value)}]"
    return f"expected keys with values, found {found}", "write {} for one that is empty" if value is None else ""


def _as_bounds(value: object, example: str) -> str:
    """How what was written without keys is written with them; which bound is meant is only sometimes to be seen."""
    figures = _FIGURE.findall(str(value)) if isinstance(value, (int, float, str, list, tuple)) else []
    if isinstance(value, bool) or not figures:
        return f"for example {{at_least: {example}}}"
    if len(figures) > 1:
        return f"write {{at_least: {figures[0]}, at_most: {figures[1]}}}"
    if isinstance(value, str) and "<" in value:
        return f"write {{at_most: {figures[0]}}}"
    other = "" if isinstance(value, str) and ">" in value else f" or {{at_most: {figures[0]}}}"
    return f"write {{at_least: {figures[0]}}}{other}"


def _list(value: object, *_: object) -> tuple[str, str]:
    found = "text" if isinstance(value, str) else _found(value)
    fixes = {type(None): "write [] for one that is empty", str: "write it in brackets: [ ]", dict: "begin each item with `- `"}
    return f"expected a list, found {found}", fixes.get(type(value), "")


_TYPES: dict[str, Callable[[object, Source, Path], tuple[str, str]]] = {
    "string_type": _text,
    "int_type": lambda value, *_: _number(value, "a whole number"),
    "int_from_float": lambda value, *_: _number(value, "a whole number"),
    "float_type": lambda value, *_: _number(value, "a number"),
    "finite_number": lambda value, *_: _number(value, "a number"),
    "bool_type": _truth,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "dict_type": _mapping,
    "tuple_type": _list,
}


def _without_optional(annotation: object) -> object:
    """The annotation inside ``Annotated`` and ``| None``."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(option for option in get_args(annotation) if option is not type(None))
        else:
            return annotation


def annotation_at(path: Path) -> object:
    """The type that the schema gives the path, or None where it has none."""
    annotation: object = schema.RouterConfig
    for part in path:
        annotation = _without_optional(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = annotation.model_fields
            annotation = fields[str(part)].annotation if part in fields else None
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) is tuple:
            annotation = get_args(annotation)[0]
        else:
            return None
    return _without_optional(annotation)


def section_at(path: Path) -> type[BaseModel] | None:
    """The section of the schema at the path, if it is one."""
    annotation = annotation_at(path)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _choices(annotation: object) -> tuple[object, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()
