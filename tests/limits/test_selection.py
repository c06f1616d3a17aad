"""Selection: the index finds every budget that looking at all of them would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router_extproc.limits.selection import Budgets, budgets_for, is_provider_limit, matches
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, KeyGrant, Raise, Spending, Window
from tests.limits.cases import registry

names = st.sampled_from(["tenant", "team", "tag:app", "provider", "model"])
values = st.sampled_from(["acme", "ac*", "umbrella", "", "*"])
pairs = st.lists(st.tuples(names, values), max_size=3).map(tuple)


@given(
    selectors=st.lists(pairs, max_size=8),
    labels=st.dictionaries(names, st.sampled_from(["acme", "acid", "umbrella"])),
)
def test_the_index_misses_nothing(selectors: list[tuple[tuple[str, str], ...]], labels: dict[str, str]) -> None:
    """Whatever the selectors, all budgets that match are among the candidates, in their order; so are those of places."""
    budgets = tuple(Budget(f"b{index}", "usd", 1, match=match) for index, match in enumerate(selectors))
    found = budgets_for(Registry(spending=Spending(budgets=budgets)))
    candidates = found.candidates({label: value for label, value in labels.items() if label not in ("provider", "model")})
    assert [one for one in candidates if matches(one, labels)] == [one for one in budgets if matches(one, labels)]
    assert list(found) == list(budgets)
    assert found[:2] == list(budgets[:2])


def test_many_tenants_cost_no_more_than_a_few() -> None:
    """Of ten thousand tenants' budgets, one tenant's request looks at its own and those that name no tenant."""
    budgets = tuple(Budget(f"b{index}", "usd", 1, match=(("tenant", f"t{index}"),)) for index in range(10_000))
    found = budgets_for(registry(*budgets, Budget("all", "usd", 1)))
    assert [budget.name for budget in found.candidates({"tenant": "t77"})] == ["b77", "all"]


def test_raises_reach_budgets_of_keys_too() -> None:
    """A budget of a key is raised by its full name, and a configuration that is replaced is not found again."""
    grant = KeyGrant("k", "acme", (), budgets=(Budget("daily", "usd", 5),))
    more = Raise(7, until=1e10)
    found = budgets_for(registry(Budget("all", "usd", 1)), grant, {"key:k:daily": (more,), "gone": (more,)})
    assert [(one.name, one.raises) for one in found] == [("all", ()), ("key:k:daily", (more,))]
    assert [one.raises for one in found.candidates({})] == [(), (more,)]
    for cap in range(10):
        (one,) = budgets_for(registry(Budget("all", "usd", cap)))
        assert one.cap == cap
    assert isinstance(found, Budgets)


def test_a_providers_limit_is_known_by_its_name_and_unit() -> None:
    """Limits that a provider keeps itself are those compiled from its section; money and budgets with other names are not."""
    place = (("provider", "p"),)
    minute = Window(rolling_seconds=60)
    assert is_provider_limit(Budget("provider:p:requests", "requests", 1, minute, place))
    assert is_provider_limit(Budget("credential:p/m@1:tokens", "tokens", 1, minute, (("deployment", "p/m@1"),)))
    assert not is_provider_limit(Budget("provider:p:budget", "usd", 1, minute, place))
    assert not is_provider_limit(Budget("daily", "requests", 1, minute, place))
    assert not is_provider_limit(Budget("provider:p:requests", "requests", 1, minute))
