"""Lines of Envoy's access log file, as tests write them, and what is made of them."""

from __future__ import annotations

import json
from typing import Any

from router_extproc.account import Account, Held, Rates, encode_account
from router_extproc.observer.request_line import read_line
from router_extproc.observer.settlement import Place, Settled, settle

RATES = Rates(input=2_500_000, output=10_000_000, cached_input=1_250_000)
MONEY = Held("usd:month|tenant=acme", "usd", 0, 0, 9_000, 2_000_000_000, "month", 1_000_000, (0.8,))
ACCOUNT = Account(
    reservation="d-1",
    held=(MONEY,),
    rates={"openai/small": RATES, "azure/small": RATES},
    tenant="acme",
    team="search",
    user="u-1",
    key="k1",
    tags={"app": "chat"},
    session="s-1",
    prompt_tokens=100,
    completion_tokens=50,
)


def request_line(decision: str = "d-1", account: Account | None = ACCOUNT, **fields: Any) -> bytes:
    """One request that the first deployment answered in full, unless told otherwise."""
    line: dict[str, Any] = {
        "kind": "request",
        "time": "2026-03-01T12:00:00.100Z",
        "decision": decision,
        "route": "auto",
        "stream": False,
        "deployment": "openai/small",
        "model": "small",
        "cause": None,
        "status": 200,
        "flags": "-",
        "attempts": 1,
        "tried": {"1": "openai/small"},
        "first_byte_ms": 20,
        "prompt_tokens": 120,
        "completion_tokens": 30,
        "cached_tokens": 20,
        "events": None,
        "billed": None,
        "account": None if account is None else encode_account(account),
        "caller": {"tenant": "acme"},
    }
    return json.dumps(line | fields).encode()


def unreported(**fields: Any) -> dict[str, Any]:
    """The fields of an answer for which the provider reported no usage."""
    return {"prompt_tokens": None, "completion_tokens": None, "cached_tokens": None} | fields


def attempt_line(decision: str = "d-1", **fields: Any) -> bytes:
    """One attempt."""
    line = {
        "kind": "attempt",
        "time": "2026-03-01T12:00:00.120Z",
        "decision": decision,
        "attempt": "1",
        "deployment": "openai/small",
        "status": 200,
        "flags": "-",
    }
    return json.dumps(line | fields).encode()


def settled(account: Account = ACCOUNT, **fields: Any) -> Settled:
    line = read_line(request_line(account=account, **fields))
    assert line is not None
    found = settle(line, {"openai/small": Place("small", "openai")})
    assert found is not None
    return found


def render(found: Settled) -> list[str]:
    """One line for each row: what was called, what it is paid for and by whose count."""
    return [
        f"{row.attempt} {row.deployment} {row.prompt_tokens}+{row.completion_tokens} {row.usage_source} {row.cost_micro_usd}"
        for row in (one.row for one in found.settlements)
    ]
