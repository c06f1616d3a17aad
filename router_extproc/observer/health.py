"""When a deployment is left alone: a state machine for each, fed with attempts. Pure: time and names are given.

    closed ── failures in a row, or their share ──► open ── time is over ──► half_open ── success ──► closed
       └──── 429 or a dead key: at once ────────────►  ◄──── failure: twice the time ────┘

Rules of this file
- ``open_until`` moves only forward while open: a later ``retry-after`` extends, nothing shortens.
- One probe is free at a time. Any attempt that started in the half-open time is its result.
- Attempts that started before the deployment opened say nothing about whether it has recovered.
- A share of failures is one of attempts that ended near each other, however late and however many at once they are told.
- What other instances found is heard: it opens, prolongs and, once the time is over, closes as an attempt here would.
- A quota that is used up is no failure: it changes no state, and ends by itself when the provider said so, at the latest
  after the longest cooling time.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Collection, Mapping

import msgspec

from router_extproc.observer import causes
from router_extproc.observer.options import Cooling
from router_extproc.observer.records import AttemptRecord
from router_extproc.observer.shared_health import NOTHING, Finding, Latency
from router_extproc.registry.health import CLOSED, HALF_OPEN, OPEN, DeploymentHealth

# A probe that was claimed by a request which never came to the deployment must not block recovery.
PROBE_SECONDS = 10.0
# A share of failures says something only over this many attempts.
FEWEST_ATTEMPTS = 10
# The latency is a median over few and recent answers, but a quiet minute must not make it unknown.
LATENCY_SAMPLES = 50
LATENCY_SECONDS = 300.0
_BUCKETS = 10
_MOST_DEPLOYMENTS = 4_096
# Another instance's word holds no longer than this: no provider asks to be left alone for more than a day.
_LONGEST_SECONDS = 86_400.0

SUCCESS = "success"
FAILURE = "failure"
RATE_LIMITED = "rate_limited"
DEAD_KEY = "dead_key"
NEUTRAL = "neutral"


class Evidence(msgspec.Struct, frozen=True):
    """What one attempt says about its deployment. ``started_at`` is in epoch seconds, ``retry_after`` in seconds.

    ``ended_at`` is in epoch seconds as well; one that is later than the time at which the attempt is told counts as that.
    ``quota_until`` is in epoch seconds: until then the provider's quota of ``quota_unit`` is used up. None when it is not, or
    nobody said.
    """

    kind: str
    started_at: float
    retry_after: float | None = None
    time_to_first_byte_ms: float | None = None
    quota_until: float | None = None
    quota_unit: str = ""
    ended_at: float = math.inf


def evidence_of(attempt: AttemptRecord) -> Evidence:
    """Weighs an attempt. A dead or unpaid key (401, 402) is dead for every request; a 403 may be about one request's
    content, so it counts like any failure. What the caller or the client's connection caused says nothing.
    """
    started_at, ended_at = attempt.started_at.timestamp(), attempt.ended_at
    until, unit = _quota_until(attempt), attempt.quota_unit or ""
    if attempt.cause == causes.NONE:
        return Evidence(SUCCESS, started_at, None, attempt.time_to_first_byte_ms, until, unit, ended_at)
    if attempt.cause == causes.RATE_LIMITED:
        return Evidence(RATE_LIMITED, started_at, attempt.retry_after_seconds, None, until, unit, ended_at)
    if attempt.cause == causes.UNAUTHORIZED:
        return Evidence(DEAD_KEY, started_at, ended_at=ended_at)
    return Evidence(FAILURE if attempt.cause in causes.PROVIDER_FAULTS else NEUTRAL, started_at, ended_at=ended_at)


def _quota_until(attempt: AttemptRecord) -> float | None:
    """The header counts from when it was written: a stream's entry comes only with the end of the answer."""
    if attempt.quota_reset_seconds is None:
        return None
    return attempt.started_at.timestamp() + (attempt.time_to_first_byte_ms or 0.0) / 1_000 + attempt.quota_reset_seconds


