"""Deployments are left alone when they fail, and come back through one probe at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router_extproc.observer import causes
from router_extproc.observer.health import (
    DEAD_KEY,
    FAILURE,
    NEUTRAL,
    PROBE_SECONDS,
    RATE_LIMITED,
    SUCCESS,
    Breaker,
    Breakers,
    Evidence,
    evidence_of,
)
from router_extproc.observer.options import Cooling
from router_extproc.registry.health import DeploymentHealth
from tests.observer.test_join import START, attempt

COOLING = Cooling(failures=3, failure_ratio=0.5, window_ms=30_000, time_ms=5_000, max_time_ms=60_000)
NOW = 1_790_000_000.0


class Deployment:
    """A breaker and a clock; a conversation reads as a list of steps."""

    def __init__(self, cooling: Cooling = COOLING) -> None:
        names: Iterator[str] = (f"probe-{number}" for number in itertools.count(1))
        self.now = NOW
        self.breaker = Breaker(cooling, lambda: next(names))

    def end(self, kind: str, *, lasted: float = 0.0, retry_after: float | None = None, latency: float | None = None) -> str:
        """An attempt that started ``lasted`` seconds ago ends now."""
        self.breaker.record(Evidence(kind, self.now - lasted, retry_after, latency), self.now)
        return self.show()

    def wait(self, seconds: float) -> str:
        """Time passes."""
        self.now += seconds
        self.breaker.advance(self.now)
        return self.show()

    def show(self) -> str:
        """``open 5`` with the seconds to go, ``half_open probe-1``, ``closed``."""
        view = self.breaker.view(self.now)
        if view.state == "open":
            return f"open {round(view.open_until - self.now, 2):g}"
        return view.state if view.probe is None else f"{view.state} {view.probe}"


def opened() -> Deployment:
    deployment = Deployment()
    for _ in range(3):
        deployment.end(FAILURE)
    assert deployment.show() == "open 5"
    return deployment


def test_failures_in_a_row_open() -> None:
    """The third failure in a row, and not two with a success between."""
    deployment = Deployment()
    kinds = (FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE, FAILURE)
    assert [deployment.end(kind) for kind in kinds] == ["closed"] * 5 + ["open 5"]


def test_a_share_of_failures_opens() -> None:
    """Half of at least ten attempts within the window, though never three in a row."""
    deployment = Deployment()
    shown = [deployment.end(kind) for _ in range(5) for kind in (SUCCESS, FAILURE)]
    assert shown == ["closed"] * 9 + ["open 5"]


def test_old_failures_are_forgotten() -> None:
    """What is older than the window does not count towards the share."""
    deployment = Deployment()
    for _ in range(5):
        deployment.end(FAILURE, lasted=1)
        deployment.end(SUCCESS, lasted=1)
        deployment.wait(8)
    assert deployment.show() == "closed"
    assert deployment.breaker.view(deployment.now).failure_ratio == 0.5
    deployment.wait(40)
    assert deployment.breaker.view(deployment.now).failure_ratio == 0.0


def test_failures_told_at_once_are_not_failures_of_one_moment() -> None:
    """A share is one of attempts that ended within a window, however late and in whatever order they are told."""
    in_order = [0.2 * number for number in range(20)]
    for ended_ago, shown in ((in_order, "closed"), (in_order[::2] + in_order[1::2], "closed"), ([3.0] * 10, "open 5")):
        deployment = Deployment(Cooling(failures=1_000, failure_ratio=0.5, window_ms=1_000))
        for ago in ended_ago:
            deployment.breaker.record(Evidence(FAILURE, NOW - 10, ended_at=NOW - ago), NOW)
        assert deployment.show() == shown


def test_a_probe_closes() -> None:
    """After the time there is one probe; its success closes, with a clean slate."""
    deployment = opened()
    assert deployment.wait(4.9) == "open 0.1"
    assert deployment.wait(0.2) == "half_open probe-1"
    assert deployment.end(SUCCESS) == "closed"
    assert deployment.breaker.view(deployment.now) == DeploymentHealth()
    assert deployment.end(FAILURE) == "closed"


def test_failed_probes_double_the_time() -> None:
    """5, 10, 20, 40, then the most that is allowed; after a success it starts anew."""
    deployment = opened()
    shown = []
    for pause in (5, 10, 20, 40, 60, 60):
        deployment.wait(pause)
        shown.append(deployment.end(FAILURE))
    assert shown == ["open 10", "open 20", "open 40", "open 60", "open 60", "open 60"]
    deployment.wait(60)
    deployment.end(SUCCESS)
    assert [deployment.end(FAILURE) for _ in range(3)][-1] == "open 5"


def test_a_rate_limit_opens_at_once_for_as_long_as_it_says() -> None:
    """One 429 is enough; without a retry-after the ordinary time holds."""
    assert Deployment().end(RATE_LIMITED, retry_after=42) == "open 42"
    assert Deployment().end(RATE_LIMITED) == "open 5"


def test_a_later_retry_after_extends_and_nothing_shortens() -> None:
    """Only ever forward."""
    deployment = Deployment()
    assert deployment.end(RATE_LIMITED, retry_after=20) == "open 20"
    assert deployment.end(RATE_LIMITED, retry_after=5) == "open 20"
    assert deployment.end(SUCCESS) == "open 20"
    assert deployment.end(FAILURE) == "open 20"
    deployment.wait(1)
    assert deployment.end(RATE_LIMITED, retry_after=30) == "open 30"


def test_a_dead_key_opens_for_the_longest_time() -> None:
    """401 and 402 do not go away by waiting a little."""
    assert Deployment().end(DEAD_KEY) == "open 60"


def test_a_fresh_failure_while_open_extends() -> None:
    """When everything cools down the least bad is tried: that it failed again is news; a late echo of before is not."""
    deployment = opened()
    deployment.wait(4)
    assert deployment.end(FAILURE, lasted=10) == "open 1"
    assert deployment.end(FAILURE, lasted=1) == "open 5"


def test_only_attempts_of_the_half_open_time_are_the_probes_result() -> None:
    """A long answer that began before everything broke says nothing about recovery."""
    deployment = opened()
    deployment.wait(5)
    assert deployment.end(SUCCESS, lasted=60) == "half_open probe-1"
    assert deployment.end(FAILURE, lasted=60) == "half_open probe-1"
    deployment.wait(1)
    assert deployment.end(SUCCESS, lasted=0.5) == "closed"
    assert [deployment.end(FAILURE, lasted=60) for _ in range(5)] == ["closed"] * 5


def test_a_probe_without_result_is_replaced() -> None:
    """A request that claimed the probe and never came must not keep the deployment out for ever."""
    deployment = opened()
    deployment.wait(5)
    assert deployment.wait(PROBE_SECONDS - 0.1) == "half_open probe-1"
    assert deployment.wait(0.2) == "half_open probe-2"


def test_a_probe_spent_on_a_bad_request_is_replaced_at_once() -> None:
    """The caller's fault neither closes nor opens."""
    deployment = opened()
    deployment.wait(5)
    assert deployment.end(NEUTRAL) == "half_open probe-2"


