"""Counters' names: plain, bounded, and never the same for two different things."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router_extproc.limits.counter_names import LONGEST, counter_name, plain, scope_of, shortened
from router_extproc.registry.spending import Budget

texts = st.text(max_size=400)


@given(name=texts, value=texts.filter(bool), other=texts.filter(bool))
def test_names_are_plain_and_bounded_and_tell_values_apart(name: str, value: str, other: str) -> None:
    """Whatever labels hold, a name is short printable ASCII without blanks and braces; two values have two names."""
    budget = Budget(name, "usd", 1, per=("user",))
    found, another = counter_name(budget, {"user": value}), counter_name(budget, {"user": other})
    assert found is not None
    assert len(found) <= LONGEST
    assert found.isascii()
    assert found.isprintable()
    assert not set(found) & set(" {}")
    assert (found == another) == (value == other)


def test_labels_cannot_be_forged_into_one_another() -> None:
    """A value that looks like the next label is still a value."""
    both = Budget("b", "usd", 1, per=("team", "user"))
    forged = counter_name(both, {"team": "a|user=x", "user": "y"})
    assert forged == "usd:b|team=a%7Cuser%3Dx|user=y"
    assert forged != counter_name(both, {"team": "a", "user": "x|user=y"})


def test_sessions_of_two_tenants_never_meet() -> None:
    """The name of a session is the client's own, so it counts within its tenant, whether the budget says so or not."""
    talk = Budget("talk", "usd", 1, per=("session",))
    assert counter_name(talk, {"tenant": "a", "session": "1"}) != counter_name(talk, {"tenant": "b", "session": "1"})
    assert counter_name(talk, {"session": "1"}) == "usd:talk|session=1"
    own = Budget("talk", "usd", 1, per=("tenant", "session"))
    assert counter_name(own, {"tenant": "a", "session": "1"}) == "usd:talk|tenant=a|session=1"


def test_another_unit_is_another_counter() -> None:
    """A budget that changes from dollars to tokens does not inherit an amount in the other unit."""
    assert counter_name(Budget("b", "usd", 1), {}) != counter_name(Budget("b", "tokens", 1), {})


def test_surrogates_and_long_names_have_names_too() -> None:
    """Half a character, as broken clients send it, is encoded; a name of exactly the longest length stays as it is."""
    assert plain("\ud800") == "%ED%A0%80"
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert len(shortened("x" * (LONGEST + 1))) <= LONGEST
    assert shortened("x" * 400 + "a") != shortened("x" * 400 + "b")


def test_a_scope_says_whom_a_counter_counts() -> None:
    """The name of a user is shown within the tenant that it counts within; a label that is chosen already is not said twice."""
    assert scope_of(Budget("b", "usd", 1), {"tenant": "a"}) == "global"
    each = Budget("b", "usd", 1, match=(("team", "red"),), per=("user", "team"))
    assert scope_of(each, {"tenant": "a", "user": "ann", "team": "red"}) == "team=red,tenant=a,user=ann"
    assert scope_of(each, {}) == "team=red,user=*"
