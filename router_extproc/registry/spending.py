"""Tenants, keys, budgets and limits as compiled from ``router.yaml``: nothing is left to look up but keys made at run time.

Rules of this file
- Values only, encoded into the snapshot; amounts are whole numbers (micro-dollars for usd), times epoch seconds.
- Labels are how budgets find requests: ``tenant team user key session route model provider deployment`` and
  ``tag:NAME``. A label that a request lacks is the empty text.
"""

from __future__ import annotations

import functools
from typing import Literal

import msgspec

from router_extproc.account import Unit
from router_extproc.caller import EVERYTHING, INTERACTIVE, Permissions

Mode = Literal["off", "observe", "enforce"]
AtCap = Literal["reject", "allow_and_flag"]
OnStoreFailure = Literal["fail_open", "fail_closed", "local_share"]
AuthMode = Literal["none", "keys", "jwt", "mesh"]
OnRouterFailure = Literal["allow", "refuse"]
Calendar = Literal["second", "minute", "hour", "day", "week", "month"]

# Labels that say where a request goes: a budget on them counts each place of the chain, and closes places, not requests.
PLACE_LABELS = frozenset({"provider", "model", "deployment"})


class Window(msgspec.Struct, frozen=True):
    """``rolling_seconds`` back from now, or the ``calendar`` unit of ``timezone`` (IANA) that now is in. Neither: for ever."""

    rolling_seconds: int | None = None
    calendar: Calendar | None = None
    timezone: str = "UTC"


class Raise(msgspec.Struct, frozen=True):
    """A further ``amount`` from ``since`` on, until ``until``."""

    amount: int
    until: float
    since: float = 0.0


class Budget(msgspec.Struct, frozen=True):
    """A cap on what the requests that match may use together, or each value of ``per`` for itself.

    ``match`` are (label, value) pairs that all must hold, a value ending in ``*`` by prefix. A request that lacks a label of
    ``per`` is not counted. ``warn_at`` and ``downgrade_at`` are shares of the cap, ``local_share`` the share of it that this
    instance may spend alone while the store cannot be reached. Calendar windows that begin at ``rollover_since`` (epoch
    seconds) or later leave what they did not use to the next one; None: no window does.
    """

    name: str
    unit: Unit
    cap: int
    window: Window = Window()
    match: tuple[tuple[str, str], ...] = ()
    per: tuple[str, ...] = ()
    mode: Mode = "enforce"
    warn_at: tuple[float, ...] = (0.8,)
    downgrade_at: float | None = 0.9
    at_cap: AtCap = "reject"
    on_store_failure: OnStoreFailure = "fail_open"
    local_share: float = 0.1
    assume_max_output_tokens: int | None = None
    raises: tuple[Raise, ...] = ()
    rollover_since: float | None = None

    @property
    def is_of_place(self) -> bool:
        """Whether it counts what a provider, model or deployment is sent."""
        return _names_place(self.per, self.match)


# Asked of each budget several times a request.
@functools.lru_cache(maxsize=4_096)
def _names_place(per: tuple[str, ...], match: tuple[tuple[str, str], ...]) -> bool:
    return not PLACE_LABELS.isdisjoint((*per, *(label for label, _ in match)))


class Tenant(msgspec.Struct, frozen=True):
    """What holds for everybody of a tenant."""

    permissions: Permissions = EVERYTHING
    tier: str = ""
    features: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    priority: str = INTERACTIVE


class KeyGrant(msgspec.Struct, frozen=True):
    """A virtual key: whom it stands for. ``digests`` are ``sha256:SALT:HEX`` of what may be shown for it, each with the epoch
    second at which it ends (None: never): two while a rotation overlaps.
    """

    id: str
    tenant: str
    digests: tuple[tuple[str, float | None], ...]
    team: str = ""
    user: str = ""
    tags: dict[str, str] = {}
    tier: str = ""
    features: tuple[str, ...] = ()
    priority: str | None = None
    permissions: Permissions = EVERYTHING
    budgets: tuple[Budget, ...] = ()
    expires_at: float | None = None
    revoked_at: float | None = None


class Jwt(msgspec.Struct, frozen=True):
    """Which claims of a verified token say who calls; dots lead into objects. Envoy verifies, by its own configuration."""

    tenant: str = "tenant"
    user: str = "sub"
    team: str = ""
    tags: dict[str, str] = {}


class Mesh(msgspec.Struct, frozen=True):
    """Tenant by SPIFFE id; ids that end in ``*`` match by prefix, the longest first."""

    identities: dict[str, str] = {}


class AuthSettings(msgspec.Struct, frozen=True):
    """``mode`` None: nobody is asked until a key exists, then everybody is. ``trusted``: callers' own claims are believed."""

    mode: AuthMode | None = None
    trusted: bool = False
    jwt: Jwt = Jwt()
    mesh: Mesh = Mesh()


class StoreSettings(msgspec.Struct, frozen=True):
    """Where counters live. ``kind`` sqlite needs nothing else. Passwords are read where they lie, never put here.

    ``urls`` are ``redis://`` or ``rediss://`` without password, several for a cluster or for sentinels. Sentinels have a user
    and a password of their own.
    """

    kind: Literal["sqlite", "redis", "redis_cluster", "redis_sentinel"] = "sqlite"
    urls: tuple[str, ...] = ()
    username: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    certificate_authority: str | None = None
    certificate: str | None = None
    key: str | None = None
    sentinel_service: str = ""
    sentinel_username: str | None = None
    sentinel_password_env: str | None = None
    sentinel_password_file: str | None = None
    prefix: str = "router"
    deadline_ms: int = 20
    reservation_ms: int = 3_600_000


class Alerts(msgspec.Struct, frozen=True):
    """Where alerts go beside log and metrics; a webhook's URL may be a secret and is read where it lies."""

    webhook_env: str | None = None
    webhook_file: str | None = None
    webhook_url: str | None = None


class LoopGuard(msgspec.Struct, frozen=True):
    """When a session is warned, asked for a summary, stopped: by near-identical requests, steps, or micro-dollars."""

    mode: Mode = "off"
    repeats: int = 5
    steps: int | None = None
    cap: int | None = None
    window_seconds: int = 3_600


class Waiting(msgspec.Struct, frozen=True):
    """How long a request may wait for a provider's limit to reset when nothing else has room, and how many may.

    ``learned`` is what follows where waiting does not help and the limits are those that providers tell themselves: ``enforce``
    refuses, ``try`` asks the provider all the same.
    """

    max_wait_ms: int = 2_000
    max_waiters: int = 100
    learned: str = "enforce"
    # The share of every limit and queue that batch work leaves to interactive work.
    interactive_share: float = 0.1


class Spending(msgspec.Struct, frozen=True):
    """Everything about who may spend what. ``refuses_undecided``: Envoy answers 503 where no worker decided."""

    auth: AuthSettings = AuthSettings()
    tenants: dict[str, Tenant] = {}
    keys: dict[str, KeyGrant] = {}
    budgets: tuple[Budget, ...] = ()
    store: StoreSettings = StoreSettings()
    alerts: Alerts = Alerts()
    loop_guard: LoopGuard = LoopGuard()
    waiting: Waiting = Waiting()
    refuses_undecided: bool = False
    # What the file's defaults say of such requests; None where they say nothing, so that the first key decides.
    on_router_failure: OnRouterFailure | None = None


NO_SPENDING = Spending()


def name_of_key_budget(key: str, name: str) -> str:
    """What the budget ``name`` of one virtual key is called among all budgets; ``key`` is its id."""
    return f"key:{key}:{name}"
