"""The schema of ``store``: where counters live."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from router_extproc.config.secret import Secret
from router_extproc.config.section import Section
from router_extproc.config.values import FilePath, LabelValue, Milliseconds, OwnId, RedisUrl


class Sentinel(Section):
    """Redis Sentinels, which know where the master is."""

    service: LabelValue = Field(description="Under which name the Sentinels know the master.")
    urls: tuple[RedisUrl, ...] = Field(min_length=1, description="Addresses of the Sentinels.")
    username: OwnId | None = Field(None, description="The Sentinels' own ACL user. Default: their default user.")
    password: Secret | None = Field(None, description="Where the password for the Sentinels is read from.")

    @model_validator(mode="after")
    def _named_user(self) -> Sentinel:
        _refuse_lone_username(self)
        return self


class Redis(Section):
    """A Redis 6 or newer that every instance can reach. Exactly one of ``url``, ``cluster`` and ``sentinel`` is written."""

    url: RedisUrl | None = Field(None, description="A single Redis: redis:// or, with TLS, rediss://.")
    cluster: tuple[RedisUrl, ...] = Field((), description="Some nodes of a Redis Cluster; the others are found.")
    sentinel: Sentinel | None = Field(None, description="A master watched by Sentinels.")
    username: OwnId | None = Field(None, description="The ACL user. Default: Redis's own default user.")
    password: Secret | None = Field(None, description="Where the password is read from.")
    certificate_authority: FilePath | None = Field(None, description="PEM file, for rediss://. Default: the system's roots.")
    certificate: FilePath | None = Field(None, description="PEM file, where Redis asks clients for a certificate.")
    key: FilePath | None = Field(None, description="PEM file with the private key of the certificate.")
    prefix: OwnId = Field("router", description="Begins the name of everything that is written there.")

    @model_validator(mode="after")
    def _one_kind(self) -> Redis:
        if sum((self.url is not None, bool(self.cluster), self.sentinel is not None)) != 1:
            message = "exactly one of `url`, `cluster` and `sentinel` is written"
            raise PydanticCustomError("one_of", message, {"fix": "write for example url: redis://127.0.0.1:6379"})
        if (self.certificate is None) != (self.key is None):
            message = "`certificate` and `key` belong together"
            raise PydanticCustomError("contradiction", message, {"fix": "write both or neither"})
        if len({url.partition(":")[0] for url in self.urls}) > 1:
            message = "some addresses ask for TLS, and some do not"
            raise PydanticCustomError("contradiction", message, {"fix": "write all with rediss://, or all with redis://"})
        _refuse_lone_username(self)
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses that are written."""
        if self.sentinel is not None:
            return self.sentinel.urls
        return self.cluster or (str(self.url),)


def _refuse_lone_username(written: Sentinel | Redis) -> None:
    """Redis knows no user without a password: who writes a name alone would be its default user."""
    if written.username is not None and written.password is None:
        message = "`username` without `password` has no effect"
        raise PydanticCustomError("contradiction", message, {"fix": "write password: {env: NAME_OF_A_VARIABLE} beside it"})


class Store(Section):
    """Where counters live: in an SQLite file beside this one, or in Redis for several instances."""

    redis: Redis | None = Field(None, description="Share counters over Redis. Default: an SQLite file.")
    deadline: Annotated[Milliseconds, Field(le=10_000)] = Field(20, description="Longest wait for the store, for one request.")
    reservation: Milliseconds = Field(
        3_600_000, description="How long an amount stays set aside when nobody reports how the request ended."
    )
