"""What a start finds out about Redis: what can never work is said before requests fail, what is only away is not waited for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from router_extproc.errors import StartError
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.redis_connections import SOCKET_SECONDS, Address, Connections
from router_extproc.store.redis_link import Link
from router_extproc.store.redis_scripts import Command, script
from router_extproc.store.redis_servers import cluster_places, owners_of

COMMANDS = (
    "+ping +info +evalsha +eval +time +exists +get +set +del +pttl +pexpire "
    "+hget +hset +hdel +hincrby +hgetall +hkeys +zadd +zrem +zcard +zrangebyscore +zscore +lpush +rpop +llen"
)
"""What the user has to be allowed, as an access rule; in a cluster also ``+cluster|slots``, beyond database 0 ``+select``."""
SENTINEL_COMMANDS = "+sentinel|masters"
"""The same for the user of the sentinels."""

_OLDEST = (6, 0)
_LARGEST_SKEW_SECONDS = 5.0
_SECONDS = 3 * SOCKET_SECONDS

_log = logging.getLogger(__name__)


async def check_redis(settings: StoreSettings, environ: Mapping[str, str]) -> None:
    """Tries everything that the store needs; a server that cannot be reached is logged, since it may come.

    Raises:
        StartError: it can never work like this; the message says what to change.
    """
    connections = Connections(settings, environ)
    try:
        by_sentinels = settings.kind == "redis_sentinel"
        if by_sentinels:
            async with asyncio.timeout(_SECONDS):
                await _check_sentinels(connections, settings)
        async with asyncio.timeout(_SECONDS):
            if settings.kind == "redis_cluster":
                await _check_cluster(connections, settings)
            else:
                link = connections.link_by_sentinels() if by_sentinels else connections.link(connections.addresses[0])
                await _check(link, settings, "r0")
    except AuthenticationError as error:
        who, fix = _who(settings.username), "look at store.redis.username and store.redis.password"
        raise StartError(f"store.redis: Redis refuses {who}: {_text(error)}; {fix}") from error
    except NoPermissionError as error:
        who = _who(settings.username)
        raise StartError(f"store.redis: Redis refuses {who}: {_text(error)}; allow {_rule(settings)}") from error
    except MovedError as error:
        raise StartError("store.redis: this server belongs to a cluster: write its nodes under store.redis.cluster") from error
    except ClusterDownError as error:
        _log.warning("store cannot be reached at the start", extra={"reason": _text(error)})
    except ResponseError as error:
        raise StartError(f"store.redis: scripts cannot be run ({_text(error)}): allow {_rule(settings)}") from error
    except (RedisError, OSError, TimeoutError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise StartError(f"store.redis: its certificate cannot be trusted: {_text(error)}") from error
        _log.warning("store cannot be reached at the start", extra={"reason": _text(error)})


async def _check_sentinels(connections: Connections, settings: StoreSettings) -> None:
    """Later one that refuses is passed over as if it were away: that all of them do, only a start can say."""
    sentinels = connections.sentinels()
    try:
        asked = (sentinel.sentinel_masters() for sentinel in sentinels.sentinels)
        answers = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        await sentinels.aclose()
    refusals: list[str] = []
    for address, answer in zip(connections.addresses, answers, strict=True):
        if isinstance(answer, AuthenticationError | ResponseError):
            refusals.append(f"the Sentinel at {address} refuses {_who(settings.sentinel_username)}: {_text(answer)}")
        elif isinstance(answer, Exception) and "CERTIFICATE_VERIFY_FAILED" in str(answer):
            raise answer
    if refusals and all(isinstance(answer, Exception) for answer in answers):
        fix = "look at store.redis.sentinel.username and store.redis.sentinel.password"
        raise StartError(f"store.redis.sentinel: {refusals[0]}; {fix}, and allow {SENTINEL_COMMANDS}")
    for refusal in refusals:
        _log.warning("a Sentinel does not let us in: it is passed over", extra={"reason": refusal})


async def _check_cluster(connections: Connections, settings: StoreSettings) -> None:
    """Every master by itself: rights and settings are each server's own."""
    owners = await _owners(connections)
    masters = {owner: tag for tag, owner in owners.items()}
    outcomes = await asyncio.gather(
        *(_check(connections.link(owner), settings, tag) for owner, tag in masters.items()), return_exceptions=True
    )
    # What can never work is told before what is only away.
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if errors:
        raise min(errors, key=_is_away)
    if len(owners) < len(cluster_places()):
        raise ClusterDownError("CLUSTERDOWN some slots have no master")


async def _owners(connections: Connections) -> dict[str, Address]:
    """Who has which tag, by the first server of those written down that says so."""
    failures: list[RedisError | OSError] = []
    for address in connections.addresses:
        client = connections.client(address)
        try:
            return owners_of(await client.execute_command("CLUSTER SLOTS"), cluster_places(), address)
        except (RedisError, OSError) as error:
            failures.append(error)
        finally:
            await client.aclose()
    raise min(failures, key=_is_away)


def _is_away(error: BaseException) -> bool:
    """Whether the server may come; all else is settled."""
    is_refusal = isinstance(error, AuthenticationError | ResponseError | StartError)
    is_down = isinstance(error, ClusterDownError)
    return (is_down or not is_refusal) and "CERTIFICATE_VERIFY_FAILED" not in str(error)


async def _check(link: Link, settings: StoreSettings, tag: str) -> None:
    """Tries one server, and gives the link back."""
    try:
        await link.ask("PING")
        command = Command(script("check"), [f"{settings.prefix}:{{{tag}}}:check"], ())
        # By text: no server has seen this script. Then by name, as all others are asked for.
        (answer,) = await link.send([command], by_text=True)
        (again,) = await link.send([command])
    finally:
        await link.aclose()
    for each in (answer, again):
        if isinstance(each, MovedError | AskError) and settings.kind == "redis_cluster":
            # Its counters went to another master at this very moment.
            return
        if isinstance(each, Exception):
            raise each
    _judge([part.decode() for part in answer], settings)


def _judge(answer: list[str], settings: StoreSettings) -> None:
    version, *found = answer
    if not version:
        _log.warning("store takes no writes for now", extra={"reason": found[0]})
        return
    now, policy, *refused = found
    if refused:
        raise StartError(f"store.redis: scripts may not use {', '.join(refused)}: allow {_rule(settings)}")
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise StartError(f"store.redis: this is Redis {version}; it has to be 6.0 or newer")
    if policy != "noeviction":
        _log.warning("store may throw counters away when its memory is full: set noeviction", extra={"policy": policy})
    skew = abs(int(now) / 1_000 - time.time())
    if skew > _LARGEST_SKEW_SECONDS:
        _log.warning("store has another time; windows and reservations need clocks that agree", extra={"seconds": round(skew)})


def _who(username: str | None) -> str:
    return f"the user {username}" if username else "its default user"


def _rule(settings: StoreSettings) -> str:
    cluster = " +cluster|slots" if settings.kind == "redis_cluster" else ""
    database = " +select" if urlsplit(settings.urls[0]).path.strip("/") not in {"", "0"} else ""
    return f"~{settings.prefix}:* {COMMANDS}{cluster}{database}"


def _text(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
