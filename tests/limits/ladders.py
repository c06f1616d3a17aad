"""Walks over the ladder, for a budget of dollars a day."""

from __future__ import annotations

from router_extproc.decision import Decision
from router_extproc.limits.ladder import Proceed, Refuse
from router_extproc.registry.spending import Budget, Window
from router_extproc.request import Request
from tests.limits.cases import registry, request, walk
from tests.limits.model_store import ModelStore

DAY = Window(calendar="day")


BEST = request("best")


def usd(cap: int, **more: object) -> Budget:
    return Budget("daily", "usd", cap, DAY, **more)  # type: ignore[arg-type]


def spent(store: ModelStore, counter: str, amount: int, bucket: int = 1_772_582_400) -> ModelStore:
    """Something settled this day."""
    store.settled[counter, bucket] = store.settled.get((counter, bucket), 0) + amount
    return store


def go(*budgets: Budget, asked: Request = BEST, used: int = 0, **more: object) -> tuple[Proceed | Refuse, Decision]:
    store = spent(ModelStore(), "usd:daily", used)
    return walk(registry(*budgets, **more), asked, store)  # type: ignore[arg-type]
