"""What is remembered of full places, and for how long."""

from __future__ import annotations

import msgspec

from router_extproc.account import Account
from router_extproc.extproc.full_places import REMEMBERED_SECONDS, FullPlaces
from router_extproc.limits.claims import Claim
from router_extproc.registry.spending import Budget
from router_extproc.store.counters import Hold, Level, Verdict

PLACE = Budget("provider:p", "requests", 5, match=(("provider", "p"),))
OWN = Budget("own", "requests", 5)


def claim(*asked: tuple[Budget, str, int]) -> Claim:
    holds = tuple(Hold(counter, 0, 0, amount, 5, "enforce", 60) for _, counter, amount in asked)
    empty = msgspec.convert({}, type=dict)
    return Claim(holds, tuple(budget for budget, _, _ in asked), Account("r"), measure=empty)  # type: ignore[arg-type]


FULL = Verdict((Level(5, 0), Level(5, 0)), (0, 1), (), (70.0, 80.0))


def test_a_full_place_is_known_for_a_moment() -> None:
    """Its level and the time when it is free again, until the memory fades."""
    places = FullPlaces()
    asked = claim((PLACE, "p", 1), (OWN, "o", 1))
    assert places.guess(asked, 0.0) is None
    places.learn(asked, FULL, 10.0)
    assert places.guess(asked, 10.0) == Verdict((Level(5, 0), Level()), (0,), (), (70.0,))
    assert places.guess(asked, 10.0 + REMEMBERED_SECONDS) is None


def test_budgets_of_callers_are_never_guessed_at() -> None:
    """Only the store says whether a caller has spent what it may."""
    places = FullPlaces()
    places.learn(claim((PLACE, "p", 1), (OWN, "o", 1)), FULL, 10.0)
    assert places.guess(claim((OWN, "o", 1)), 10.0) is None


def test_what_fits_beside_what_was_there_is_asked_for() -> None:
    """A place that had no room for a large request may have room for a small one."""
    places = FullPlaces()
    places.learn(claim((PLACE, "p", 4)), Verdict((Level(2, 1),), (0,), (), (None,)), 10.0)
    assert places.guess(claim((PLACE, "p", 2)), 10.0) is None
    assert places.guess(claim((PLACE, "p", 3)), 10.0) is not None
