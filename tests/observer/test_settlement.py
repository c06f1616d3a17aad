"""What each end of a request costs, who counted it, and whose counters grow."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from router_extproc.account import Account, Held, Unit
from router_extproc.observer.request_line import read_line
from router_extproc.observer.settlement import Place, Settled, is_pressing, settle
from router_extproc.store.counters import Release
from router_extproc.store.ledger import Charge
from tests.observer.lines import ACCOUNT, MONEY, RATES, attempt_line, render, request_line, settled, unreported

DETACHED = replace(ACCOUNT, detached=True)


@pytest.mark.parametrize(
    "fields",
    [
        unreported(),
        unreported(stream=True, events=11),
        unreported(stream=True, events=11, flags="DC"),
        unreported(stream=True, status=0, flags="DC", first_byte_ms=None),
        unreported(status=503, answered={"1": "stream"}, stream=True, flags="URX,UPE"),
        unreported(status=503, billed={"1": {"unreported": "stream"}}, stream=True),
        unreported(status=504, flags="UT", details="response_timeout", first_byte_ms=None, stream=True),
    ],
    ids=["whole", "stream", "left", "left before the first event", "broken", "turned down", "timeout"],
)
def test_an_answer_in_the_background_goes_on_whatever_came_of_it(fields: dict[str, Any]) -> None:
    """Its provider bills all of it: it is settled as it was set aside, unless it said itself what it used."""
    assert render(settled(DETACHED, **fields)) == ["1 openai/small 100+50 estimate 750"]
    assert render(settled(DETACHED)) == ["1 openai/small 120+30 provider 575"]
    assert render(settled(DETACHED, **unreported(status=400))) == ["1 openai/small 0+0 none 0"]


def held(unit: Unit, name: str = "", **fields: Any) -> Held:
    return Held(name or unit, unit, 60, 0, 1, 200, **fields)


def charged(found: Settled) -> dict[str, int]:
    """What each counter grows by."""
    sums: dict[str, int] = {}
    for one in found.settlements:
        for charge in one.charges:
            sums[charge.counter] = sums.get(charge.counter, 0) + charge.amount
    return sums


def test_an_answer_costs_what_its_provider_reported() -> None:
    """Fresh, cached and written tokens at the rates that held when it was admitted; the caller's labels stand beside it."""
    found = settled()
    [one] = found.settlements
    assert render(found) == ["1 openai/small 120+30 provider 575"]  # 100 x 2.5 + 20 x 1.25 + 30 x 10
    assert one.charges == (Charge(MONEY.counter, MONEY.bucket, 575, MONEY.expires_at),)
    assert found.release == Release("d-1", (MONEY.counter,))
    row = one.row
    assert (row.request, row.tenant, row.team, row.user, row.key, row.session, row.tags) == (
        ("d-1", "acme", "search", "u-1", "k1", "s-1", {"app": "chat"})
    )
    assert (row.route, row.model, row.provider, row.status, row.cause) == ("auto", "small", "openai", 200, "")
    assert row.at == 1_772_366_400.1


