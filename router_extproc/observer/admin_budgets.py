"""The admin API for budgets, raises, the ledger and alerts."""

from __future__ import annotations

import functools
import secrets
from typing import Any

import msgspec
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router_extproc.config import budgets as written_budgets
from router_extproc.config.values import read_instant
from router_extproc.errors import BadRequestError
from router_extproc.limits.selection import budgets_for
from router_extproc.observer.admin_access import guarded
from router_extproc.observer.admin_errors import NotFoundError, answering
from router_extproc.observer.alerts import text_of
from router_extproc.observer.budget_report import counters_of, report, standings_of
from router_extproc.observer.budget_words import amounts
from router_extproc.observer.desk import LARGEST_LIMIT, Desk, body_of, limit_of, number_of, show_time
from router_extproc.observer.key_changes import moment_of, problems_of
from router_extproc.observer.levels import read_levels
from router_extproc.observer.money import show_usd
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, KeyGrant, Raise
from router_extproc.store.counters import Query
from router_extproc.store.identities import StoredRaise
from router_extproc.store.ledger import ledger_rows, spent

_LARGEST_SEQUENCE = 10**15
# What the query of /ledger asks for beside labels.
_NO_LABELS = frozenset({"per", "since", "until", "limit", "before"})


def budget_routes(desk: Desk) -> list[Route]:
    """Budgets, raises, the ledger and alerts."""
    budgets = _Budgets(desk)
    return [
        Route("/budgets", guarded(answering(budgets.show), desk.token), methods=["GET"]),
        Route("/budgets/{name:path}/raises", guarded(answering(budgets.grow), desk.token, changes=True), methods=["POST"]),
        Route("/levels", guarded(answering(budgets.levels), desk.token), methods=["POST"]),
        Route("/ledger", guarded(answering(budgets.ledger), desk.token), methods=["GET"]),
        Route("/alerts", guarded(answering(budgets.alerts), desk.token), methods=["GET"]),
    ]


