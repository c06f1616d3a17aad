"""What several instances found out about deployments, put together. Pure: words come in, and what follows from them comes out.

Rules of this file
- Joining findings is commutative, associative and idempotent: in whatever order instances hear each other, and however often,
  they come to the same.
- An opening is known by when it ends. Who recovered says from which: no instance has to compare its clock with another's to
  know which of two came later.
- Nothing found here gets weaker by what others say: they can prolong, and end what is over anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from zlib import crc32

import msgspec

from router_extproc.registry.health import HALF_OPEN, DeploymentHealth

# An instance whose probe nobody takes leaves the next turn to another.
TURN_SECONDS = 2.0
# A probe is shown for the first part of a turn: that it was taken has to get around before the next turn begins.
_SHOWN_SECONDS = 1.2


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one deployment; times in epoch seconds, 0: never.

    It cools down until ``open_until`` and then waits for a probe to be answered, unless ``recovered_until``, the end of the
    last opening that a probe ended, is as late. ``cool_down`` is the time in seconds that a failed probe doubles. A probe is
    under way until ``probing_until``. The provider's quota of ``quota_unit`` is used up until ``quota_until``.
    """

    open_until: float = 0.0
    cool_down: float = 0.0
    recovered_until: float = 0.0
    quota_until: float = 0.0
    probing_until: float = 0.0
    quota_unit: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it cools down or waits for a probe."""
        return self.open_until > self.recovered_until

    def joined(self, other: Finding) -> Finding:
        """What follows from both."""
        open_until, cool_down = max((self.open_until, self.cool_down), (other.open_until, other.cool_down))
        quota_until, quota_unit = max((self.quota_until, self.quota_unit), (other.quota_until, other.quota_unit))
        return Finding(
            open_until,
            cool_down,
            max(self.recovered_until, other.recovered_until),
            quota_until,
            max(self.probing_until, other.probing_until),
            quota_unit,
        )


NOTHING = Finding()


class Latency(msgspec.Struct, frozen=True, array_like=True):
    """The median time to the first byte over the last ``answers``."""

    milliseconds: float
    answers: int


class Word(msgspec.Struct, frozen=True):
    """All that one instance says, by deployment."""

    findings: dict[str, Finding] = {}
    latencies: dict[str, Latency] = {}


def encode_word(word: Word) -> str:
    """The text that ``decode_word`` reads."""
    return msgspec.json.encode(word).decode()


def decode_word(text: bytes) -> Word:
    """Reads what another instance wrote; fields that a newer version added are passed over.

    Raises:
        msgspec.DecodeError: it is no word.
    """
    return msgspec.json.decode(text, type=Word)


def join(words: Iterable[Word], deployments: Collection[str]) -> dict[str, Finding]:
    """What follows from all words; of no other than these deployments, for those of an older configuration mean nothing."""
    found: dict[str, Finding] = {}
    for word in words:
        for name, finding in word.findings.items():
            if name in deployments:
                found[name] = found.get(name, NOTHING).joined(finding)
    return found


def combine(parts: Iterable[Latency]) -> float | None:
    """Milliseconds over all, each part weighing as much as it has answers; None where nobody has any."""
    known = [part for part in parts if part.answers > 0 and part.milliseconds >= 0]
    answers = sum(part.answers for part in known)
    return round(sum(part.milliseconds * part.answers for part in known) / answers, 1) if answers else None


def has_turn(own: str, others: Collection[str], deployment: str, half_open_since: float, now: float) -> bool:
    """Whether this instance may grant the probe now: all take turns, in an order that each works out for itself."""
    order = sorted({own, *others})
    if len(order) == 1:
        return True
    turn, into_it = divmod(max(0.0, now - half_open_since), TURN_SECONDS)
    return into_it < _SHOWN_SECONDS and order[(crc32(deployment.encode()) + int(turn)) % len(order)] == own


def put_together(
    view: Mapping[str, DeploymentHealth],
    own: tuple[str, Mapping[str, Latency]],
    others: Mapping[str, Word],
    deployments: Collection[str],
    now: float,
) -> dict[str, DeploymentHealth]:
    """The ``view`` of this instance's breakers, which have heard the others, as its deciders are to see it.

    ``own`` is the name of this instance and its latencies, ``others`` are the words of those that live, by name. A probe that
    is not this instance's to grant is left out; latencies are those of all.
    """
    if not others:
        return dict(view)
    name_of_own, latencies = own
    probing = {name: finding.probing_until for name, finding in join(others.values(), deployments).items()}
    together = {}
    for name, health in view.items():
        may_probe = health.state != HALF_OPEN or (
            probing.get(name, 0.0) <= now and has_turn(name_of_own, others.keys(), name, health.open_until, now)
        )
        together[name] = health if may_probe else msgspec.structs.replace(health, probe=None)
    for name in {name for word in others.values() for name in word.latencies if name in deployments}:
        parts = [word.latencies[name] for word in others.values() if name in word.latencies]
        if name in latencies:
            parts.append(latencies[name])
        health = together.get(name, DeploymentHealth())
        together[name] = msgspec.structs.replace(health, time_to_first_byte_ms=combine(parts))
    return together