# How a request ended, and what it is then paid for. The account's estimate is 100 tokens in and 50 out.
ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "no usage reported": (unreported(), "100+50 estimate 750"),
    "a stream without usage": (unreported(stream=True, events=41), "100+40 events 650"),
    "a stream that the client left": (unreported(stream=True, events=11, flags="DC"), "100+10 events 350"),
    "a stream of large events that the client left before its report": (
        unreported(stream=True, events=11, flags="DC", bytes_sent=11 * 400 + 160),
        "100+40 events 650",
    ),
    "a stream of huge events": (
        unreported(stream=True, events=11, flags="DC", bytes_sent=1_000_000),
        "100+50 events 750",
    ),
    "a stream that the provider cut": (unreported(stream=True, events=11, flags="UPE"), "100+10 events 350"),
    "a stream that the client left before anything came": (
        unreported(stream=True, status=0, flags="DC", first_byte_ms=None),
        "100+0 events 250",
    ),
    "a client that did not wait for a whole answer": (
        unreported(status=0, flags="DC", first_byte_ms=None),
        "100+50 estimate 750",
    ),
    "a stream that was left after its usage": ({"stream": True, "events": 41, "flags": "DC"}, "120+30 provider 575"),
    "an error of the provider": (unreported(status=502, cause="server_error"), "0+0 none 0"),
    "an error of the caller": (unreported(status=400, cause="client_error"), "0+0 none 0"),
    "an answer that broke amid its body": (
        unreported(status=502, flags="UPE", details="upstream_reset_after_response_started{protocol_error}"),
        "100+50 estimate 750",
    ),
    "an answer that stalled amid its body": (
        unreported(status=504, flags="UT", details="response_timeout"),
        "100+50 estimate 750",
    ),
    "a provider that never answered": (
        unreported(status=504, flags="UT", details="response_timeout", first_byte_ms=None),
        "100+50 estimate 750",
    ),
    "an attempt whose own time ended": (
        unreported(status=504, flags="URX,UT", details="upstream_per_try_timeout", first_byte_ms=None),
        "100+50 estimate 750",
    ),
    "a stream that never began": (
        unreported(status=504, flags="URX,UT", details="upstream_per_try_timeout", first_byte_ms=None, stream=True),
        "0+0 none 0",
    ),
    "a connection that could not be made": (
        unreported(
            status=503,
            flags="URX,UF",
            details="upstream_reset_before_response_started{remote_connection_failure|connection_timeout}",
            first_byte_ms=None,
        ),
        "0+0 none 0",
    ),
    "an answer that broke while it was held": (
        unreported(
            status=503,
            flags="URX,UPE",
            details="upstream_reset_before_response_started{protocol_error}",
            answered={"1": "answer"},
        ),
        "100+50 estimate 750",
    ),
    "a stream that broke while it was held": (
        unreported(
            status=503, flags="URX,UPE", details="upstream_reset_before_response_started", answered={"1": "stream"}, stream=True
        ),
        "100+0 estimate 250",
    ),
    "an answer that was held and found good": ({"answered": {"1": "answer"}}, "120+30 provider 575"),
    "a stream that was held and then left": (
        unreported(answered={"1": "stream"}, stream=True, events=11, flags="DC"),
        "100+10 events 350",
    ),
    "no answer at all": (unreported(status=0, flags="UF"), "0+0 none 0"),
    "an error with a report": ({"status": 500}, "120+30 provider 575"),
    "a status that Envoy does not know": (unreported(status=None, flags=None), "0+0 none 0"),
}


@pytest.mark.parametrize("end", ENDS)
def test_every_end_has_its_price(end: str) -> None:
    """Failures are free, what a provider made is paid, and the ledger says who counted."""
    fields, expected = ENDS[end]
    assert render(settled(**fields)) == [f"1 openai/small {expected}"]


def test_failed_attempts_are_rows_that_cost_nothing() -> None:
    """What was tried can be seen, each with its own cause."""
    tried = {"1": "gone/small", "2": "openai/small", "3": "azure/small"}
    found = settled(attempts=3, tried=tried, deployment="azure/small", cause="rate_limited", causes={"2": "rate_limited"})
    assert render(found) == ["1 gone/small 0+0 none 0", "2 openai/small 0+0 none 0", "3 azure/small 120+30 provider 575"]
    assert [(one.row.status, one.row.cause) for one in found.settlements] == [(0, "no_answer"), (0, "rate_limited"), (200, "")]
    assert charged(found) == {MONEY.counter: 575}


