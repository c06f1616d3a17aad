"""What a request's line of the access log means for the ledger: who pays how much for which attempts. Pure.

Rules of this file
- Every attempt becomes one row, so that what was tried can be seen; only what a provider made is paid.
- Who counted the tokens is always said. A provider's own report wins, whatever became of the answer.
- The account in the line decides whose counters grow; nothing else is looked up that money depends on.
- Nobody pays for a request without one: its rows are at the prices in force when it is settled, of what is not reported they
  have the prompt at the most, and no counter grows.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router_extproc.account import Account, Held, Rates, decode_account
from router_extproc.observer import causes
from router_extproc.observer.request_line import RequestLine, Usage, count_of
from router_extproc.store.counters import Release
from router_extproc.store.ledger import Charge, LedgerRow, Settlement, UsageSource

_FIRST_SUCCESS, _FIRST_ERROR = 200, 400
_CLIENT_LEFT = "DC"
# What the log gives as the reason where no worker's decision arrived in time.
_UNDECIDED = frozenset((None, "default_chain", "router_unavailable"))
# What stands in a line, as Envoy writes it, of which something has to be given back.
_PRESSING = (b"held", b'"reason":null', b'"reason":"default_chain"', b'"reason":"router_unavailable"')
NOTHING = Usage(0)
# The word of the log for an attempt that failed without an answer.
NO_ANSWER = "no_answer"
# What stands around the text of an event, and a token of English text (OpenAI's rule of thumb).
_WRAPPING_BYTES, _BYTES_PER_TOKEN = 400, 4
# In micro-dollars: the numbers of one of the stores are floating point, and whole up to here.
LARGEST_COST = 2**53


class Place(msgspec.Struct, frozen=True):
    """What a deployment stands for, for those who read the ledger; empty where it is not known any more.

    ``rates`` are for requests without an account, None without a price.
    """

    model: str = ""
    provider: str = ""
    rates: Rates | None = None


_UNKNOWN = Place()


class Settled(msgspec.Struct, frozen=True):
    """All that one request's line says: rows with their charges, and the reservation that is over, if there was one."""

    account: Account
    settlements: tuple[Settlement, ...]
    release: Release | None


class Paid(msgspec.Struct, frozen=True):
    """The tokens of one attempt, and who counted them."""

    usage: Usage
    source: UsageSource


class _Attempt(msgspec.Struct, frozen=True):
    number: int
    deployment: str
    paid: Paid
    status: int = 0
    cause: str = ""
    is_last: bool = False


_UNPAID = Paid(NOTHING, "none")


def settle(line: RequestLine, places: Mapping[str, Place] | None = None) -> Settled | None:
    """What the line settles; None when nothing is to be.

    Raises:
        msgspec.DecodeError: the line's account is none.
        OverflowError: a cost is beyond what every store can count exactly.
    """
    places = places or {}
    if not line.account and not line.decision:
        return None
    if not line.account and not line.called() and line.reason not in _UNDECIDED:
        return None
    account = decode_account(line.account) if line.account else _account_of_nobody(line, places)
    settlements = []
    for attempt in _attempts(line, account):
        row = _row(line, account, attempt, places.get(attempt.deployment, _UNKNOWN))
        settlements.append(Settlement(row, _charges(account.held, row, is_last=attempt.is_last)))
    return Settled(account, tuple(settlements), _release(line, account))


def is_pressing(lines: bytes) -> bool:
    """Whether one of the lines may give something back, so that others wait for it: never False where ``settle`` finds such a
    release. Much faster than reading them.
    """
    return any(word in lines for word in _PRESSING)


def _release(line: RequestLine, account: Account) -> Release | None:
    """What is given back.

    A client that left while a worker decided, and a worker whose answer came too late: what it had set aside meanwhile is known
    to no line, and is given back wherever it is. Where a worker's decision arrived without an account there is nothing.
    """
    if account.held:
        return Release(account.reservation, tuple(held.counter for held in account.held))
    return Release(line.decision, ()) if not line.account and line.reason in _UNDECIDED else None


def _account_of_nobody(line: RequestLine, places: Mapping[str, Place]) -> Account:
    found = {deployment: places[deployment].rates for deployment in line.called().values() if deployment in places}
    rates = {deployment: rates for deployment, rates in found.items() if rates is not None}
    return Account(line.decision, rates=rates, prompt_tokens=line.estimated_prompt)


def _attempts(line: RequestLine, account: Account) -> list[_Attempt]:
    called = line.called()
    last = max(called, default=0)
    attempts = []
    for number, deployment in called.items():
        is_last = number == last
        paid = _paid(line, account, number, is_last=is_last)
        if paid.usage == NOTHING and not line.account:
            # An estimate that nobody made.
            paid = _UNPAID
        cause = _cause(line, number, is_last=is_last)
        attempts.append(_Attempt(number, deployment, paid, (line.status or 0) if is_last else 0, cause, is_last))
    return attempts


