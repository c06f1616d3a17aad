"""The admin API for virtual keys and the audit log.

Rules of this file
- The text of a key is in the answer that makes or rotates it, and nowhere else: no log, no audit entry, no later answer.
- Keys that router.yaml declares are shown here and changed there.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router_extproc.config.values import read_duration
from router_extproc.errors import BadRequestError
from router_extproc.observer.admin_access import guarded
from router_extproc.observer.admin_errors import ConflictError, NotFoundError, answering
from router_extproc.observer.budget_words import describe_budget
from router_extproc.observer.desk import Desk, body_of, limit_of, number_of, show_time
from router_extproc.observer.key_changes import new_key, revoked, rotated, state_of, unknown_names
from router_extproc.registry.spending import KeyGrant
from router_extproc.store.identities import AuditEntry

_LARGEST_SEQUENCE = 10**15
_FILE, _API = "file", "api"


def key_routes(desk: Desk) -> list[Route]:
    """Keys and the audit log."""
    keys = _Keys(desk)
    return [
        Route("/keys", guarded(answering(keys.list), desk.token), methods=["GET"]),
        Route("/keys", guarded(answering(keys.create), desk.token, changes=True), methods=["POST"]),
        Route("/keys/{id}/rotate", guarded(answering(keys.rotate), desk.token, changes=True), methods=["POST"]),
        Route("/keys/{id}/revoke", guarded(answering(keys.revoke), desk.token, changes=True), methods=["POST"]),
        Route("/audit", guarded(answering(keys.audit), desk.token), methods=["GET"]),
    ]


class _Keys:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list(self, request: Request) -> Response:
        """Declared keys first, then the others by id; ``after`` turns the page."""
        desk, now = self._desk, self._desk.clock()
        tenant, after, limit = request.query_params.get("tenant"), request.query_params.get("after", ""), limit_of(request)
        declared = [] if after else list(desk.registry().spending.keys.values())
        made = await desk.identities.keys(tenant=tenant, after=after, limit=limit)
        shown = [show_key(key, now, _FILE) for key in declared if tenant in (None, key.tenant)]
        shown += [show_key(key, now, _API) for key in made]
        return JSONResponse({"keys": shown, "next": made[-1].id if len(made) == limit else None})

    async def create(self, request: Request) -> Response:
        """Makes a key; a tenant that nobody described begins to exist with it."""
        desk = self._desk
        randomness = desk.randomness()
        grant = new_key(await body_of(request), randomness, desk.clock())
        if unknown := unknown_names(grant, desk.registry()):
            raise BadRequestError("; ".join(unknown))
        await desk.identities.put_key(grant, desk.entry(request, "key.create", grant.id, _detail(grant)))
        mode = desk.registry().spending.auth.mode
        notice = {} if mode in (None, "keys") else {"notice": f"auth.mode is {mode}: no caller is asked for a key"}
        return JSONResponse(_shown_once(grant, randomness.shown(grant.id)) | notice, 201)

    async def rotate(self, request: Request) -> Response:
        """Gives a key another secret; the old one goes on for ``overlap``."""
        desk, now = self._desk, self._desk.clock()
        overlap, randomness = _overlap(await body_of(request)), desk.randomness()

        def rotate(grant: KeyGrant | None) -> tuple[KeyGrant, AuditEntry]:
            known = _known(grant)
            if (state := state_of(known, now)) != "active":
                raise ConflictError(f"this key is {state}")
            detail = {"tenant": known.tenant, "overlap": f"{overlap / 1_000:g}s"}
            return rotated(known, randomness, now, overlap), desk.entry(request, "key.rotate", known.id, detail)

        changed = await desk.identities.change_key(self._changeable(request), rotate)
        ends = show_time(now + overlap / 1_000)
        return JSONResponse(_shown_once(changed, randomness.shown(changed.id)) | {"previous_valid_until": ends})

    async def revoke(self, request: Request) -> Response:
        """Ends a key now. Again: it stays ended."""
        desk, now = self._desk, self._desk.clock()

        def revoke(grant: KeyGrant | None) -> tuple[KeyGrant, AuditEntry | None]:
            known = _known(grant)
            changed = revoked(known, now)
            entry = desk.entry(request, "key.revoke", known.id, {"tenant": known.tenant})
            return changed, None if changed == known else entry

        changed = await desk.identities.change_key(self._changeable(request), revoke)
        return JSONResponse(show_key(changed, now, _API))

    async def audit(self, request: Request) -> Response:
        """The newest changes first; ``before`` turns the page."""
        limit = limit_of(request)
        before = number_of(request, "before", None, _LARGEST_SEQUENCE)
        found = await self._desk.identities.audit(before=before, limit=limit)
        entries = [
            {
                "sequence": sequence,
                "id": entry.id,
                "at": show_time(entry.at),
                "actor": entry.actor,
                "action": entry.action,
                "subject": entry.subject,
                "detail": entry.detail,
            }
            for sequence, entry in found
        ]
        return JSONResponse({"entries": entries, "next": found[-1][0] if len(found) == limit else None})

    def _changeable(self, request: Request) -> str:
        """The id of the key that the request names."""
        key_id: str = request.path_params["id"]
        if key_id in self._desk.registry().spending.keys:
            raise ConflictError("this key is declared in router.yaml: change it there")
        return key_id


def show_key(grant: KeyGrant, now: float, source: str) -> dict[str, Any]:
    """A key without anything that could be shown for it."""
    permissions = grant.permissions
    return {
        "id": grant.id,
        "tenant": grant.tenant,
        "state": state_of(grant, now),
        "source": source,
        "team": grant.team,
        "user": grant.user,
        "tags": grant.tags,
        "tier": grant.tier,
        "features": list(grant.features),
        "priority": grant.priority,
        "permissions": {
            name: list(value) if isinstance(value, tuple) else value
            for name in permissions.__struct_fields__
            if (value := getattr(permissions, name)) is not None
        },
        "budgets": [describe_budget(budget, grant.tenant) for budget in grant.budgets],
        "expires_at": show_time(grant.expires_at),
        "revoked_at": show_time(grant.revoked_at),
    }


def _known(grant: KeyGrant | None) -> KeyGrant:
    if grant is None:
        raise NotFoundError("no such key")
    return grant


def _shown_once(grant: KeyGrant, shown: str) -> dict[str, Any]:
    return {
        "id": grant.id,
        "key": shown,
        "tenant": grant.tenant,
        "expires_at": show_time(grant.expires_at),
        "budgets": [describe_budget(budget, grant.tenant) for budget in grant.budgets],
    }


def _detail(grant: KeyGrant) -> dict[str, str]:
    """What auditors want to see of a new key: whose it is, and all that it may. An empty list allows nothing, and is told."""
    written = {
        "tenant": grant.tenant,
        "team": grant.team,
        "user": grant.user,
        "expires_at": show_time(grant.expires_at) or "",
        "tier": grant.tier,
        "priority": grant.priority or "",
        "features": ",".join(grant.features),
        "tags": ",".join(f"{name}={value}" for name, value in grant.tags.items()),
        "budgets": ",".join(budget.name for budget in grant.budgets),
    }
    permissions = {
        name: (",".join(value) or "none") if isinstance(value, tuple) else str(value)
        for name in grant.permissions.__struct_fields__
        if (value := getattr(grant.permissions, name)) is not None
    }
    return {name: value for name, value in written.items() if value} | permissions


def _overlap(body: dict[str, Any]) -> int:
    """Milliseconds; none when nothing is written."""
    if unknown := sorted(set(body) - {"overlap"}):
        raise BadRequestError(f"{unknown[0]}: unknown key")
    written = body.get("overlap", 0)
    if written in (0, "0", "0s"):
        return 0
    try:
        return int(str(read_duration(written)))
    except ValueError as problem:
        raise BadRequestError(f"overlap: {problem} (write for example 1h)") from None