@pytest.mark.parametrize(
    ("fields", "expected", "cause"),
    [
        ({"answered": {"1": "answer", "2": "answer"}}, "100+50 estimate 750", "reset"),
        ({"answered": {"1": "stream"}, "stream": True}, "100+0 estimate 250", "reset"),
        ({"answered": {"1": "answer"}, "causes": {"1": "timeout"}}, "100+50 estimate 750", "timeout"),
        ({"causes": {"1": "timeout"}}, "100+50 estimate 750", "timeout"),
        ({"causes": {"1": "timeout"}, "stream": True}, "0+0 none 0", "timeout"),
        ({"answered": {"x": "answer", "3": "answer"}}, "0+0 none 0", "no_answer"),
    ],
    ids=str,
)
def test_an_attempt_that_may_have_been_billed_is_estimated_beside_the_next(
    fields: dict[str, Any], expected: str, cause: str
) -> None:
    """Its answer broke while it was held, or nobody waited for it any longer; another attempt took its place."""
    tried = {"1": "openai/small", "2": "azure/small"}
    found = settled(attempts=2, tried=tried, deployment="azure/small", **fields)
    assert render(found) == [f"1 openai/small {expected}", "2 azure/small 120+30 provider 575"]
    assert found.settlements[0].row.cause == cause


@pytest.mark.parametrize("answered", [{"1": "answer"}, {"1": "stream"}])
@pytest.mark.parametrize(
    ("billed", "expected"),
    [
        ({"prompt_tokens": 40, "completion_tokens": 4}, "40+4 provider 140"),
        ({"unreported": "answer"}, "100+50 estimate 750"),
        ({"unreported": "stream"}, "100+0 estimate 250"),
    ],
)
def test_who_turned_an_answer_down_knows_more_than_who_saw_its_headers(
    answered: dict[str, str], billed: dict[str, Any], expected: str
) -> None:
    """What the answer said of itself is paid, once."""
    assert render(settled(**unreported(status=502, billed={"1": billed}, answered=answered))) == [f"1 openai/small {expected}"]


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"status": 504, "first_byte_ms": None, "details": "response_timeout"}, "timeout"),
        ({}, ""),
        ({"flags": "DC"}, "client_disconnected"),
        ({"incomplete": True}, "incomplete_stream"),
        ({"status": 503, "first_byte_ms": None}, "no_answer"),
        ({"status": 400}, "client_error"),
        ({"status": 503, "causes": {"1": "server_error"}}, "server_error"),
    ],
)
def test_why_the_last_attempt_failed(fields: dict[str, Any], cause: str) -> None:
    """In the words of the decision log."""
    assert settled(**fields).settlements[0].row.cause == cause


def test_an_answer_that_was_turned_down_is_paid_beside_the_one_that_was_taken() -> None:
    """The provider made it, so somebody pays for it: each attempt has a row and a charge of its own."""
    billed = {"1": {"prompt_tokens": 40, "completion_tokens": 4, "cached_tokens": 0}}
    found = settled(attempts=2, tried={"1": "openai/small", "2": "azure/small"}, billed=billed, deployment="azure/small")
    assert render(found) == ["1 openai/small 40+4 provider 140", "2 azure/small 120+30 provider 575"]
    assert [charge.amount for one in found.settlements for charge in one.charges] == [140, 575]


def test_the_last_answer_turned_down_is_paid_once() -> None:
    """The client got an error, the provider made an answer."""
    billed = {"1": {"prompt_tokens": 40, "completion_tokens": 4}}
    assert render(settled(**unreported(status=502, billed=billed))) == ["1 openai/small 40+4 provider 140"]


@pytest.mark.parametrize(("kind", "expected"), [("stream", "100+0 estimate 250"), ("answer", "100+50 estimate 750")])
def test_an_answer_turned_down_without_a_report_is_estimated(kind: str, expected: str) -> None:
    """A stream that stayed silent cost its prompt; an answer that could not be read was made as a whole."""
    found = settled(
        attempts=2,
        tried={"1": "openai/small", "2": "azure/small"},
        billed={"1": {"unreported": kind}},
        deployment="azure/small",
    )
    assert render(found) == [f"1 openai/small {expected}", "2 azure/small 120+30 provider 575"]
    assert render(settled(**unreported(status=502, billed={"1": {"unreported": kind}}))) == [f"1 openai/small {expected}"]


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "GET", "path": "/v1/responses/r-1"},
        {"method": "DELETE", "path": "/v1/responses/r-1"},
        {"method": "POST", "path": "/v1/responses/r-1/cancel"},
        {"method": "GET", "path": "/v1/responses/r-1", "stream": True, "events": 41},
    ],
)
def test_an_answer_that_is_read_again_is_not_paid_again(fields: dict[str, Any]) -> None:
    """Usage in what was only looked up or stopped was paid for when the answer was made."""
    found = settled(**fields)
    assert render(found) == ["1 openai/small 0+0 none 0"]
    assert charged(found) == {}
    assert found.release is not None
    assert found.release.counters == (MONEY.counter,)