def _paid(line: RequestLine, account: Account, number: int, *, is_last: bool) -> Paid:
    """What one attempt is paid for: who turned an answer down knows best, then whoever saw the end of the last one."""
    turned_down, unreported = line.turned_down(), line.unreported()
    if number in turned_down:
        return Paid(turned_down[number], "provider")
    if number in unreported:
        # Of a stream nothing had come; an answer that cannot be read was made as a whole.
        return _estimate(account, is_stream=unreported[number])
    paid = paid_for_answer(line, account) if is_last else _UNPAID
    if paid is not _UNPAID or line.makes_nothing:
        return paid
    begun = line.begun()
    if number in begun:
        # It broke while it was held back, and nobody could say more of it.
        return _estimate(account, is_stream=begun[number])
    if (not line.stream or account.detached) and _cause(line, number, is_last=is_last) == causes.TIMEOUT:
        # To the provider it is the same who hung up on it: its client, or the one whose patience ended.
        return _estimate(account, is_stream=False)
    return _UNPAID


def _estimate(account: Account, *, is_stream: bool) -> Paid:
    """What was likely; of a stream that was given up before anything of it came, the prompt. In the background it goes on."""
    ends = is_stream and not account.detached
    return Paid(Usage(account.prompt_tokens, 0 if ends else account.completion_tokens), "estimate")


def _cause(line: RequestLine, number: int, *, is_last: bool) -> str:
    """Why the attempt failed; nothing where it did not."""
    named = (line.causes or {}).get(str(number), "")
    if named:
        return named
    if is_last:
        return _cause_of_last(line)
    return causes.RESET if number in line.begun() else NO_ANSWER


def _cause_of_last(line: RequestLine) -> str:
    """Why the last attempt failed, where the line does not name it by its number; nothing where it was good."""
    if _CLIENT_LEFT in (line.flags or "").split(","):
        return causes.CLIENT_DISCONNECTED
    if line.incomplete:
        return causes.INCOMPLETE_STREAM
    status = line.status or 0
    if _FIRST_SUCCESS <= status < _FIRST_ERROR:
        return ""
    if line.has_run_out_of_time:
        return causes.TIMEOUT
    return NO_ANSWER if line.first_byte_ms is None else causes.cause_of(status, frozenset())


def _streamed_tokens(line: RequestLine, account: Account) -> int:
    """Tokens of the part of a stream that came: about one for each event but the first, which only opens the message.

    Some providers send dozens of tokens in an event, and a client that leaves before the report would have them for one: what
    events have beyond their wrapping is counted as well, up to the length that was expected.
    """
    beyond = (count_of(line.bytes_sent) or 0) - line.event_count * _WRAPPING_BYTES
    return max(0, line.event_count - 1, min(beyond // _BYTES_PER_TOKEN, account.completion_tokens))


def paid_for_answer(line: RequestLine, account: Account) -> Paid:
    """What the last attempt is paid for.

    As far as its end tells: an attempt that failed costs nothing, and so does reading an answer again. A stream that was broken
    off costs the prompt and what had come of it: about a token for each event but the first, which only opens the message. An
    answer without a report, and one that its client did not wait for or that broke although it was being made as a whole, cost
    what was estimated. So does one that is made in the background, whatever of it came.
    """
    if line.makes_nothing:
        return _UNPAID
    if line.usage is not None:
        return Paid(line.usage, "provider")
    status = line.status or 0
    if status >= _FIRST_ERROR and not line.has_broken_amid_answer:
        return _UNPAID
    has_left = _CLIENT_LEFT in (line.flags or "").split(",")
    if status == 0 and not has_left:
        return _UNPAID
    if not account.detached and (line.event_count or (line.stream and has_left)):
        return Paid(Usage(account.prompt_tokens, _streamed_tokens(line, account)), "events")
    return Paid(Usage(account.prompt_tokens, account.completion_tokens), "estimate")


def _row(line: RequestLine, account: Account, attempt: _Attempt, place: Place) -> LedgerRow:
    usage, source = attempt.paid.usage, attempt.paid.source
    rates: Rates | None = account.rates.get(attempt.deployment)
    cost = 0
    if rates is not None and source != "none":
        seconds = line.lasted if attempt.is_last else None
        cost = rates.cost(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, seconds)
        if rates.by_piece:
            # Tokens of pictures or sound are not what is paid for, and nobody has set any aside.
            usage, source = NOTHING, "price"
    if cost > LARGEST_COST:
        raise OverflowError("a cost that cannot be counted exactly")
    return LedgerRow(
        request=account.reservation,
        attempt=attempt.number,
        purpose=account.purpose,
        at=line.time.timestamp(),
        tenant=account.tenant,
        team=account.team,
        user=account.user,
        key=account.key,
        session=account.session,
        tags=account.tags,
        route=line.route or "",
        model=(line.model if attempt.is_last else None) or place.model,
        provider=place.provider,
        deployment=attempt.deployment,
        status=attempt.status,
        cause=attempt.cause,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        usage_source=source,
        cost_micro_usd=max(0, cost),
    )


def _charges(held: tuple[Held, ...], row: LedgerRow, *, is_last: bool) -> tuple[Charge, ...]:
    charges = []
    for one in held:
        if one.deployments and row.deployment not in one.deployments:
            continue
        # A limit of a place counts what that place is sent; any other counts the request, not its attempts.
        amount = _amount(one, row, 1 if one.deployments or is_last else 0)
        if amount:
            charges.append(Charge(one.counter, one.bucket, amount, one.expires_at))
    return tuple(charges)


def _amount(held: Held, row: LedgerRow, times: int) -> int:
    match held.unit:
        case "usd":
            return row.cost_micro_usd
        case "tokens":
            return row.prompt_tokens + row.completion_tokens
        case "requests" | "iterations":
            return times
        case "parallel":
            # Counted while it lasts, and never afterwards.
            return 0