class Breaker:
    """One deployment. ``new_probe`` makes a name that was never used before."""

    def __init__(self, cooling: Cooling, new_probe: Callable[[], str]) -> None:
        self._cooling = cooling
        self._new_probe = new_probe
        self.state = CLOSED
        self.open_until = 0.0
        self.probe: str | None = None
        self._cool_down = 0.0
        self._opened_at = 0.0
        self._half_open_since = 0.0
        self._recovered_since = 0.0
        self._probe_since = 0.0
        self._failures_in_a_row = 0
        self._quota_until = 0.0
        self._quota_unit = ""
        # The end of the last opening that is known to be over, and when the latest good attempt began.
        self._recovered_until = 0.0
        self._good_since = 0.0
        # How many failed of how many that ended in each tenth of a window, by the number of that tenth.
        self._buckets: dict[int, list[int]] = {}
        self._latencies: deque[tuple[float, float]] = deque(maxlen=LATENCY_SAMPLES)

    @classmethod
    def restored(cls, cooling: Cooling, new_probe: Callable[[], str], health: DeploymentHealth, now: float) -> Breaker:
        """The breaker of a process that ended, as far as its last view of ``health`` tells."""
        breaker = cls(cooling, new_probe)
        breaker._failures_in_a_row = health.consecutive_failures
        breaker._use_up(health.quota_until, health.quota_unit, now)
        if health.time_to_first_byte_ms is not None:
            breaker._latencies.append((now, health.time_to_first_byte_ms))
        if health.state != CLOSED:
            breaker.state, breaker.open_until = OPEN, health.open_until
            breaker._opened_at = min(now, health.open_until)
            breaker._cool_down = cooling.time_ms / 1_000
            breaker.advance(now)
        return breaker

    def adopt(self, cooling: Cooling) -> None:
        """Takes other limits over; what is open stays open as long as it was."""
        if cooling.window_ms != self._cooling.window_ms:
            self._buckets.clear()
        self._cooling = cooling

    def record(self, evidence: Evidence, now: float) -> None:
        """Takes the end of one attempt into account. ``now`` is in epoch seconds."""
        self.advance(now)
        if evidence.kind == SUCCESS and evidence.time_to_first_byte_ms is not None:
            self._latencies.append((now, evidence.time_to_first_byte_ms))
        if evidence.kind == SUCCESS:
            self._good_since = max(self._good_since, evidence.started_at)
        if evidence.quota_until is not None:
            self._use_up(evidence.quota_until, evidence.quota_unit, now)
        # What began before a recovery, and ends only now, is no news.
        if evidence.kind != NEUTRAL and evidence.started_at >= self._recovered_since:
            failed = evidence.kind != SUCCESS
            self._count(failed=failed, at=min(evidence.ended_at, now))
            self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        if self.state == CLOSED:
            self._while_closed(evidence, now)
        elif self.state == OPEN:
            self._while_open(evidence, now)
        elif evidence.started_at >= self._half_open_since:
            self._while_half_open(evidence, now)
        else:
            self._while_open(evidence, now)

    def advance(self, now: float) -> None:
        """Lets time pass: an open deployment becomes half open, a probe without result is replaced."""
        if self.state == OPEN and now >= self.open_until:
            self.state = HALF_OPEN
            self._half_open_since = self.open_until
            self._free_probe(now)
        elif self.state == HALF_OPEN and now - self._probe_since >= PROBE_SECONDS:
            self._free_probe(now)

    def hear(self, finding: Finding, now: float) -> None:
        """Takes over what other instances found; what was found here never gets weaker by it."""
        self.advance(now)
        self._use_up(finding.quota_until, finding.quota_unit, now)
        # Only what is over can have recovered, whatever their clocks say.
        self._recovered_until = max(self._recovered_until, min(finding.recovered_until, now))
        if self.state == HALF_OPEN and self.open_until <= self._recovered_until:
            self._close()
        elif self.state == CLOSED and finding.open_until <= self._good_since:
            # They still wait for a probe: this was answered here, and they are told so.
            self._recovered_until = max(self._recovered_until, finding.open_until)
        until = min(finding.open_until, now + _LONGEST_SECONDS)
        if finding.is_open and until > max(self.open_until, self._recovered_until):
            self._open(now, until - now)
            self._cool_down = max(self._cool_down, min(finding.cool_down, self._cooling.max_time_ms / 1_000))
            self.advance(now)

    def finding(self, now: float) -> Finding:
        """What other instances are told, but for whether the probe was taken."""
        quota_until, quota_unit = self._quota(now)
        open_until, cool_down = (0.0, 0.0) if self.state == CLOSED else (self.open_until, self._cool_down)
        return Finding(open_until, cool_down, self._recovered_until, quota_until, quota_unit=quota_unit)

    def latency(self, now: float) -> Latency | None:
        """The recent median, None without traffic."""
        recent = [latency for at, latency in self._latencies if now - at < LATENCY_SECONDS]
        return Latency(round(statistics.median(recent), 1), len(recent)) if recent else None

    def view(self, now: float) -> DeploymentHealth:
        """What deciders are told."""
        failed, total = self._window(now)
        latency = self.latency(now)
        quota_until, quota_unit = self._quota(now)
        return DeploymentHealth(
            state=self.state,
            probe=self.probe,
            open_until=self.open_until,
            failure_ratio=round(failed / total, 4) if total else 0.0,
            consecutive_failures=self._failures_in_a_row,
            time_to_first_byte_ms=None if latency is None else latency.milliseconds,
            quota_until=quota_until,
            quota_unit=quota_unit,
        )

    def _quota(self, now: float) -> tuple[float, str]:
        """Until when the quota of what is used up; nothing once that is over."""
        return (round(self._quota_until, 3), self._quota_unit) if self._quota_until > now else (0.0, "")

    def _use_up(self, until: float, unit: str, now: float) -> None:
        """Of two quotas the one counts that is there again later."""
        until = min(until, now + self._cooling.max_time_ms / 1_000)
        if until > self._quota_until:
            self._quota_until, self._quota_unit = until, unit

    def _while_closed(self, evidence: Evidence, now: float) -> None:
        pause = self._pause(evidence)
        if pause is None and evidence.kind == FAILURE and evidence.started_at >= self._recovered_since:
            failed, total = self._window(min(evidence.ended_at, now))
            in_a_row = self._failures_in_a_row >= self._cooling.failures
            share = total >= FEWEST_ATTEMPTS and failed / total >= self._cooling.failure_ratio
            pause = self._cooling.time_ms / 1_000 if in_a_row or share else None
        if pause is not None:
            self._cool_down = self._cooling.time_ms / 1_000
            self._open(now, pause)

    def _while_open(self, evidence: Evidence, now: float) -> None:
        """Only a provider's own word, or a failure of an attempt that started after the opening, extends the time."""
        pause = self._pause(evidence)
        if pause is None and evidence.kind == FAILURE and evidence.started_at > self._opened_at:
            pause = self._cooling.time_ms / 1_000
        if pause is None or now + pause <= self.open_until:
            return
        self.state, self.probe = OPEN, None
        self.open_until = _to_milliseconds(now + pause)

    def _while_half_open(self, evidence: Evidence, now: float) -> None:
        if evidence.kind == SUCCESS:
            self._close()
        elif evidence.kind == NEUTRAL:
            # The probe was spent on a request that says nothing: the next one may try.
            self._free_probe(now)
        else:
            self._cool_down = min(2 * self._cool_down, self._cooling.max_time_ms / 1_000)
            self._open(now, max(self._pause(evidence) or 0.0, self._cool_down))

    def _pause(self, evidence: Evidence) -> float | None:
        """How long this evidence alone keeps the deployment closed to requests, None when it alone does not."""
        if evidence.kind == DEAD_KEY:
            return self._cooling.max_time_ms / 1_000
        if evidence.kind == RATE_LIMITED:
            return self._cooling.time_ms / 1_000 if evidence.retry_after is None else evidence.retry_after
        return None

    def _open(self, now: float, pause: float) -> None:
        self.state, self.probe = OPEN, None
        self._opened_at = now
        self.open_until = max(self.open_until, _to_milliseconds(now + pause))

    def _close(self) -> None:
        self._recovered_until = max(self._recovered_until, self.open_until)
        self.state, self.probe, self.open_until, self._cool_down = CLOSED, None, 0.0, 0.0
        self._recovered_since = self._half_open_since
        self._failures_in_a_row = 0
        self._buckets.clear()

    def _free_probe(self, now: float) -> None:
        self.probe, self._probe_since = self._new_probe(), now

    def _count(self, *, failed: bool, at: float) -> None:
        number = self._bucket_number(at)
        bucket = self._buckets.setdefault(number, [0, 0])
        bucket[0] += failed
        bucket[1] += 1
        if len(self._buckets) > _BUCKETS:
            del self._buckets[min(self._buckets)]

    def _window(self, end: float) -> tuple[int, int]:
        """How many failed of how many that ended in the window before ``end``."""
        last = self._bucket_number(end)
        recent = [bucket for number, bucket in self._buckets.items() if last - _BUCKETS < number <= last]
        return sum(failed for failed, _ in recent), sum(total for _, total in recent)

    def _bucket_number(self, at: float) -> int:
        return int(at * 1_000 * _BUCKETS / self._cooling.window_ms)