def test_each_unit_counts_its_own() -> None:
    """Money, tokens, the request and the step; what runs at the same time is counted only while it runs."""
    units: tuple[Unit, ...] = ("usd", "tokens", "requests", "iterations", "parallel")
    found = settled(replace(ACCOUNT, held=tuple(held(unit) for unit in units)))
    assert charged(found) == {"usd": 575, "tokens": 150, "requests": 1, "iterations": 1}
    assert found.release is not None
    assert found.release.counters == units


def test_a_request_counts_once_however_often_it_is_tried() -> None:
    """Limits of a caller count requests, limits of a place what that place is sent and paid."""
    counters = (
        held("requests", "of the tenant"),
        held("requests", "of openai", deployments=("openai/small", "openai/large")),
        held("requests", "of azure", deployments=("azure/small",)),
        held("requests", "of nobody", deployments=("other/small",)),
        held("usd", "money of openai", deployments=("openai/small", "openai/large")),
        held("usd", "money of azure", deployments=("azure/small",)),
    )
    tried = {"1": "openai/small", "2": "openai/large", "3": "azure/small"}
    found = settled(replace(ACCOUNT, held=counters), attempts=3, tried=tried, deployment="azure/small")
    assert charged(found) == {"of the tenant": 1, "of openai": 2, "of azure": 1, "money of azure": 575}
    assert found.release is not None
    assert len(found.release.counters) == 6


def test_who_was_admitted_and_called_nobody_gets_everything_back() -> None:
    """Such as a client that left before the first attempt: no row, no charge, and the reservation is over."""
    found = settled(status=0, flags="DC", attempts=0, tried=None, deployment=None, **unreported())
    assert found.release is not None
    assert (found.settlements, found.release.reservation) == ((), "d-1")


def test_a_deployment_without_a_price_costs_nothing() -> None:
    """Its tokens are known all the same."""
    assert render(settled(replace(ACCOUNT, rates={}))) == ["1 openai/small 120+30 provider 0"]


@pytest.mark.parametrize("purpose", ["answer", "escalation", "judge", "shadow"])
def test_every_call_has_somebody_who_pays(purpose: Any) -> None:
    """The purpose goes into the row, so that the same attempt of another purpose is another row."""
    [one] = settled(replace(ACCOUNT, purpose=purpose)).settlements
    assert (one.row.purpose, one.row.tenant) == (purpose, "acme")


# How requests end for which nobody pays, and what their rows say: at most the prompt was estimated.
NOBODY_PAYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an answer": ({}, ["1 openai/small 120+30 provider 575"]),
    "no usage reported": (unreported(), ["1 openai/small 0+0 none 0"]),
    "no usage reported, a prompt of text": (unreported(text_tokens="100"), ["1 openai/small 100+0 estimate 250"]),
    "a stream without usage": (unreported(stream=True, events=41), ["1 openai/small 0+40 events 400"]),
    "a stream without usage, a prompt of text": (
        unreported(stream=True, events=41, text_tokens="100"),
        ["1 openai/small 100+40 events 650"],
    ),
    "a client that left before anything came": (
        unreported(stream=True, status=0, flags="DC", first_byte_ms=None),
        ["1 openai/small 0+0 none 0"],
    ),
    "a prompt that nobody counted": (unreported(text_tokens="many"), ["1 openai/small 0+0 none 0"]),
    "a fallback": (
        {"attempts": 2, "tried": {"1": "azure/small", "2": "openai/small"}, "causes": {"1": "server_error"}},
        ["1 azure/small 0+0 none 0", "2 openai/small 120+30 provider 575"],
    ),
    "answers that were turned down": (
        {
            "attempts": 3,
            "tried": {"1": "openai/small", "2": "openai/small", "3": "azure/small"},
            "billed": {"1": {"prompt_tokens": 10, "completion_tokens": 2}, "2": {"unreported": "answer"}},
        },
        ["1 openai/small 10+2 provider 45", "2 openai/small 0+0 none 0", "3 azure/small 120+30 provider 0"],
    ),
}


