"""Tenants, keys, budgets and limits of the file as values of the registry: defaults written out, shorthand expanded.

What a provider allows becomes budgets like any other, named ``provider:NAME:UNIT`` and ``credential:DEPLOYMENT:UNIT``; what
may be spent there is ``provider:NAME:budget``, a budget of one key ``key:ID:NAME``. Budgets that the file names have no
colon in their names, so none is taken twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from router_extproc.account import Unit
from router_extproc.caller import Permissions
from router_extproc.config import budgets as written_budgets
from router_extproc.config import tenants as written_tenants
from router_extproc.config.auth import Auth
from router_extproc.config.deployments import ConfiguredDeployment
from router_extproc.config.schema import RouterConfig
from router_extproc.config.store import Store
from router_extproc.config.traffic import ProviderLimits
from router_extproc.registry.spending import (
    Alerts,
    AuthMode,
    AuthSettings,
    Budget,
    Jwt,
    KeyGrant,
    LoopGuard,
    Mesh,
    Raise,
    Spending,
    StoreSettings,
    Tenant,
    Waiting,
    Window,
    name_of_key_budget,
)

PROVIDER_WINDOW = Window(rolling_seconds=60)
_SECOND_MS = 1_000
_HOUR_SECONDS = 3_600
_WARN_AT = (0.8,)
_DOWNGRADE_AT = 0.9
# The calendar units over which an alert at every turn would be noise.
_SHORT = frozenset({"second", "minute"})
_LIMITS: dict[str, Unit] = {"requests_per_minute": "requests", "tokens_per_minute": "tokens", "parallel": "parallel"}


def compile_spending(config: RouterConfig, deployments: tuple[ConfiguredDeployment, ...]) -> Spending:
    """Everything about who may spend what."""
    keys = {name: compile_key(name, key) for name, key in config.keys.items()}
    own = tuple(_budget(name, budget) for name, budget in config.budgets.items())
    spent = tuple(_provider_budget(name, each.budget) for name, each in config.providers.items() if each.budget is not None)
    auth = _auth(config.auth, has_keys=bool(keys))
    on_router_failure = config.defaults.on_router_failure
    # What a provider allows is not counted here: the provider itself refuses what is beyond it.
    kept = (*own, *spent, *(budget for key in keys.values() for budget in key.budgets))
    is_guarded = auth.mode not in (None, "none") or any(budget.mode == "enforce" for budget in kept)
    return Spending(
        auth=auth,
        tenants={name: _tenant(tenant) for name, tenant in config.tenants.items()},
        keys=keys,
        budgets=(*own, *spent, *_provider_limits(config, deployments)),
        store=_store(config.store),
        alerts=_alerts(config),
        loop_guard=_loop_guard(config),
        waiting=Waiting(
            max_wait_ms=config.waiting.max_wait,
            max_waiters=config.waiting.max_waiters,
            learned=config.waiting.learned,
            interactive_share=config.waiting.interactive_share,
        ),
        refuses_undecided=is_guarded if on_router_failure is None else on_router_failure == "refuse",
        on_router_failure=on_router_failure,
    )


def _auth(written: Auth, *, has_keys: bool) -> AuthSettings:
    """Keys that the file declares exist: where it says nothing else, everybody is asked for one."""
    mode: AuthMode | None = "keys" if written.mode is None and has_keys else written.mode
    claims = None if written.jwt is None else written.jwt.claims
    return AuthSettings(
        mode=mode,
        trusted=written.trusted,
        jwt=Jwt() if claims is None else Jwt(claims.tenant, claims.user or "", claims.team or "", dict(claims.tags)),
        mesh=Mesh() if written.mesh is None else Mesh(dict(written.mesh.identities)),
    )


def _permissions(written: written_tenants.Permissions) -> Permissions:
    return Permissions(
        routes=written.routes,
        models=written.models,
        tiers=written.tiers,
        regions=written.regions,
        max_context_tokens=written.max_context_tokens,
        max_output_tokens=written.max_output_tokens,
    )


def _tenant(written: written_tenants.Tenant) -> Tenant:
    return Tenant(
        permissions=_permissions(written.permissions),
        tier=written.tier or "",
        features=written.features,
        tags=dict(written.tags),
        priority=written.priority,
    )


def compile_key(name: str, written: written_tenants.Key) -> KeyGrant:
    """The key alone: what it shares with its tenant is put together where a caller is known."""
    digests = ((written.digest, None),) if written.digest is not None else ()
    return KeyGrant(
        id=name,
        tenant=written.tenant,
        digests=(*digests, *((each.digest, each.until) for each in written.digests)),
        team=written.team or "",
        user=written.user or "",
        tags=dict(written.tags),
        tier=written.tier or "",
        features=written.features,
        priority=written.priority,
        permissions=_permissions(written.permissions),
        budgets=tuple(_key_budget(name, called, budget) for called, budget in written.budgets.items()),
        expires_at=written.expires,
        revoked_at=written.revoked,
    )


def _key_budget(key: str, name: str, written: written_budgets.Budget) -> Budget:
    budget = _budget(name_of_key_budget(key, name), written)
    return replace(budget, match=(("key", key), *budget.match))


def _budget(name: str, written: written_budgets.Budget) -> Budget:
    budget = _counted(name, written.unit, written.amount, written, written.window_in_force)
    downgrade_at = written.downgrade_at
    if downgrade_at is None and written.unit in ("usd", "tokens"):
        downgrade_at = _DOWNGRADE_AT
    return replace(
        budget,
        raises=tuple(Raise(each.amount, each.until, each.since or 0.0) for each in written.raises),
        match=tuple(written.match.items()),
        per=written.per,
        downgrade_at=None if downgrade_at == 1 else downgrade_at,
        assume_max_output_tokens=written.assume_max_output_tokens,
        rollover_since=written.rollover_since,
    )


def _counted(
    name: str,
    unit: Unit,
    cap: int,
    written: written_budgets.Budget | written_budgets.ProviderBudget,
    written_window: written_budgets.Window,
) -> Budget:
    window = _window(written_window)
    return Budget(
        name=name,
        unit=unit,
        cap=cap,
        window=window,
        mode=written.mode,
        warn_at=_default_warnings(unit, window) if written.warn_at is None else tuple(sorted(set(written.warn_at))),
        downgrade_at=None,
        at_cap=written.at_cap,
        on_store_failure=written.on_store_failure,
        local_share=written.local_share,
    )


def _window(written: written_budgets.Window) -> Window:
    if written.rolling is not None:
        return Window(rolling_seconds=written.rolling // _SECOND_MS)
    return Window(calendar=written.calendar, timezone=written.timezone)


def _default_warnings(unit: Unit, window: Window) -> tuple[float, ...]:
    """One alert a minute helps nobody: short windows and requests in progress have none unless the file says so."""
    is_short = window.calendar in _SHORT or (window.rolling_seconds is not None and window.rolling_seconds < _HOUR_SECONDS)
    return () if unit == "parallel" or is_short else _WARN_AT


def _provider_budget(provider: str, written: written_budgets.ProviderBudget) -> Budget:
    counted = _counted(f"provider:{provider}:budget", "usd", written.usd, written, written.window)
    return replace(counted, match=(("provider", provider),))


def _provider_limits(config: RouterConfig, deployments: tuple[ConfiguredDeployment, ...]) -> Iterator[Budget]:
    for name, provider in config.providers.items():
        yield from _limits(f"provider:{name}", ("provider", name), provider.limits)
    for deployment in deployments:
        if deployment.credential is not None:
            place = ("deployment", deployment.name)
            yield from _limits(f"credential:{deployment.name}", place, deployment.credential.limits)


def _limits(name: str, place: tuple[str, str], written: ProviderLimits) -> Iterator[Budget]:
    """The provider refuses what is beyond its limits by itself: so they alert nobody and stay open without the store."""
    for key, unit in _LIMITS.items():
        amount = getattr(written, key)
        if amount is not None:
            window = Window() if unit == "parallel" else PROVIDER_WINDOW
            limit = Budget(name=f"{name}:{unit}", unit=unit, cap=amount, window=window, match=(place,))
            yield replace(limit, warn_at=(), downgrade_at=None)


def _store(written: Store) -> StoreSettings:
    redis = written.redis
    if redis is None:
        return StoreSettings(deadline_ms=written.deadline, reservation_ms=written.reservation)
    sentinel = redis.sentinel
    sentinel_password = None if sentinel is None else sentinel.password
    return StoreSettings(
        kind="redis_cluster" if redis.cluster else "redis_sentinel" if sentinel else "redis",
        urls=redis.urls,
        username=redis.username,
        password_env=None if redis.password is None else redis.password.env,
        password_file=None if redis.password is None else redis.password.file,
        certificate_authority=redis.certificate_authority,
        certificate=redis.certificate,
        key=redis.key,
        sentinel_service="" if sentinel is None else sentinel.service,
        sentinel_username=None if sentinel is None else sentinel.username,
        sentinel_password_env=None if sentinel_password is None else sentinel_password.env,
        sentinel_password_file=None if sentinel_password is None else sentinel_password.file,
        prefix=redis.prefix,
        deadline_ms=written.deadline,
        reservation_ms=written.reservation,
    )


def _alerts(config: RouterConfig) -> Alerts:
    webhook = config.alerts.webhook
    return Alerts() if webhook is None else Alerts(webhook.env, webhook.file, webhook.url)


def _loop_guard(config: RouterConfig) -> LoopGuard:
    written = config.loop_guard
    return LoopGuard(
        mode=written.mode,
        repeats=written.repeats,
        steps=written.steps,
        cap=written.usd,
        window_seconds=-(-written.window // _SECOND_MS),
    )
