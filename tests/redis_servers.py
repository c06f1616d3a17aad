"""Real Redis servers for tests: on ports that the kernel names, in folders of their own, ended with the test.

Nothing is mocked: what is promised about Redis is shown on Debian's ``redis-server``. Where that is missing, tests are
skipped, and say what to install.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from tests.end_to_end.certificates import Authority
from tests.kept_ports import KeptPort
from tests.tied import tied

SECONDS = 20.0
_POLL_SECONDS = 0.02
_ATTEMPTS = 5


def require_redis() -> str:
    """Where ``redis-server`` is; the test is skipped where it is not."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is missing: install the Debian package redis-server (apt-get install redis-server)")
    return found


def kept_port() -> KeptPort:
    """A port nobody listens on, whose cluster port (10000 more) is a port too."""
    while (kept := KeptPort()).number >= 55_000:
        kept.release()
    return kept


def until(is_true: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Waits until ``is_true``; fails the test, naming ``what``, when it does not come true."""
    give_up = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {seconds} s for: {what}")
        time.sleep(_POLL_SECONDS)


@dataclass
class RedisServer:
    """One ``redis-server``. ``options`` are lines of its configuration, ``client_options`` what a client needs to connect."""

    folder: Path
    options: Sequence[str] = ()
    client_options: dict[str, object] = field(default_factory=dict)
    is_sentinel: bool = False
    is_encrypted: bool = False
    port: int = 0
    kept: KeptPort | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As it stands in ``router.yaml``."""
        return f"{'rediss' if self.is_encrypted else 'redis'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "redis.log"

    def start(self) -> None:
        """Starts it, again on the port it had; waits until it answers."""
        binary = require_redis()
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(1 if self.port else _ATTEMPTS):
            # Kept from now on: a server that is started again must find it free.
            self.kept = self.kept if self.kept and self.port else kept_port()
            port = self.kept.number
            arguments = [binary, str(self._configuration(port)), *(["--sentinel"] if self.is_sentinel else [])]
            with self.log.open("ab") as output:
                self.process = subprocess.Popen(tied(arguments), stdout=output, stderr=output, cwd=self.folder)
            if self._answers(port):
                self.port = port
                return
            self.kill()
        raise AssertionError(f"redis-server does not start:\n{self.log.read_text()}")

    def kill(self) -> None:
        """As the kernel would: nothing is written, nobody is told."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """It keeps its connections and answers nobody."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After ``pause``."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A plain client for looking into it."""
        with redis.Redis(host="127.0.0.1", port=self.port, decode_responses=True, **self.client_options) as client:  # type: ignore[arg-type]
            yield client

    def _configuration(self, port: int) -> Path:
        path = self.folder / "redis.conf"
        where = f"tls-port {port}\nport 0" if self.is_encrypted else f"port {port}"
        lines = [where, "bind 127.0.0.1", f"dir {self.folder}", *self.options]
        if not self.is_sentinel:
            lines += ['save ""', "appendonly no"] if not any(line.startswith("appendonly") for line in self.options) else []
        path.write_text("\n".join(lines) + "\n")
        return path

    def _answers(self, port: int) -> bool:
        assert self.process is not None
        give_up = time.monotonic() + SECONDS
        while time.monotonic() < give_up and self.process.poll() is None:
            with (
                contextlib.suppress(redis.ConnectionError, redis.TimeoutError),
                redis.Redis(host="127.0.0.1", port=port, **self.client_options) as client,  # type: ignore[arg-type]
            ):
                client.ping()
                return True
            time.sleep(_POLL_SECONDS)
        return False


@contextlib.contextmanager
def single_redis(folder: Path, options: Sequence[str] = ()) -> Iterator[RedisServer]:
    """One server without a password, which forgets everything when it ends."""
    server = RedisServer(folder, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()


ROUTER_COMMANDS = (
    "+ping +info +evalsha +eval +time +exists +get +set +del +pttl +pexpire "
    "+hget +hset +hdel +hincrby +hgetall +hkeys +zadd +zrem +zcard +zrangebyscore +zscore +lpush +rpop +llen"
)
"""What a user needs who may do nothing else: the documentation says the same."""
SENTINEL_COMMANDS = "+sentinel|masters"
"""The same of a user of the sentinels."""


@contextlib.contextmanager
def encrypted_redis(folder: Path, user: str, password: str, commands: str = ROUTER_COMMANDS) -> Iterator[RedisServer]:
    """One server that speaks only TLS, to one user; its authority is ``authority.pem`` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    encryption, client_options = _encryption(folder)
    server = RedisServer(folder, [*encryption, *_users(user, password, commands)], client_options, is_encrypted=True)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _encryption(folder: Path) -> tuple[list[str], dict[str, object]]:
    """Lines of a server that speaks only TLS, and what a client needs that looks into it."""
    authority = Authority(folder)
    certificate, key = authority.issue("127.0.0.1")
    lines = [f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {authority.file}", "tls-auth-clients no"]
    return lines, {"ssl": True, "ssl_ca_certs": str(authority.file), "username": "looker", "password": "looker"}


def _users(user: str, password: str, commands: str) -> list[str]:
    return ["user default off", f"user {user} on >{password} ~router:* {commands}", "user looker on >looker ~* &* +@all"]


@dataclass
class RedisCluster:
    """Three masters, each with a replica."""

    servers: list[RedisServer]

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(server.url for server in self.servers)

    def masters(self) -> list[RedisServer]:
        """Those that are masters now, and answer."""
        return [server for server in self.servers if server.process is not None and self._role(server) == "master"]

    @staticmethod
    def _role(server: RedisServer) -> str:
        with server.client() as client:
            return str(client.info("replication")["role"])


@contextlib.contextmanager
def redis_cluster(folder: Path) -> Iterator[RedisCluster]:
    """A cluster that has settled; a lost master is replaced within a few seconds."""
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is missing: install the Debian package redis-tools (apt-get install redis-tools)")
    options = ("cluster-enabled yes", "cluster-node-timeout 1500", "repl-diskless-sync-delay 0")
    servers = [RedisServer(folder / str(number), options) for number in range(6)]
    cluster = RedisCluster(servers)
    try:
        for server in servers:
            server.start()
        addresses = [f"127.0.0.1:{server.port}" for server in servers]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
        made = subprocess.run(create, capture_output=True, text=True, timeout=60, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        for server in servers:
            with server.client() as client:
                until(lambda client=client: _has_settled(client), "the cluster to settle")  # type: ignore[misc]
        yield cluster
    finally:
        for server in servers:
            server.kill()


def _has_settled(client: redis.Redis) -> bool:
    replication = client.info("replication")
    is_in_step = replication["role"] == "master" or replication["master_link_status"] == "up"
    return bool(is_in_step and client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


@dataclass
class WatchedRedis:
    """A master and its replica, watched by three sentinels."""

    servers: list[RedisServer]
    sentinels: list[RedisServer]
    service: str = "counters"

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(sentinel.url for sentinel in self.sentinels)

    def master(self) -> RedisServer:
        """Whom the first sentinel calls the master."""
        with self.sentinels[0].client() as client:
            _, port = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))


@dataclass(frozen=True)
class Guard:
    """Lines of configuration by which servers, and the sentinels that watch them, let in only some."""

    servers: Sequence[str] = ()
    sentinels: Sequence[str] = ()
    server_options: Mapping[str, object] = field(default_factory=dict)
    sentinel_options: Mapping[str, object] = field(default_factory=dict)
    is_encrypted: bool = False


def password_guard(server_password: str, sentinel_password: str) -> Guard:
    """Everybody needs a password and nobody a name: one for the servers, another one for the sentinels."""
    return Guard(
        [f"requirepass {server_password}", f"masterauth {server_password}"],
        [f"requirepass {sentinel_password}", f"sentinel auth-pass {WatchedRedis.service} {server_password}"],
        {"password": server_password},
        {"password": sentinel_password},
    )


def user_guard(folder: Path, server: tuple[str, str], sentinel: tuple[str, str]) -> Guard:
    """TLS everywhere, and users (name, password) with few rights, as the documentation names them.

    The authority is ``authority.pem`` in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encryption, client_options = _encryption(folder)
    encryption = [*encryption, "tls-replication yes"]
    name, password = sentinel
    return Guard(
        [*encryption, *_users(*server, ROUTER_COMMANDS), "masteruser looker", "masterauth looker"],
        [
            *encryption,
            "user default off",
            f"user {name} on >{password} {SENTINEL_COMMANDS}",
            "user looker on >looker ~* &* +@all",
            "sentinel sentinel-user looker",
            "sentinel sentinel-pass looker",
            f"sentinel auth-user {WatchedRedis.service} looker",
            f"sentinel auth-pass {WatchedRedis.service} looker",
        ],
        client_options,
        client_options,
        is_encrypted=True,
    )


@contextlib.contextmanager
def watched_redis(folder: Path, guard: Guard = Guard()) -> Iterator[WatchedRedis]:
    """The replica takes over about a second after the master is gone."""
    master, replica = (
        RedisServer(
            folder / name,
            ["repl-diskless-sync-delay 0", *guard.servers],
            dict(guard.server_options),
            is_encrypted=guard.is_encrypted,
        )
        for name in ("one", "two")
    )
    sentinels = [
        RedisServer(
            folder / f"sentinel-{number}",
            client_options=dict(guard.sentinel_options),
            is_sentinel=True,
            is_encrypted=guard.is_encrypted,
        )
        for number in range(3)
    ]
    watched = WatchedRedis([master, replica], sentinels)
    try:
        master.start()
        replica.options = [*replica.options, f"replicaof 127.0.0.1 {master.port}"]
        replica.start()
        with replica.client() as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", "the replica to be in step")
        for sentinel in sentinels:
            sentinel.options = [
                f"sentinel monitor {watched.service} 127.0.0.1 {master.port} 2",
                f"sentinel down-after-milliseconds {watched.service} 500",
                f"sentinel failover-timeout {watched.service} 3000",
                *guard.sentinels,
            ]
            sentinel.start()
        with sentinels[0].client() as client:

            def has_settled() -> bool:
                seen = client.execute_command("SENTINEL MASTER", watched.service)
                return int(seen["num-other-sentinels"]) == 2 and int(seen["num-slaves"]) == 1

            until(has_settled, "the sentinels to know each other")
        yield watched
    finally:
        for server in (*sentinels, master, replica):
            server.kill()