def test_the_callers_faults_count_neither_way() -> None:
    """Two failures, a caller's fault, one more failure: that is three in a row."""
    deployment = Deployment()
    assert [deployment.end(kind) for kind in (FAILURE, FAILURE, NEUTRAL, FAILURE)][-2:] == ["closed", "open 5"]


def test_latency_is_the_recent_median_of_successes() -> None:
    """Failures, though fast, do not make a deployment look fast; old answers are forgotten."""
    deployment = Deployment()
    for latency in (100.0, 300.0, 200.0):
        deployment.end(SUCCESS, latency=latency)
    deployment.end(FAILURE, latency=1.0)
    assert deployment.breaker.view(deployment.now).time_to_first_byte_ms == 200.0
    for _ in range(50):
        deployment.end(SUCCESS, latency=50.0)
    assert deployment.breaker.view(deployment.now).time_to_first_byte_ms == 50.0
    deployment.wait(301)
    assert deployment.breaker.view(deployment.now).time_to_first_byte_ms is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, SUCCESS), (400, NEUTRAL), (404, NEUTRAL), (409, NEUTRAL), (413, NEUTRAL), (422, NEUTRAL), (401, DEAD_KEY),
        (402, DEAD_KEY), (403, FAILURE), (408, FAILURE), (429, RATE_LIMITED), (500, FAILURE), (503, FAILURE), (0, NEUTRAL),
    ],
)  # fmt: skip
def test_what_a_status_says(status: int, kind: str) -> None:
    """4xx of the caller's making are never evidence."""
    cause = causes.cause_of(status, frozenset())
    begun = attempt(1).started_at.timestamp()
    assert evidence_of(attempt(1, status=status, cause=cause)) == Evidence(kind, begun, ended_at=attempt(1).ended_at)
    assert attempt(1).started_at > START