def _to_milliseconds(seconds: float) -> float:
    """As files and other instances are told it: an opening is known by when it ends, so all must have the same number."""
    return round(seconds, 3)


class Breakers:
    """The breakers of all deployments that were seen, at most ``_MOST_DEPLOYMENTS``."""

    def __init__(self, cooling: Cooling, new_probe: Callable[[], str]) -> None:
        self._cooling, self._new_probe = cooling, new_probe
        self._breakers: dict[str, Breaker] = {}

    def restore(self, health: dict[str, DeploymentHealth], now: float) -> None:
        """Goes on where another process ended."""
        for name, deployment in list(health.items())[:_MOST_DEPLOYMENTS]:
            self._breakers[name] = Breaker.restored(self._cooling, self._new_probe, deployment, now)

    def cool(self, cooling: Cooling) -> None:
        """Takes other limits over."""
        self._cooling = cooling
        for breaker in self._breakers.values():
            breaker.adopt(cooling)

    def retain(self, names: Collection[str]) -> None:
        """Forgets deployments that no longer exist."""
        for name in [name for name in self._breakers if name not in names]:
            del self._breakers[name]

    def record(self, deployment: str, evidence: Evidence, now: float) -> None:
        """Takes the end of one attempt into account."""
        breaker = self._breaker(deployment)
        if breaker is not None:
            breaker.record(evidence, now)

    def hear(self, findings: Mapping[str, Finding], now: float) -> None:
        """Takes over what other instances found."""
        for name, finding in findings.items():
            # Of a deployment that nobody here asked yet, only trouble is news.
            is_news = finding.is_open or finding.quota_until > now
            breaker = self._breaker(name) if is_news else self._breakers.get(name)
            if breaker is not None:
                breaker.hear(finding, now)

    def findings(self, now: float) -> dict[str, Finding]:
        """What other instances are told; those of which there is nothing to tell are left out."""
        found = {name: breaker.finding(now) for name, breaker in self._breakers.items()}
        return {name: finding for name, finding in found.items() if finding != NOTHING}

    def probes(self, now: float) -> dict[str, str]:
        """The probes of all that are half open."""
        for breaker in self._breakers.values():
            breaker.advance(now)
        return {name: breaker.probe for name, breaker in self._breakers.items() if breaker.probe is not None}

    def latencies(self, now: float) -> dict[str, Latency]:
        """What was measured here."""
        found = ((name, breaker.latency(now)) for name, breaker in self._breakers.items())
        return {name: latency for name, latency in found if latency is not None}

    def view(self, now: float) -> dict[str, DeploymentHealth]:
        """What deciders are told about each deployment."""
        for breaker in self._breakers.values():
            breaker.advance(now)
        return {name: breaker.view(now) for name, breaker in self._breakers.items()}

    def _breaker(self, deployment: str) -> Breaker | None:
        breaker = self._breakers.get(deployment)
        if breaker is None and len(self._breakers) < _MOST_DEPLOYMENTS:
            breaker = self._breakers[deployment] = Breaker(self._cooling, self._new_probe)
        return breaker