@pytest.mark.parametrize("end", NOBODY_PAYS)
def test_without_an_account_what_was_called_is_written_down(end: str) -> None:
    """At today's prices, of nobody, under the request's own id; no counter grows, and nothing has to be given back."""
    fields, told = NOBODY_PAYS[end]
    line = read_line(request_line("d-2", account=None, reason="auto:economy", **fields))
    assert line is not None
    # The other deployment has no price.
    found = settle(line, {"openai/small": Place("small", "openai", RATES), "azure/small": Place("small", "azure")})
    assert found is not None
    assert render(found) == told
    assert {(one.row.request, one.row.tenant, one.row.key, one.charges) for one in found.settlements} == {("d-2", "", "", ())}
    assert found.release is None


@pytest.mark.parametrize(
    "fields",
    [{"decision": ""}, {"attempts": 0, "tried": None, "deployment": None, "reason": "budget_exceeded"}],
    ids=["no id", "no call"],
)
def test_where_nobody_was_called_nothing_is_written(fields: dict[str, Any]) -> None:
    """Of a refusal, and of what has no name by which it could be written once."""
    line = read_line(request_line(**{"account": None, **fields}))
    assert line is not None
    assert settle(line) is None


UNDECIDED: dict[str, dict[str, Any]] = {
    "a client left": {"attempts": 0, "tried": None, "deployment": None, "status": 0, "flags": "DC", "reason": None},
    "refused": {"attempts": 0, "tried": None, "deployment": None, "status": 503, "reason": "router_unavailable"},
    "served": {"reason": "default_chain"},
}


@pytest.mark.parametrize("end", UNDECIDED)
def test_what_no_decision_came_for_is_given_back(end: str) -> None:
    """Whatever a worker set aside that was not waited for is over, in whichever counters; a row is of who was called."""
    line = read_line(request_line("d-3", account=None, **UNDECIDED[end]))
    assert line is not None
    found = settle(line)
    assert found is not None
    assert (len(found.settlements), found.release) == (1 if end == "served" else 0, Release("d-3", ()))


def test_an_account_that_is_none_is_told() -> None:
    """So that it is counted, and not taken for a request without one."""
    line = read_line(request_line(account=None).replace(b'"account": null', b'"account": "{}"'))
    assert line is not None
    with pytest.raises(msgspec.DecodeError):
        settle(line)


def as_envoy_writes(line: bytes) -> bytes:
    """Without blanks, other than ``json.dumps`` does it."""
    return json.dumps(json.loads(line), separators=(",", ":")).encode()


WAITING = b"\n".join(
    as_envoy_writes(line)
    for line in (
        attempt_line(),
        request_line(account=None, reason="named"),
        request_line(account=replace(ACCOUNT, held=()), reason="auto:economy"),
    )
)


@pytest.mark.parametrize(
    ("account", "reason"),
    [(ACCOUNT, "named"), (ACCOUNT, None), (None, None), (None, "default_chain"), (None, "router_unavailable")],
)
def test_what_gives_something_back_is_seen_without_being_read(account: Account | None, reason: str | None) -> None:
    """Wherever settling finds that something is to be given back, the line is pressing, whatever it stands among."""
    text = as_envoy_writes(request_line(account=account, reason=reason))
    line = read_line(text)
    found = None if line is None else settle(line)
    assert found is not None
    assert found.release is not None
    assert is_pressing(b"\n".join([WAITING, text, WAITING]))


def test_who_holds_nothing_may_wait() -> None:
    """Attempts, requests without an account, and those whose account holds nothing of any limit."""
    assert not is_pressing(WAITING)
