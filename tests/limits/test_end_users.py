"""End users: whom an application says it asks for, read from its body, bounded, and never more than a label."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router_extproc.caller import NOBODY, Caller
from router_extproc.limits.end_users import user_of
from router_extproc.limits.selection import labels_of
from router_extproc.registry.spending import Budget
from router_extproc.request import Request
from tests.limits.cases import ACME, claim, registry, request

APPLICATION = Caller(tenant="acme", key="k1")


def asking(caller: Caller = APPLICATION, **members: Any) -> Request:
    """A request whose body has these members beside a message."""
    content = {"messages": [{"role": "user", "content": 'says "user": "mallory"'}]} | members
    return replace(request(caller=caller), body=json.dumps(content).encode())


@pytest.mark.parametrize(
    ("members", "user"),
    [
        ({}, ""),
        ({"user": "ann"}, "ann"),
        ({"user": " ann "}, "ann"),
        ({"safety_identifier": "bob"}, "bob"),
        ({"user": "ann", "safety_identifier": "bob"}, "ann"),
        ({"user": "", "safety_identifier": "bob"}, "bob"),
        ({"user": 42}, "42"),
        ({"user": True}, ""),
        ({"user": None}, ""),
        ({"user": ["ann"]}, ""),
        ({"metadata": {"user": "ann"}}, ""),
        ({"user": "x" * 128}, "x" * 128),
    ],
)
def test_the_body_names_the_end_user(members: dict[str, Any], user: str) -> None:
    """OpenAI's ``user`` comes before its ``safety_identifier``; what is no name, or stands deeper, names nobody."""
    assert user_of(asking(**members)) == user
    assert labels_of(asking(**members), "auto").get("user", "") == user


def test_blanks_before_the_colon_and_broken_bodies() -> None:
    """A body may be written in any way that is JSON; one that is not names nobody, and neither does none."""
    wide = replace(request(caller=APPLICATION), body=b'{"user"' + b" \n\t" * 50 + b': "ann"}')
    assert user_of(wide) == "ann"
    for body in (b"", b'{"user": "ann"', b'["user", "ann"]', b'"user":', b'{"user": "\xff"}'):
        assert user_of(replace(wide, body=body)) == ""


def test_long_conversations() -> None:
    """However often the word stands in a body before it, the member is found; where it is none, nobody is named."""
    messages = [{"role": "user", "content": "Hi"}] * 1_000
    assert user_of(asking(messages=messages, user="ann")) == "ann"
    assert user_of(asking(messages=messages)) == ""


def test_a_proved_user_is_never_replaced() -> None:
    """Whatever the body says, the label and the account name who was proved."""
    told = asking(ACME, user="mallory")
    assert labels_of(told, "auto")["user"] == "ann"
    assert claim(registry(), told).account.user == "ann"


def test_a_claim_reaches_the_account_and_not_the_caller() -> None:
    """It is settled by; permissions and what others are told of the caller stay as proved."""
    told = asking(user="bob")
    assert claim(registry(), told).account.user == "bob"
    assert told.caller == APPLICATION
    assert claim(registry(), asking(NOBODY, user="bob")).account.user == "bob"


def test_each_end_user_has_a_counter_of_its_own_within_the_tenant() -> None:
    """Two end users of one key, and equal names of two tenants' applications, never share an amount."""
    found = registry(Budget("each", "usd", 10**6, per=("user",)), Budget("team", "usd", 10**6, match=(("tenant", "acme"),)))

    def counters(told: Request) -> list[str]:
        return [held.counter for held in claim(found, told).account.held]

    assert counters(asking(user="ann")) == ["usd:each|tenant=acme|user=ann", "usd:team"]
    assert counters(asking(user="bob")) == ["usd:each|tenant=acme|user=bob", "usd:team"]
    assert counters(asking(Caller(tenant="other"), user="ann")) == ["usd:each|tenant=other|user=ann"]
    assert counters(asking()) == ["usd:team"]


@given(name=st.text(max_size=300), other=st.text(max_size=300))
def test_names_are_bounded_and_told_apart(name: str, other: str) -> None:
    """However long or strange, a name has at most 128 printable characters, and two names stay two."""
    found, another = user_of(asking(user=name)), user_of(asking(user=other))
    assert len(found) <= 128
    assert found.isprintable()
    assert (found == another) == (name.strip() == other.strip())
