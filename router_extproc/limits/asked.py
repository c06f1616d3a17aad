"""What a body asks for at the most, read with suspicion: a bound must hold against whoever wants to get around it.

Rules of this file
- An analysis reads what is likely and useful; here everything counts that a lenient provider might act on: token ids, texts in
  members that nobody else reads, several limits of which one may be ignored, numbers written as text.
- Where there is no body, as in a program that asks for itself, the analysis is believed.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import msgspec

from router_extproc.limits.unseen import RESPONSES, has_unseen, payload_bytes, payload_tokens, picture_count, provider_tools
from router_extproc.request import Request

# No amount is larger, so that sums of amounts stay exact in every store; answers beyond are as good as any number of them.
MOST_ANSWERS = 10_000


class Asked(NamedTuple):
    """``text_bytes`` are those of the body that may be text, ``token_ids`` how many tokens it holds as numbers.

    ``wish`` is the highest of the limits that the caller sets for each answer, ``answers`` how many may be written.
    ``has_unseen``: the prompt goes on from, or will hold, something that only the provider has. ``payload_tokens`` are those of
    files and sounds at the most, ``pictures`` how many it shows. ``is_detached``: the provider is to make the answer whether or
    not anybody waits for it, and says only later, to whoever fetches it, what it used. ``tool_calls`` is how often the provider
    may run tools of its own, None where that is any number, and ``readings`` how often it may read the prompt then.
    """

    text_bytes: int
    token_ids: int
    answers: int
    wish: int | None
    has_unseen: bool = False
    payload_tokens: int = 0
    is_detached: bool = False
    pictures: int = 0
    tool_calls: int | None = 0
    readings: int = 1


class _Body(msgspec.Struct):
    """The members that multiply or limit what is paid for, whatever stands in them."""

    n: Any = None
    best_of: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    web_search_options: Any = None
    max_tool_calls: Any = None
    # Answers that are fetched later: of OpenAI's Responses, and xAI's word for the same.
    background: Any = None
    deferred: Any = None
    # By which OpenRouter, xAI and Alibaba are told to search, and Gemini what comes before the prompt.
    plugins: Any = None
    search_parameters: Any = None
    enable_search: Any = None
    extra_body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tools: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


# The end of a name by which OpenRouter is told to search.
_SEARCHES = ":online"
# ``cached_content`` in whatever spelling, or an escape that may spell it.
_KEPT_PREFIX = re.compile(rb"cached_?content|\\u00", re.IGNORECASE)
_body = msgspec.json.Decoder(_Body)
_list = msgspec.json.Decoder(list[msgspec.Raw])


def asked_of(asked: Asked, provider_model: str) -> Asked:
    """What is asked of a model by its name at its provider, which may ask for more than the body."""
    if asked.tool_calls is None or not provider_model.lower().endswith(_SEARCHES):
        return asked
    return asked._replace(has_unseen=True, tool_calls=max(1, asked.tool_calls))


def read_asked(request: Request) -> Asked:
    """What the request's body asks for at the most."""
    believed = Asked(0, 0, min(request.analysis.choices, MOST_ANSWERS), request.analysis.max_output_tokens)
    if not request.body:
        return believed
    payload = payload_bytes(request)
    text, others, pictures = len(request.body) - payload, payload_tokens(request, payload), picture_count(request)
    try:
        body = _body.decode(request.body)
    except (msgspec.DecodeError, ValueError):
        return believed._replace(text_bytes=text, payload_tokens=others, pictures=pictures)
    prompts, prompt_ids = _prompts(body.prompt)
    _, input_ids = _prompts(body.input)
    written = [limit for limit in (body.max_tokens, body.max_completion_tokens, body.max_output_tokens) if limit is not None]
    limits = [limit for limit in written if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0]
    # A provider may understand what is none here, "4000" or 4e3, and go by that one.
    wish = max(limits, default=None) if len(limits) == len(written) else None
    answers = max(1, _number(body.n), _number(body.best_of)) * prompts
    kept = (body.previous_response_id, body.conversation)
    found = (body.web_search_options, body.plugins, body.search_parameters, body.enable_search)
    tool_calls = _tool_calls(request, body)
    unseen = any(one not in (None, False) for one in (*kept, *found)) or _first_byte(body.prompt) == b"{"
    unseen = unseen or (body.extra_body is not msgspec.UNSET and _KEPT_PREFIX.search(body.extra_body) is not None)
    return Asked(
        text_bytes=text,
        token_ids=prompt_ids + input_ids,
        answers=min(answers, MOST_ANSWERS),
        wish=wish,
        has_unseen=unseen or has_unseen(request, body.tools, body.input),
        payload_tokens=others,
        # Whatever a lenient provider may take for a yes.
        is_detached=any(one is not None and one is not False for one in (body.background, body.deferred)),
        pictures=pictures,
        tool_calls=tool_calls,
        # What a search model of the chat API finds is not read anew.
        readings=1 + (tool_calls or 0) if request.path.startswith(RESPONSES) else 1,
    )


def _tool_calls(request: Request, body: _Body) -> int | None:
    """How often the provider may run tools of its own; None: nobody limits it."""
    runs, is_limited = provider_tools(body.tools)
    searches = any(one not in (None, False) for one in (body.plugins, body.search_parameters, body.enable_search))
    is_asked_to_search = body.web_search_options not in (None, False)
    # A prompt that the provider keeps may come with tools.
    if not (runs or searches or is_asked_to_search or _first_byte(body.prompt) == b"{"):
        return 0
    if not request.path.startswith(RESPONSES):
        # OpenAI's models that search do so once for each answer.
        return None if runs or searches else 1
    told = body.max_tool_calls
    is_number = isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= MOST_ANSWERS
    return told if is_number and is_limited and not searches else None


def _prompts(raw: msgspec.Raw | msgspec.UnsetType) -> tuple[int, int]:
    """How many prompts a list holds, one where it is none, and how many tokens stand in it as numbers."""
    if raw is msgspec.UNSET or _first_byte(raw) != b"[":
        return 1, 0
    try:
        items = _list.decode(raw)
    except msgspec.DecodeError:
        return 1, 0
    numbers = sum(1 for item in items if _first_byte(item).isdigit())
    lists = [bytes(item) for item in items if _first_byte(item) == b"["]
    ids = numbers + sum(one.count(b",") + 1 for one in lists)
    return max(1, len(items) - numbers), ids


def _first_byte(raw: msgspec.Raw | msgspec.UnsetType) -> bytes:
    return b"" if raw is msgspec.UNSET else bytes(memoryview(raw)[:1])


def _number(value: Any) -> int:
    """A number as a lenient reader takes it, rounded up; 1 where it is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 1
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 1
    return math.ceil(min(value, MOST_ANSWERS))
