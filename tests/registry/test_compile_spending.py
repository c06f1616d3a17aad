"""Tenants, keys, budgets and limits, from the file to the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.caller import Permissions
from router_extproc.config.load import parse_config
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.snapshot import Registry, encode_registry, read_registry
from router_extproc.registry.spending import (
    NO_SPENDING,
    Alerts,
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
)

PROVIDERS = """\
providers:
  openai:
    base_url: https://api.openai.com/v1
    region: us
    models: [gpt-4o, gpt-4o-mini]
"""
DIGEST = "sha256:0011223344556677:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER_DIGEST = "sha256:0011223344556677:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
NEW_YEAR_2030 = 1_893_456_000.0


def compiled(text: str) -> Registry:
    return compile_registry(parse_config(PROVIDERS + text), load_catalogue())


def spending(text: str) -> Spending:
    return compiled(text).spending


def budget(text: str) -> Budget:
    (found,) = spending(f"tenants: {{search: {{}}}}\nbudgets: {{one: {text}}}\n").budgets
    return found


def test_a_file_that_says_nothing_asks_and_counts_nothing() -> None:
    """Without any of these sections there is nothing for a worker to do."""
    assert spending("") == NO_SPENDING


def test_a_snapshot_holds_all_of_it(tmp_path: Path) -> None:
    """What the control side compiles is what a worker reads."""
    registry = compiled(
        f"auth: keys\ntenants: {{a: {{}}}}\nkeys: {{k: {{tenant: a, digest: '{DIGEST}'}}}}\nbudgets: {{b: {{usd: 1}}}}\n"
    )
    assert registry.spending.keys["k"].tenant == "a"
    file = tmp_path / "snapshot.json"
    file.write_bytes(encode_registry(registry))
    assert read_registry(file).spending == registry.spending


def test_a_change_of_a_budget_is_another_revision() -> None:
    """Whoever compares revisions sees that an amount has changed."""
    assert compiled("budgets: {b: {usd: 1}}\n").revision != compiled("budgets: {b: {usd: 2}}\n").revision


def test_defaults_of_a_budget_in_money() -> None:
    """Alerted at 80 %, downgraded at 90 %, refused at the end; open when the store is down; for ever."""
    assert budget("{usd: 12.5}") == Budget(
        name="one",
        unit="usd",
        cap=12_500_000,
        window=Window(),
        mode="enforce",
        warn_at=(0.8,),
        downgrade_at=0.9,
        at_cap="reject",
        on_store_failure="fail_closed",
        local_share=0.1,
    )


@pytest.mark.parametrize(
    ("written", "warn_at", "downgrade_at"),
    [
        ("{tokens: 10, window: month}", (0.8,), 0.9),
        ("{requests: 10, window: day}", (0.8,), None),
        ("{requests: 10, window: minute}", (), None),
        ("{requests: 10, window: {rolling: 1m}}", (), None),
        ("{usd: 10, window: {rolling: 1h}}", (0.8,), 0.9),
        ("{parallel: 10}", (), None),
        ("{iterations: 10, per: session}", (0.8,), None),
        ("{parallel: 10, warn_at: 0.5}", (0.5,), None),
        ("{usd: 10, warn_at: [0.9, 0.5, 0.9]}", (0.5, 0.9), 0.9),
        ("{usd: 10, warn_at: []}", (), 0.9),
        ("{usd: 10, downgrade_at: 1}", (0.8,), None),
        ("{usd: 10, downgrade_at: 0}", (0.8,), 0),
    ],
)
def test_what_happens_near_a_cap_depends_on_what_is_counted(
    written: str, warn_at: tuple[float, ...], downgrade_at: float | None
) -> None:
    """Nobody is alerted every minute, and a cheaper model is no help against a number of requests."""
    found = budget(written)
    assert (found.warn_at, found.downgrade_at) == (warn_at, downgrade_at)


@pytest.mark.parametrize(
    ("written", "window"),
    [
        ("{usd: 10, per: session}", Window(rolling_seconds=30 * 86_400)),
        ("{iterations: 10, per: [team, session]}", Window(rolling_seconds=30 * 86_400)),
        ("{requests: 10, per: user}", Window(rolling_seconds=30 * 86_400)),
        ("{usd: 10, per: session, window: day}", Window(calendar="day")),
        ("{usd: 10, per: user, window: forever}", Window()),
        ("{usd: 10, per: tenant}", Window()),
        ("{parallel: 10, per: session}", Window()),
    ],
)
def test_what_clients_name_is_not_kept_for_ever(written: str, window: Window) -> None:
    """There is no end of sessions: without a window each is counted over thirty days."""
    assert budget(written).window == window


@pytest.mark.parametrize(
    ("written", "window"),
    [
        ("day", Window(calendar="day")),
        ("forever", Window()),
        ("{rolling: 1h}", Window(rolling_seconds=3_600)),
        ("{rolling: 90}", Window(rolling_seconds=90)),
        ("{calendar: month, timezone: Europe/Berlin}", Window(calendar="month", timezone="Europe/Berlin")),
    ],
)
def test_windows(written: str, window: Window) -> None:
    """A word is a calendar window in UTC; a rolling one is in seconds."""
    assert budget(f"{{usd: 1, window: {written}}}").window == window


@pytest.mark.parametrize(
    ("written", "since"),
    [
        ("month, rollover: true", 0.0),
        ("month, rollover: false", None),
        ("month", None),
        ("month, rollover: 2030-06-01", 1_906_502_400.0),
        ("{calendar: month, timezone: Europe/Berlin}, rollover: 2030-06-01", 1_906_495_200.0),
        ("{calendar: month, timezone: America/New_York}, rollover: 2030-06-01", 1_906_516_800.0),
        ("{calendar: month, timezone: Europe/Berlin}, rollover: 2030-06-01T00:00:00Z", 1_906_502_400.0),
    ],
)
def test_a_day_of_rollover_begins_where_its_window_does(written: str, since: float | None) -> None:
    """The window that begins on that day there is the first one that leaves something; a time says its own zone."""
    assert budget(f"{{usd: 1, window: {written}}}").rollover_since == since


def test_every_key_of_a_budget_arrives() -> None:
    """Nothing that is written is lost."""
    assert budget(
        "{tokens: 10, match: {tenant: search, 'tag:project': 'a*'}, per: [team, user], mode: observe, at_cap: allow_and_flag,"
        " on_store_failure: local_share, local_share: 0.25, assume_max_output_tokens: 500, downgrade_at: 0.95,"
        " raises: [{tokens: 5, since: 2030-01-01, until: 2030-01-02}, {tokens: 6, until: 2030-01-01}]}"
    ) == Budget(
        name="one",
        unit="tokens",
        cap=10,
        window=Window(rolling_seconds=30 * 86_400),
        match=(("tenant", "search"), ("tag:project", "a*")),
        per=("team", "user"),
        mode="observe",
        downgrade_at=0.95,
        at_cap="allow_and_flag",
        on_store_failure="local_share",
        local_share=0.25,
        assume_max_output_tokens=500,
        raises=(Raise(5, NEW_YEAR_2030 + 86_400, NEW_YEAR_2030), Raise(6, NEW_YEAR_2030)),
    )


def test_a_key_s_own_budget_counts_that_key_alone() -> None:
    """It is named by the key, and no other key falls under it."""
    own = "{daily: {usd: 1, match: {model: gpt-4o}}}"
    text = f"tenants: {{a: {{}}}}\nkeys: {{ci: {{tenant: a, digest: '{DIGEST}', budgets: {own}}}}}\n"
    (found,) = spending(text).keys["ci"].budgets
    assert found.name == "key:ci:daily"
    assert found.match == (("key", "ci"), ("model", "gpt-4o"))


def test_every_key_of_a_tenant_and_a_virtual_key_arrives() -> None:
    """Nothing that is written is lost, and what is left out allows everything."""
    found = spending(
        "auth: {mode: keys, trusted: true}\n"
        "tenants:\n"
        "  acme:\n"
        "    tier: gold\n    features: [beta]\n    tags: {project: apollo}\n    priority: batch\n"
        "    permissions: {routes: [auto], models: ['gpt-*'], tiers: [economy], regions: [us],"
        " max_context_tokens: 10, max_output_tokens: 5}\n"
        "  plain: {}\n"
        "keys:\n"
        "  ci:\n"
        f"    tenant: acme\n    digests: ['{DIGEST}', {{digest: '{OTHER_DIGEST}', until: 2030-01-01}}]\n"
        "    team: search\n    user: me@example.com\n    tags: {project: gemini}\n    tier: silver\n    features: [tools]\n"
        "    priority: interactive\n    expires: 2030-01-01\n    permissions: {models: []}\n    revoked: true\n"
    )
    assert found.auth == AuthSettings(mode="keys", trusted=True)
    assert found.tenants == {
        "acme": Tenant(
            permissions=Permissions(("auto",), ("gpt-*",), ("economy",), ("us",), 10, 5),
            tier="gold",
            features=("beta",),
            tags={"project": "apollo"},
            priority="batch",
        ),
        "plain": Tenant(),
    }
    assert found.keys == {
        "ci": KeyGrant(
            id="ci",
            tenant="acme",
            digests=((DIGEST, None), (OTHER_DIGEST, NEW_YEAR_2030)),
            team="search",
            user="me@example.com",
            tags={"project": "gemini"},
            tier="silver",
            features=("tools",),
            priority="interactive",
            permissions=Permissions(models=()),
            expires_at=NEW_YEAR_2030,
            revoked_at=0.0,
        )
    }


def test_a_declared_key_is_a_key_that_exists() -> None:
    """Where the file declares a key and says nothing else, everybody is asked for one; ``none`` stays none."""
    declared = f"tenants: {{a: {{}}}}\nkeys: {{k: {{tenant: a, digest: '{DIGEST}'}}}}\n"
    assert spending(declared).auth.mode == "keys"
    assert spending(declared + "auth: none\n").auth.mode == "none"
    assert spending("tenants: {a: {}}\n").auth.mode is None


def test_tokens_and_certificates() -> None:
    """What a worker needs of them: which claims, and which names; how they are verified is Envoy's business."""
    jwt = "{issuer: me, jwks_file: keys.json, claims: {tenant: org.id, user: null, team: t, tags: {project: p}}}"
    assert spending(f"auth: {{mode: jwt, jwt: {jwt}}}\n").auth == AuthSettings(
        mode="jwt", jwt=Jwt("org.id", "", "t", {"project": "p"})
    )
    mesh = "{certificate_authority: ca.pem, identities: {'spiffe://a/*': acme}}"
    tls = "listener: {tls: {certificate: c.pem, key: k.pem}}\n"
    found = spending(f"{tls}tenants: {{acme: {{}}}}\nauth: {{mode: mesh, mesh: {mesh}}}\n")
    assert found.auth == AuthSettings(mode="mesh", mesh=Mesh({"spiffe://a/*": "acme"}))