class _Budgets:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def show(self, request: Request) -> Response:
        """All budgets, or those of ``tenant``, as they are now."""
        desk, now = self._desk, self._desk.clock()
        tenant = request.query_params.get("tenant") or None
        registry, raises = desk.registry(), await desk.identities.raises()
        keys = [key for key in registry.spending.keys.values() if tenant in (None, key.tenant)]
        keys += await desk.identities.keys(tenant=tenant, after="", limit=LARGEST_LIMIT)
        find = functools.partial(counters_of, registry, keys, raises, tenant=tenant, ledger=desk.ledger, now=now)
        counters = await run_in_threadpool(find)
        levels = await read_levels(desk, [query for counter in counters for query in counter.queries])
        standings = standings_of(registry, counters, levels, now)
        return JSONResponse(await run_in_threadpool(report, tenant, standings, desk.ledger))

    async def grow(self, request: Request) -> Response:
        """Adds an amount to a budget until a moment."""
        desk, now = self._desk, self._desk.clock()
        budget = await self._find(request.path_params["name"])
        granted = read_raise(await body_of(request), budget, now)
        stored = StoredRaise(secrets.token_hex(8), budget.name, granted)
        shown = {
            "id": stored.id,
            "budget": budget.name,
            **amounts(budget.unit, {"amount": granted.amount}),
            "since": show_time(granted.since),
            "until": show_time(granted.until),
        }
        detail = {name: str(value) for name, value in shown.items() if name not in ("id", "budget")}
        await desk.identities.add_raise(stored, desk.entry(request, "budget.raise", budget.name, detail | {"raise": stored.id}))
        return JSONResponse(shown, 201)

    async def levels(self, request: Request) -> Response:
        """How full the counters are that the body names: ``explain`` asks, which knows their names."""
        try:
            queries = msgspec.convert((await body_of(request)).get("queries"), list[Query])
        except msgspec.ValidationError as error:
            raise BadRequestError(f"queries: {error}") from None
        levels = await read_levels(self._desk, queries)
        return JSONResponse({"levels": [{"settled": level.settled, "held": level.held} for level in levels]})

    async def ledger(self, request: Request) -> Response:
        """Sums by the labels in ``per``, or the newest calls; any label with a value narrows them."""
        query, limit, path = request.query_params, limit_of(request), self._desk.ledger
        match = [(label, value) for label, value in query.multi_items() if label not in _NO_LABELS]
        try:
            if "per" in query:
                per = [label for label in query["per"].split(",") if label]
                since, until = _moment(query.get("since"), "since"), _moment(query.get("until"), "until")
                sums = await run_in_threadpool(spent, path, per, since=since or 0.0, until=until, match=match, limit=limit)
                return JSONResponse({"sums": [_show_sum(per, each) for each in sums]})
            before = number_of(request, "before", None, _LARGEST_SEQUENCE)
            rows = await run_in_threadpool(ledger_rows, path, match=match, before=before, limit=limit)
        except ValueError as error:
            raise BadRequestError(str(error)) from None
        calls = [_show_call(sequence, row) for sequence, row in rows]
        return JSONResponse({"calls": calls, "next": rows[-1][0] if len(rows) == limit else None})

    async def alerts(self, request: Request) -> Response:
        """The newest alerts that this instance raised."""
        limit, outbox = limit_of(request), self._desk.outbox()
        recent = [] if outbox is None else outbox.recent(limit)
        return JSONResponse(
            {
                "alerts": [
                    {
                        "at": show_time(stored.alert.at),
                        "budget": stored.alert.budget,
                        "threshold": stored.alert.threshold,
                        "text": text_of(stored.alert),
                        "delivery": stored.state,
                        "failed_deliveries": stored.tries,
                    }
                    for stored in recent
                ]
            }
        )

    async def _find(self, name: str) -> Budget:
        registry = self._desk.registry()
        candidates = list(registry.spending.budgets)
        kind, _, rest = name.partition(":")
        if kind == "key":
            key_id = rest.partition(":")[0]
            key: KeyGrant | None = registry.spending.keys.get(key_id) or await self._desk.identities.find(key_id)
            candidates += [] if key is None else budgets_for(Registry(), key)
        for budget in candidates:
            if budget.name == name:
                return budget
        raise NotFoundError("no such budget: `router-extproc budgets show` tells their names")


def read_raise(body: dict[str, Any], budget: Budget, now: float) -> Raise:
    """A raise as in router.yaml; ``since`` and ``until`` may also be durations from ``now`` on.

    Raises:
        BadRequestError: it is wrong; the message says where.
    """
    described = {name: moment_of(value, now, name) if name in ("since", "until") else value for name, value in body.items()}
    try:
        written = written_budgets.Raise.model_validate(described)
    except ValidationError as error:
        raise BadRequestError(problems_of(error, ("budgets", budget.name, "raises", 0))) from None
    if written.unit != budget.unit:
        raise BadRequestError(f"a raise in {written.unit} of a budget in {budget.unit} (write {budget.unit} instead)")
    if written.until <= now:
        raise BadRequestError("until: that is over already")
    return Raise(written.amount, written.until, written.since if written.since is not None else now)


def _show_sum(per: list[str], each: Any) -> dict[str, Any]:
    return {
        **dict(zip(per, each.labels, strict=True)),
        "calls": each.calls,
        "prompt_tokens": each.prompt_tokens,
        "completion_tokens": each.completion_tokens,
        "cached_tokens": each.cached_tokens,
        "cost_usd": show_usd(each.cost_micro_usd),
    }


def _show_call(sequence: int, row: Any) -> dict[str, Any]:
    shown = msgspec.structs.asdict(row)
    return {"sequence": sequence, **shown, "at": show_time(row.at), "cost_usd": show_usd(shown.pop("cost_micro_usd"))}


def _moment(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        return float(str(read_instant(text)))
    except ValueError as error:
        raise BadRequestError(f"{name}: {error} (write for example 2026-12-31 or 2026-12-31T18:00:00Z)") from None
