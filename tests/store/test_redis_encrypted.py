"""Redis behind TLS and access rules: what is checked, what a user needs, and what is said when it is missing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from router_extproc.errors import StartError
from router_extproc.registry.spending import KeyGrant, StoreSettings
from router_extproc.store.counters import Level, Query, Release, StoreUnavailableError, Total
from router_extproc.store.identities import AuditEntry
from router_extproc.store.redis_counters import RedisCounters
from router_extproc.store.redis_identities import RedisIdentities
from router_extproc.store.redis_start import check_redis
from tests.end_to_end.certificates import Authority
from tests.redis_servers import ROUTER_COMMANDS, RedisServer, encrypted_redis, kept_port, single_redis
from tests.store.redis_counting import NOW, UNTIL, encrypted, hold, ready, shown_in_vain, until_refused

ENVIRON = {"REDIS_PASSWORD": "horse"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with encrypted_redis(tmp_path_factory.mktemp("redis"), "router", "horse") as started:
        yield started


@pytest.fixture
def written(server: RedisServer) -> StoreSettings:
    return encrypted(server)


async def test_a_user_who_may_do_only_this(written: StoreSettings) -> None:
    """Over TLS, with the rights that the documentation names and no others, everything works."""
    await check_redis(written, ENVIRON)
    store = RedisCounters(written, ENVIRON, "ledger")
    identities = RedisIdentities(written, ENVIRON)
    try:
        await ready(store)
        await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
        await store.settle([Total("c", 0, 1, int(NOW) + 60)], [Release("a", ("c",))], NOW)
        assert await store.read([Query("c", 0)], NOW) == (Level(1, 0),)
        assert await store.claim("x", UNTIL, NOW)
        await identities.put([KeyGrant("k", "acme", ()), AuditEntry("a", 1.0, "admin", "key.create", "k")], 0)
        assert len((await identities.latest(0)).changes.keys) == 1
    finally:
        await store.aclose()
        await identities.aclose()


async def test_the_password_is_read_when_a_connection_is_made(
    server: RedisServer, written: StoreSettings, tmp_path: Path
) -> None:
    """A password that is changed in its file is used by the next connection, without a restart."""
    file = tmp_path / "password"
    file.write_text("horse\n")
    store = RedisCounters(msgspec.structs.replace(written, password_env=None, password_file=str(file)), {})
    try:
        await ready(store)
        with server.client() as looker:
            looker.execute_command("ACL", "SETUSER", "router", "resetpass", ">staple")
            file.write_text("staple")
            looker.client_kill_filter(_type="normal", skipme=True)
        await ready(store)
    finally:
        await store.aclose()
        with server.client() as looker:
            looker.execute_command("ACL", "SETUSER", "router", "resetpass", ">horse")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("-evalsha -eval", "eval"),
        ("-evalsha", "evalsha"),
        ("-hincrby -zadd", "may not use hincrby, zadd"),
        ("-info", "info"),
        ("resetkeys ~other:*", "refuses the user router"),
    ],
)
async def test_what_a_user_lacks_is_said_at_the_start(
    server: RedisServer, written: StoreSettings, rule: str, message: str
) -> None:
    """Blocked scripts, commands, keys and users are named before any request fails, with the rule that is needed."""
    with server.client() as looker:
        looker.execute_command("ACL", "SETUSER", "router", *rule.split())
    try:
        with pytest.raises(StartError, match=message) as refused:
            await until_refused(written, ENVIRON)
    finally:
        with server.client() as looker:
            looker.execute_command("ACL", "SETUSER", "router", "on", "resetkeys", "~router:*", *ROUTER_COMMANDS.split())
    assert f"~router:* {ROUTER_COMMANDS}" in str(refused.value)
    assert "horse" not in str(refused.value)


@pytest.mark.parametrize("right", ROUTER_COMMANDS.split())
async def test_no_right_is_asked_for_in_vain(server: RedisServer, written: StoreSettings, right: str) -> None:
    """Each of the rights that the documentation names is needed: the start notices when it is missing."""
    with server.client() as looker:
        looker.execute_command("ACL", "SETUSER", "router", f"-{right[1:]}")
    try:
        with pytest.raises(StartError, match=right[1:]):
            await until_refused(written, ENVIRON)
    finally:
        with server.client() as looker:
            looker.execute_command("ACL", "SETUSER", "router", right)


async def test_another_database_needs_one_more_right(server: RedisServer, written: StoreSettings) -> None:
    """Beyond database 0 the user has to be allowed to choose it: the start names that as well."""
    second = msgspec.structs.replace(written, urls=(f"{server.url}/2",))
    with pytest.raises(StartError, match=r"\+select$"):
        await until_refused(second, ENVIRON)
    with server.client() as looker:
        looker.execute_command("ACL", "SETUSER", "router", "+select")
    try:
        await check_redis(second, ENVIRON)
    finally:
        with server.client() as looker:
            looker.execute_command("ACL", "SETUSER", "router", "-select")


async def test_who_is_not_let_in_is_told_where_to_look(server: RedisServer, written: StoreSettings) -> None:
    """A user that is off is no matter of rights: what may be wrong is its name, its password, or the user itself."""
    with server.client() as looker:
        looker.execute_command("ACL", "SETUSER", "router", "off")
    try:
        with pytest.raises(StartError, match=r"refuses the user router: .*store\.redis\.username and store\.redis\.password"):
            await until_refused(written, ENVIRON)
    finally:
        with server.client() as looker:
            looker.execute_command("ACL", "SETUSER", "router", "on")


async def test_a_wrong_password_is_said_and_not_shown(written: StoreSettings, caplog: pytest.LogCaptureFixture) -> None:
    """The start names the user; neither it nor what fails later shows the password."""
    caplog.set_level(logging.DEBUG)
    environ = {"REDIS_PASSWORD": "wrong-battery"}
    with pytest.raises(StartError, match="refuses the user router") as refused:
        await until_refused(written, environ)
    shown = [
        str(refused.value),
        *(await shown_in_vain(written, environ)),
        *(repr(record.__dict__) for record in caplog.records),
    ]
    assert not [text for text in shown if "wrong-battery" in text]


async def test_a_stranger_s_certificate_is_not_trusted(written: StoreSettings, tmp_path: Path) -> None:
    """Another authority's certificate ends the start, and no command is sent later either."""
    strange = msgspec.structs.replace(written, certificate_authority=str(Authority(tmp_path, "stranger").file))
    with pytest.raises(StartError, match="cannot be trusted"):
        await until_refused(strange, ENVIRON)
    store = RedisCounters(strange, ENVIRON)
    try:
        with pytest.raises(StoreUnavailableError):
            await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
    finally:
        await store.aclose()


async def test_a_server_that_is_away_does_not_stop_the_start(
    server: RedisServer, written: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """It may come: until then budgets do what is written for it. The log says so."""
    nobody = kept_port()
    away = msgspec.structs.replace(written, urls=(f"rediss://127.0.0.1:{nobody.number}",))
    await check_redis(away, ENVIRON)
    assert "store cannot be reached at the start" in caplog.text


async def test_scripts_that_are_renamed_away_are_said(tmp_path: Path) -> None:
    """Some keepers of Redis take EVAL away for everybody; that too is named at the start."""
    options = ['rename-command EVAL ""', 'rename-command EVALSHA ""']
    with single_redis(tmp_path / "redis", options) as server, pytest.raises(StartError, match="scripts cannot be run"):
        await until_refused(StoreSettings(kind="redis", urls=(server.url,)), {})


async def test_memory_that_is_given_away_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that evicts would forget what was spent: the start warns."""
    with single_redis(tmp_path / "redis", ["maxmemory 100mb", "maxmemory-policy allkeys-lru"]) as server:
        await check_redis(StoreSettings(kind="redis", urls=(server.url,)), {})
    assert "noeviction" in caplog.text