def test_a_quota_ends_by_itself_and_changes_no_state() -> None:
    """Used up until then: healthy all the while, no probe afterwards, and of several times the latest holds."""
    deployment = Deployment()
    for until, expected in ((20, 20), (10, 20), (30, 30), (-5, 30)):
        deployment.breaker.record(Evidence(SUCCESS, NOW, quota_until=NOW + until), NOW)
        assert deployment.breaker.view(NOW) == DeploymentHealth(quota_until=NOW + expected)
    deployment.end(SUCCESS)
    assert deployment.wait(29.9) == "closed"
    assert deployment.breaker.view(deployment.now).quota_until == NOW + 30
    assert deployment.wait(0.2) == "closed"
    assert deployment.breaker.view(deployment.now) == DeploymentHealth()


def test_of_several_quotas_the_one_that_resets_last_says_of_what() -> None:
    """It is told as long as it is used up, by a restarted observer as well, and forgotten with it."""
    deployment = Deployment()
    for unit, until, expected in (("requests", 20, "requests"), ("tokens", 10, "requests"), ("tokens", 30, "tokens")):
        deployment.breaker.record(Evidence(SUCCESS, NOW, quota_until=NOW + until, quota_unit=unit), NOW)
        assert deployment.breaker.view(NOW).quota_unit == deployment.breaker.finding(NOW).quota_unit == expected
    view = deployment.breaker.view(NOW)
    assert Breaker.restored(COOLING, lambda: "new", view, NOW + 1).view(NOW + 1).quota_unit == "tokens"
    deployment.wait(30)
    assert deployment.breaker.view(deployment.now) == DeploymentHealth()


def test_a_quota_is_believed_for_the_longest_cooling_time() -> None:
    """A provider that talks of a day is asked again after max_time; so it is after a restart with another max_time."""
    deployment = Deployment()
    deployment.breaker.record(Evidence(SUCCESS, NOW, quota_until=NOW + 86_400), NOW)
    view = deployment.breaker.view(NOW)
    assert view.quota_until == NOW + 60
    brief = Cooling(max_time_ms=10_000)
    assert Breaker.restored(COOLING, lambda: "new", view, NOW + 1).view(NOW + 1).quota_until == NOW + 60
    assert Breaker.restored(brief, lambda: "new", view, NOW + 1).view(NOW + 1).quota_until == NOW + 11


def test_a_rate_limit_cools_and_uses_up() -> None:
    """Its retry-after says when to try again, the quota's reset says until when another key is the better one."""
    deployment = Deployment()
    deployment.breaker.record(Evidence(RATE_LIMITED, NOW, 2.0, quota_until=NOW + 40), NOW)
    assert deployment.show() == "open 2"
    assert deployment.wait(2) == "half_open probe-1"
    assert deployment.end(SUCCESS) == "closed"
    assert deployment.breaker.view(deployment.now) == DeploymentHealth(quota_until=NOW + 40)


@pytest.mark.parametrize(
    ("status", "cause", "until"),
    [(200, "none", 30.25), (429, "rate_limited", 30.25), (400, "client_error", None), (500, "server_error", None)],
)
def test_the_time_to_a_reset_counts_from_the_answers_headers(status: int, cause: str, until: float | None) -> None:
    """A stream that ran for longer than the quota was used up has no news; errors of other kinds say nothing of quotas."""
    ended = msgspec.structs.replace(
        attempt(1, status=status, cause=cause),
        quota_reset_seconds=30.0,
        quota_unit="tokens",
        time_to_first_byte_ms=250.0,
        total_ms=90_000.0,
    )
    found = evidence_of(ended)
    assert found.quota_until == (None if until is None else pytest.approx(ended.started_at.timestamp() + until))
    assert found.quota_unit == ("" if until is None else "tokens")


def test_a_restored_breaker_goes_on() -> None:
    """What was open stays open as long; what should be half open by now is; a new process gives new probes."""
    names = iter(["new-1", "new-2"])
    was_open = DeploymentHealth(state="open", open_until=NOW + 7, consecutive_failures=3, time_to_first_byte_ms=80.0)
    was_half_open = DeploymentHealth(state="half_open", probe="old", open_until=NOW - 3)
    breakers = Breakers(COOLING, lambda: next(names))
    breakers.restore({"a": was_open, "b": was_half_open, "c": DeploymentHealth()}, NOW)
    view = breakers.view(NOW)
    assert (view["a"].state, view["a"].open_until, view["a"].time_to_first_byte_ms) == ("open", NOW + 7, 80.0)
    assert (view["b"].state, view["b"].probe) == ("half_open", "new-1")
    assert view["c"] == DeploymentHealth()
    assert breakers.view(NOW + 7)["a"].state == "half_open"


