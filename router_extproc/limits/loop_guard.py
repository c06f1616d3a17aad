"""Sessions that go round in circles: how they are recognised, warned, asked for a summary, and stopped.

Rules of this file
- Three things are counted for each session, in budgets like any other: requests that are nearly the same, all requests, and
  money. Their counters belong to the session within its tenant; a client that names no session is not looked at.
- Two requests are nearly the same when the last exchange is: what was called or said, and what came of it. The conversation
  before it grows in every loop and says nothing. Letter case, blanks, times, long numbers and ids may differ, nothing else:
  ``chapter 7`` after ``chapter 6`` is progress.
- Near its limit a session is warned, shortly before it the model is asked to sum up, without tools. Beyond it is stopped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from router_extproc.account import Unit
from router_extproc.dialects.openai import Message, read_envelope
from router_extproc.errors import LimitReachedError, RequestError
from router_extproc.registry.spending import Budget, LoopGuard, Window

WARNED, SUMMARY = "loop-warned", "loop-summary"
FINGERPRINT = "fingerprint"
_REPEATS, _STEPS, _COST = "loop_guard:repeats", "loop_guard:steps", "loop_guard:cost"
_WHAT = {
    _REPEATS: "has made nearly the same request too many times",
    _STEPS: "has taken more steps than it may",
    _COST: "has cost more than it may",
}

SYSTEM_LINE = (
    "You seem to be going round in circles. Call no more tools. Sum up what has been done, what is known and what is still "
    "open, and then stop."
)

# From which shares of a limit on a session is warned and asked for a summary, in tenths.
_WARN_TENTHS, _SUMMARY_TENTHS = 8, 9
_TENTHS = 10
_THIS_AND_THE_NEXT = 2
# Of long texts beginning and end are compared, in characters.
_COMPARED = 4_096

# What differs between two runs of the same thing: ids, times, and numbers too long to count by.
_PASSING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\d(?:[t ]\d\d:\d\d(?::\d\d)?)?|\d\d?:\d\d(?::\d\d)?(?:\.\d+)?"
    r"|\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b|\d{6,}|\b(?:call|chatcmpl|toolu|req)[_-][\w-]+"
)
_BLANKS = re.compile(r"\s+")
_ANSWERS = frozenset({"tool", "function"})


class _Called(msgspec.Struct):
    """A tool's name and arguments in a call; ids differ in every call and stay unread."""

    name: str = ""
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Call(msgspec.Struct):
    function: _Called | None = None


_calls = msgspec.json.Decoder(list[_Call])


def guard_budgets(settings: LoopGuard) -> tuple[Budget, ...]:
    """What is counted for each session; nothing when the guard is off."""
    if settings.mode == "off":
        return ()
    budgets = [replace(_guard(settings, _REPEATS, "iterations", settings.repeats), per=("session", FINGERPRINT))]
    if settings.steps is not None:
        budgets.append(_guard(settings, _STEPS, "iterations", settings.steps))
    if settings.cap is not None:
        budgets.append(_guard(settings, _COST, "usd", settings.cap))
    return tuple(budgets)


def is_guard(budget: Budget) -> bool:
    """Whether the budget is one of the guard's, which nobody granted and nobody is shown."""
    return budget.name in _WHAT


def stage(budget: Budget, used: int, likely: int, least: int) -> str | None:
    """``loop-warned`` or ``loop-summary`` where a session is that near the guard's limit with this request, else None.

    ``likely`` is what this request will probably use, ``least`` what another one like it asks for at least.
    """
    if not is_guard(budget) or budget.mode != "enforce":
        return None
    # Money counts once it is spent.
    reached = used + likely if budget.unit == "iterations" else used
    # Few requests may reach the limit in large steps. The last one that passes is still to be one that sums up, and the one
    # before it warns; nobody goes in circles with a first one.
    more = (budget.cap - used - least) // likely if used and likely else _THIS_AND_THE_NEXT
    if more < 1 or reached * _TENTHS >= budget.cap * _SUMMARY_TENTHS:
        return SUMMARY
    return WARNED if more < _THIS_AND_THE_NEXT or reached * _TENTHS >= budget.cap * _WARN_TENTHS else None


def strongest(stages: Iterable[str | None]) -> str | None:
    """The stage furthest on, of those of all the guard's limits."""
    found = set(stages)
    return SUMMARY if SUMMARY in found else WARNED if WARNED in found else None


def stopped(budget: Budget, retry_after: int | None) -> RequestError:
    """The error for a session that is stopped."""
    message = f"This session {_WHAT[budget.name]}, and was stopped. If it is no loop, go on in a new session."
    return LimitReachedError(message, code="loop_stopped", retry_after=retry_after)


def fingerprint(body: bytes) -> str:
    """What the last exchange of a conversation is compared by; empty where there is none.

    Raises:
        BadRequestError: the body is no JSON object.
    """
    envelope = read_envelope(body)
    messages: Sequence[Message | str] = envelope.messages or ()
    if not messages and envelope.input is not None:
        messages = [envelope.input] if isinstance(envelope.input, str) else envelope.input
    if not messages and envelope.prompt is not None:
        messages = [envelope.prompt] if isinstance(envelope.prompt, str) else envelope.prompt
    last = list(_last_exchange([Message(role="user", content=one) if isinstance(one, str) else one for one in messages]))
    if not last:
        return ""
    return hashlib.sha256("\n".join(last).encode(errors="surrogatepass")).hexdigest()[:32]


def _guard(settings: LoopGuard, name: str, unit: Unit, cap: int) -> Budget:
    return Budget(
        name=name,
        unit=unit,
        cap=cap,
        window=Window(rolling_seconds=settings.window_seconds),
        per=("session",),
        mode=settings.mode,
        warn_at=(),
        downgrade_at=None,
    )


def _last_exchange(messages: Sequence[Message]) -> Iterable[str]:
    """The last calls, or the last thing said by the model, and all that came after it, as they are compared."""
    own = [index for index, message in enumerate(messages) if _is_models(message)]
    start = own[-1] if own else max(0, len(messages) - 1)
    # Calls that were made side by side stand one after the other in a response's input.
    while start > 0 and messages[start].type == "function_call" and messages[start - 1].type == "function_call":
        start -= 1
    for message in messages[start:]:
        calls = _read_calls(message)
        text = "\n".join(calls) if calls else _text(message.content) or _text(message.output)
        yield f"{message.role or message.type or ''}: {_normal(text)}"


def _is_models(message: Message) -> bool:
    return message.role == "assistant" or message.type == "function_call"


def _read_calls(message: Message) -> list[str]:
    if message.type == "function_call":
        return [message.arguments or ""]
    if message.tool_calls is msgspec.UNSET:
        return []
    try:
        calls = _calls.decode(message.tool_calls)
    except msgspec.DecodeError:
        return [bytes(message.tool_calls).decode(errors="replace")]
    functions = [call.function for call in calls if call.function is not None]
    return [
        f"{one.name} {'' if one.arguments is msgspec.UNSET else bytes(one.arguments).decode(errors='replace')}"
        for one in functions
    ]


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(part if isinstance(part, str) else part.text or "" for part in content)


def _normal(text: str) -> str:
    if len(text) > 2 * _COMPARED:
        text = text[:_COMPARED] + text[-_COMPARED:]
    return _BLANKS.sub(" ", _PASSING.sub("#", text.lower())).strip()
