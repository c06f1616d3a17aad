"""What this instance's breakers found goes to the other instances, and what those found comes here, where the store is shared.

Rules of this file
- A store that does not answer delays nothing, and is told once: each instance goes by its own findings meanwhile.
- What was heard is forgotten when its instance, or the way to it, gives no sign any more; an opening that the breakers took
  over ends by itself.
- Who has not heard the others for a moment, because it stood still, lets nobody probe: they may be at it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from router_extproc.errors import RouterError
from router_extproc.observer.health import PROBE_SECONDS, Breakers
from router_extproc.observer.shared_health import Latency, Word, decode_word, encode_word, join, put_together
from router_extproc.registry.health import DeploymentHealth, claim_name
from router_extproc.registry.spending import StoreSettings

if TYPE_CHECKING:
    from router_extproc.store.redis_health import Heard, RedisHealth

# Under load latencies change with every answer: others are told of them no more often than this, in seconds.
_LATENCY_SECONDS = 1.0
# That a probe was taken gets around in less time than lies between two turns (``shared_health``).
_FRESH_SECONDS = 0.5

_log = logging.getLogger(__name__)


class HealthExchange:
    """The one between this instance, which has the name ``instance``, and all others. Steps never overlap."""

    def __init__(
        self, instance: str, breakers: Breakers, probes: Path, environ: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        """``probes`` is where workers claim them. Connects to nothing yet: where to, the configuration says."""
        self._instance, self._breakers, self._probes = instance, breakers, probes
        self._environ, self._clock = environ, clock
        self._settings: StoreSettings | None = None
        self._store: RedisHealth | None = None
        self._words: dict[str, tuple[str, Word]] = {}
        self._heard_until: dict[str, float] = {}
        self._latencies: dict[str, Latency] = {}
        self._latencies_at = 0.0
        self._is_away = False
        # When the others were last asked, with an answer or without.
        self._asked_at = -math.inf

    async def step(self, settings: StoreSettings, deployments: Collection[str]) -> None:
        """Tells what is new, hears what others say of these ``deployments``; to be called a few times a second."""
        try:
            if settings != self._settings:
                await self._open(settings)
            if self._store is None:
                return
            heard = await self._store.exchange(encode_word(self._own_word(self._clock())))
        except (RouterError, OSError) as error:
            self._asked_at = self._clock()
            if not self._is_away:
                _log.error("deployments are judged without the other instances' findings", extra={"reason": str(error)})
            self._is_away = True
            return
        if self._is_away:
            _log.warning("deployments are judged with the other instances' findings again")
            self._is_away = False
        now = self._asked_at = self._clock()
        self._take(heard, now)
        self._breakers.hear(join(self._others(now).values(), deployments), now)

    def together(
        self, view: Mapping[str, DeploymentHealth], deployments: Collection[str], now: float
    ) -> dict[str, DeploymentHealth]:
        """The breakers' ``view`` as deciders are to see it."""
        if self._store is not None and not 0 <= now - self._asked_at <= _FRESH_SECONDS:
            view = {name: msgspec.structs.replace(health, probe=None) for name, health in view.items()}
        return put_together(view, (self._instance, self._latencies), self._others(now), deployments, now)

    def instances(self) -> int:
        """How many instances' findings count, with this one."""
        return 1 + len(self._others(self._clock()))

    async def aclose(self) -> None:
        """Closes all connections."""
        store, self._store, self._settings = self._store, None, None
        if store is not None:
            await store.aclose()

    async def _open(self, settings: StoreSettings) -> None:
        await self.aclose()
        self._words, self._heard_until = {}, {}
        if settings.kind != "sqlite":
            from router_extproc.store.redis_health import RedisHealth  # noqa: PLC0415 - only what is used is loaded

            self._store = RedisHealth(settings, self._environ, self._instance)
        self._settings = settings

    def _own_word(self, now: float) -> Word:
        if not 0 <= now - self._latencies_at < _LATENCY_SECONDS:
            self._latencies, self._latencies_at = self._breakers.latencies(now), now
        findings = self._breakers.findings(now)
        for name, probe in self._breakers.probes(now).items():
            taken_at = self._taken_at(probe)
            if taken_at is not None:
                findings[name] = msgspec.structs.replace(findings[name], probing_until=taken_at + PROBE_SECONDS)
        return Word(findings, self._latencies)

    def _taken_at(self, probe: str) -> float | None:
        try:
            return round((self._probes / claim_name(probe)).stat().st_mtime, 3)
        except FileNotFoundError:
            return None

    def _take(self, heard: Mapping[str, Heard], now: float) -> None:
        from router_extproc.store.redis_health import STALE_SECONDS  # noqa: PLC0415 - as above

        words = {}
        for name, said in heard.items():
            known = self._words.get(name)
            words[name] = known if known is not None and known[0] == said.version else (said.version, _read(name, said.word))
        self._words = words
        self._heard_until = {name: now + STALE_SECONDS - said.age for name, said in heard.items()}

    def _others(self, now: float) -> dict[str, Word]:
        return {name: word for name, (_, word) in self._words.items() if now < self._heard_until[name]}


def _read(name: str, text: bytes) -> Word:
    """What an instance says; of another version of this package it may be something that means nothing here."""
    try:
        return decode_word(text)
    except msgspec.DecodeError as error:
        _log.warning("another instance's findings cannot be read", extra={"instance": name, "reason": str(error)})
        return Word()