def test_limits_of_a_provider_are_budgets_of_its_place() -> None:
    """They are counted over rolling minutes, and nobody is alerted; what may be spent there is alerted as other money."""
    text = "    limits: {requests_per_minute: 60, tokens_per_minute: 1000, parallel: 3}\n    budget: {usd: 5, window: day}\n"
    place = (("provider", "openai"),)
    minute = Window(rolling_seconds=60)
    assert spending(text).budgets == (
        Budget(
            "provider:openai:budget",
            "usd",
            5_000_000,
            Window(calendar="day"),
            match=place,
            downgrade_at=None,
            on_store_failure="fail_closed",
        ),
        Budget("provider:openai:requests", "requests", 60, minute, match=place, warn_at=(), downgrade_at=None),
        Budget("provider:openai:tokens", "tokens", 1_000, minute, match=place, warn_at=(), downgrade_at=None),
        Budget("provider:openai:parallel", "parallel", 3, match=place, warn_at=(), downgrade_at=None),
    )
    assert all(each.is_of_place for each in spending(text).budgets)


def test_limits_of_a_credential_hold_for_each_of_its_deployments() -> None:
    """A provider counts each model of a key for itself, and so do we."""
    text = (
        "    credentials:\n"
        "      - {name: a, env: A, limits: {requests_per_minute: 5}}\n"
        "      - {name: b, env: B}\n"
        "  single:\n"
        "    base_url: https://api.mistral.ai/v1\n"
        "    credentials: [{env: C, limits: {parallel: 2}}]\n"
        "    models: [mistral-small-latest]\n"
    )
    assert [(each.name, each.match) for each in spending(text).budgets] == [
        ("credential:openai/gpt-4o@a:requests", (("deployment", "openai/gpt-4o@a"),)),
        ("credential:openai/gpt-4o-mini@a:requests", (("deployment", "openai/gpt-4o-mini@a"),)),
        ("credential:single/mistral-small-latest:parallel", (("deployment", "single/mistral-small-latest"),)),
    ]


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("", False),
        ("auth: none\n", False),
        ("auth: keys\n", True),
        ("auth: {mode: jwt, jwt: {issuer: me, jwks_file: k}}\n", True),
        ("budgets: {a: {usd: 1}}\n", True),
        ("budgets: {a: {usd: 1, mode: observe}, b: {usd: 1, mode: off}}\n", False),
        (f"tenants: {{a: {{}}}}\nkeys: {{k: {{tenant: a, digest: '{DIGEST}'}}}}\n", True),
        (
            f"auth: none\ntenants: {{a: {{}}}}\nkeys: {{k: {{tenant: a, digest: '{DIGEST}', budgets: {{b: {{usd: 1}}}}}}}}\n",
            True,
        ),
        ("    budget: {usd: 5}\n", True),
        ("    budget: {usd: 5, mode: observe}\n", False),
        ("    limits: {requests_per_minute: 5}\n", False),
        ("auth: keys\ndefaults: {on_router_failure: allow}\n", False),
        ("auth: keys\ndefaults: {on_router_failure: refuse}\n", True),
        ("defaults: {on_router_failure: refuse}\n", True),
    ],
)
def test_undecided_requests_are_refused_where_somebody_keeps_a_door(text: str, refuses: bool) -> None:  # noqa: FBT001 - a table
    """Keys, tokens, certificates or an enforced budget close the door; only the file itself opens it again."""
    assert spending(text).refuses_undecided is refuses


