"""What a start finds out about Redis: what can never work is said before requests fail, what is only away is not waited for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisError, ResponseError

from router_extproc.errors import StartError
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.redis_connections import SOCKET_SECONDS, Connections
from router_extproc.store.redis_link import Link
from router_extproc.store.redis_scripts import Command, script

COMMANDS = (
    "+ping +info +evalsha +eval +time +exists +get +set +del +pttl +pexpire "
    "+hget +hset +hdel +hincrby +hgetall +hkeys +zadd +zrem +zcard +zrangebyscore +zscore +lpush +rpop +llen"
)
"""What the user has to be allowed, as an access rule; in a cluster also ``+cluster|slots``."""
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
            link = connections.link_by_sentinels() if by_sentinels else connections.link(connections.addresses[0])
            try:
                await _check(link, settings)
            finally:
                await link.aclose()
    except AuthenticationError as error:
        who, fix = _who(settings.username), "look at store.redis.username and store.redis.password"
        raise StartError(f"store.redis: Redis refuses {who}: {_text(error)}; {fix}") from error
    except NoPermissionError as error:
        who = _who(settings.username)
        raise StartError(f"store.redis: Redis refuses {who}: {_text(error)}; allow {_rule(settings)}") from error
    except MovedError as error:
        raise StartError("store.redis: this server belongs to a cluster: write its nodes under store.redis.cluster") from error
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


async def _check(link: Link, settings: StoreSettings) -> None:
    await link.ask("PING")
    if settings.kind == "redis_cluster":
        await link.ask("CLUSTER SLOTS")
    # By text: no server has seen this script.
    (answer,) = await link.send([Command(script("check"), [f"{settings.prefix}:{{r0}}:check"], ())], by_text=True)
    if isinstance(answer, MovedError) and settings.kind == "redis_cluster":
        # Another master has this place. That they all let the user do the same is the cluster's business.
        return
    if isinstance(answer, Exception):
        raise answer
    _judge([part.decode() for part in answer], settings)


def _judge(answer: list[str], settings: StoreSettings) -> None:
    version, now, policy, *refused = answer
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
    return f"~{settings.prefix}:* {COMMANDS}{cluster}"


def _text(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