def test_deployments_that_are_gone_are_forgotten() -> None:
    """A reload that removes a deployment removes what was known of it."""
    breakers = Breakers(COOLING, lambda: "probe")
    breakers.record("a", Evidence(SUCCESS, NOW), NOW)
    breakers.record("b", Evidence(SUCCESS, NOW), NOW)
    breakers.retain({"b"})
    assert list(breakers.view(NOW)) == ["b"]


def test_deployments_are_bounded() -> None:
    """Names come from log entries: however many, memory stays bounded."""
    breakers = Breakers(COOLING, lambda: "probe")
    for number in range(5_000):
        breakers.record(f"d-{number}", Evidence(SUCCESS, NOW), NOW)
    assert len(breakers.view(NOW)) == 4_096


def test_other_limits_apply_at_once() -> None:
    """A reload's cooling section is used for the next failure; what is open stays open."""
    breakers = Breakers(COOLING, lambda: "probe")
    for _ in range(3):
        breakers.record("a", Evidence(FAILURE, NOW), NOW)
    breakers.cool(Cooling(failures=1, time_ms=1_000, window_ms=10_000))
    breakers.record("b", Evidence(FAILURE, NOW), NOW)
    view = breakers.view(NOW)
    assert (view["a"].open_until, view["b"].open_until) == (NOW + 5, NOW + 1)


class AnyHistory(RuleBasedStateMachine):
    """Attempts of any kind, begun any time ago, and time in any steps."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.breaker = Breaker(COOLING, self.new_probe)
        self.now = NOW
        self.before = self.breaker.view(self.now)

    def new_probe(self) -> str:
        self.names.append(f"probe-{len(self.names)}")
        return self.names[-1]

    def record(self, evidence: Evidence) -> None:
        self.breaker.advance(self.now)
        self.before = self.breaker.view(self.now)
        self.breaker.record(evidence, self.now)

    @rule(seconds=st.floats(0, 120))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.breaker.advance(self.now)
        self.before = self.breaker.view(self.now)

    @rule(kind=st.sampled_from([FAILURE, DEAD_KEY]), lasted=st.floats(0, 300))
    def fails(self, kind: str, lasted: float) -> None:
        self.record(Evidence(kind, self.now - lasted))

    @rule(lasted=st.floats(0, 300), retry_after=st.none() | st.floats(0, 3_600))
    def is_rate_limited(self, lasted: float, retry_after: float | None) -> None:
        self.record(Evidence(RATE_LIMITED, self.now - lasted, retry_after))
        view = self.breaker.view(self.now)
        assert view.open_until >= self.now + (retry_after or 0) - 0.001

    @rule(lasted=st.floats(0, 300))
    def succeeds(self, lasted: float) -> None:
        self.record(Evidence(SUCCESS, self.now - lasted))
        assert self.breaker.view(self.now).state == self.before.state or self.before.state == "half_open"

    @rule(lasted=st.floats(0, 300))
    def is_the_callers_fault(self, lasted: float) -> None:
        self.record(Evidence(NEUTRAL, self.now - lasted))
        after = self.breaker.view(self.now)
        assert (after.state, after.open_until) == (self.before.state, self.before.open_until)

    @precondition(lambda self: self.breaker.state == "half_open")
    @rule()
    def the_probe_succeeds(self) -> None:
        self.record(Evidence(SUCCESS, self.now))
        assert self.breaker.view(self.now) == DeploymentHealth()

    @precondition(lambda self: self.breaker.state == "half_open")
    @rule()
    def the_probe_fails(self) -> None:
        self.record(Evidence(FAILURE, self.now))
        view = self.breaker.view(self.now)
        assert view.state == "open"
        assert view.open_until >= self.now + 10 - 0.001

    @invariant()
    def a_probe_is_free_exactly_while_half_open(self) -> None:
        view = self.breaker.view(self.now)
        assert (view.probe is not None) == (view.state == "half_open")
        assert view.probe is None or view.probe == self.names[-1]

    @invariant()
    def open_never_gets_shorter(self) -> None:
        view = self.breaker.view(self.now)
        if self.before.state == "open" and view.state == "open":
            assert view.open_until >= self.before.open_until


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40)