def test_the_file_s_own_word_about_undecided_requests_is_kept() -> None:
    """A first key made later closes the door only where the file says nothing."""
    assert spending("").on_router_failure is None
    assert spending("defaults: {on_router_failure: allow}\n").on_router_failure == "allow"
    routes = compiled("routes: {auto: {on_router_failure: allow, safety_critical: true}}\n").routes
    assert (routes["auto"].on_router_failure, routes["auto"].safety_critical) == ("allow", True)
    assert (routes["best"].on_router_failure, routes["best"].safety_critical) == (None, False)


@pytest.mark.parametrize(
    ("written", "settings"),
    [
        ("{}", StoreSettings()),
        ("{deadline: 5ms, reservation: 2h}", StoreSettings(deadline_ms=5, reservation_ms=7_200_000)),
        ("{redis: {url: 'redis://r:6379/1'}}", StoreSettings(kind="redis", urls=("redis://r:6379/1",))),
        (
            "{redis: {cluster: ['rediss://a:1', 'rediss://b:2'], username: me, password: {env: P}, prefix: p,"  # noqa: ISC004 - one text
            " certificate_authority: ca.pem, certificate: c.pem, key: k.pem}}",
            StoreSettings(
                kind="redis_cluster",
                urls=("rediss://a:1", "rediss://b:2"),
                username="me",
                password_env="P",  # noqa: S106 - the name of a variable
                certificate_authority="ca.pem",
                certificate="c.pem",
                key="k.pem",
                prefix="p",
            ),
        ),
        (
            "{redis: {sentinel: {service: main, urls: ['redis://s:26379']}, password: {file: secret}}}",
            StoreSettings(
                kind="redis_sentinel",
                urls=("redis://s:26379",),
                sentinel_service="main",
                password_file="secret",  # noqa: S106 - the path of a file
            ),
        ),
        (
            "{redis: {sentinel: {service: main, urls: ['rediss://s:26379'], username: watcher, password: {env: S}}}}",
            StoreSettings(
                kind="redis_sentinel",
                urls=("rediss://s:26379",),
                sentinel_service="main",
                sentinel_username="watcher",
                sentinel_password_env="S",  # noqa: S106 - the name of a variable
            ),
        ),
        (
            "{redis: {sentinel: {service: main, urls: ['redis://s:26379'], password: {file: watched}}, password: {env: P}}}",
            StoreSettings(
                kind="redis_sentinel",
                urls=("redis://s:26379",),
                password_env="P",  # noqa: S106 - the name of a variable
                sentinel_service="main",
                sentinel_password_file="watched",  # noqa: S106 - the path of a file
            ),
        ),
    ],
)
def test_stores(written: str, settings: StoreSettings) -> None:
    """The kind follows from what is written, and a password stays where it lies."""
    assert spending(f"store: {written}\n").store == settings


def test_alerts_waiting_and_loops() -> None:
    """Each in the units of the registry."""
    found = spending(
        "alerts: {webhook: {file: hook}}\n"
        "waiting: {max_wait: 500ms, max_waiters: 0, learned: try, interactive_share: 0}\n"
        "loop_guard: {mode: observe, repeats: 3, steps: 50, usd: 2.5, window: 1500ms}\n"
    )
    assert found.alerts == Alerts(webhook_file="hook")
    assert found.waiting == Waiting(max_wait_ms=500, max_waiters=0, learned="try", interactive_share=0.0)
    assert found.loop_guard == LoopGuard(mode="observe", repeats=3, steps=50, cap=2_500_000, window_seconds=2)


def test_no_two_budgets_have_one_name() -> None:
    """Counters are named by budgets: whatever a file calls its budgets, keys and providers, nothing is counted together."""
    found = spending(
        "    limits: {requests_per_minute: 1, tokens_per_minute: 1, parallel: 1}\n    budget: {usd: 1}\n"
        "    credentials: [{env: A, limits: {requests_per_minute: 1}}]\n"
        "  openai:requests:\n"
        "    base_url: https://api.mistral.ai/v1\n    models: [mistral-small-latest]\n"
        "    limits: {requests_per_minute: 1, tokens_per_minute: 1, parallel: 1}\n    budget: {usd: 1}\n"
        "tenants: {a: {}}\n"
        f"keys: {{k: {{tenant: a, digest: '{DIGEST}', budgets: {{budget: {{usd: 1}}, requests: {{usd: 1}}}}}}}}\n"
        "budgets: {provider: {usd: 1}, openai: {usd: 1}, budget: {usd: 1}}\n"
    )
    names = [each.name for each in (*found.budgets, *found.keys["k"].budgets)]
    assert len(names) == len(set(names)) == 15
