"""What instances say about deployments is put together the same way by all, and weakens nothing that one found itself."""

from __future__ import annotations

from functools import reduce

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.observer.health import FAILURE, RATE_LIMITED, SUCCESS, Breaker, Breakers, Evidence
from router_extproc.observer.options import Cooling
from router_extproc.observer.shared_health import (
    NOTHING,
    TURN_SECONDS,
    Finding,
    Latency,
    Word,
    combine,
    decode_word,
    encode_word,
    has_turn,
    join,
    put_together,
)
from router_extproc.registry.health import CLOSED, HALF_OPEN, OPEN, DeploymentHealth

COOLING = Cooling(failures=3, time_ms=5_000, max_time_ms=60_000)
NOW = 1_790_000_000.0
D = "openai/small"

# Few different times, so that equal ones come up; also what a broken or hostile instance might say.
times = st.sampled_from([0.0, NOW - 100, NOW - 5, NOW - 1, NOW, NOW + 1, NOW + 5, NOW + 50, 1e18])
findings = st.builds(Finding, times, st.sampled_from([0.0, 5.0, 1e18]), times, times, times)
words = st.builds(Word, st.dictionaries(st.sampled_from([D, "azure/small", "gone"]), findings))


@given(findings, findings, findings)
def test_joining_depends_on_no_order(one: Finding, two: Finding, three: Finding) -> None:
    """Commutative, associative, idempotent; nothing known is the neutral element."""
    assert one.joined(two) == two.joined(one)
    assert one.joined(two).joined(three) == one.joined(two.joined(three))
    assert one.joined(one) == one
    assert one.joined(NOTHING) == NOTHING.joined(one) == one


@given(st.lists(words, max_size=4), st.randoms(use_true_random=False))
def test_all_instances_come_to_the_same(said: list[Word], random: object) -> None:
    """Whoever hears whom first, and however often; of deployments that the configuration lacks nothing is heard."""
    shuffled = [*said, *said]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    joined = join(said, {D, "azure/small"})
    assert join(shuffled, {D, "azure/small"}) == joined
    assert "gone" not in joined
    for name, finding in joined.items():
        assert finding == reduce(Finding.joined, [word.findings[name] for word in said if name in word.findings])


class Instance:
    """One instance's breakers and clock."""

    def __init__(self) -> None:
        self.made = 0
        self.breakers = Breakers(COOLING, self._probe)

    def _probe(self) -> str:
        self.made += 1
        return f"probe-{self.made}"

    def end(self, kind: str, at: float, *, lasted: float = 0.0, **more: float) -> None:
        self.breakers.record(D, Evidence(kind, at - lasted, **more), at)

    def hear(self, *others: Instance, at: float) -> None:
        said = [Word(other.breakers.findings(at)) for other in others]
        self.breakers.hear(join(said, {D}), at)

    def state(self, at: float) -> str:
        return self.breakers.view(at).get(D, DeploymentHealth()).state


@pytest.fixture
def one() -> Instance:
    return Instance()


@pytest.fixture
def two() -> Instance:
    return Instance()


def fail(instance: Instance, at: float) -> None:
    for _ in range(3):
        instance.end(FAILURE, at)


def test_what_cools_at_one_cools_at_all(one: Instance, two: Instance) -> None:
    """The other opens without a failure of its own, and both are over at the same moment."""
    fail(one, NOW)
    two.hear(one, at=NOW + 0.5)
    assert two.breakers.view(NOW + 0.5)[D].open_until == one.breakers.view(NOW + 0.5)[D].open_until == NOW + 5
    assert (two.state(NOW + 4.9), two.state(NOW + 5)) == (OPEN, HALF_OPEN)


def test_a_probe_answered_at_one_ends_it_at_all(one: Instance, two: Instance) -> None:
    """Also where the other has begun to wait for a probe, and never gets one."""
    fail(one, NOW)
    two.hear(one, at=NOW + 0.5)
    two.end(SUCCESS, NOW + 6)
    assert two.state(NOW + 6) == CLOSED
    assert one.state(NOW + 6) == HALF_OPEN
    one.hear(two, at=NOW + 6.2)
    assert one.state(NOW + 6.2) == CLOSED
    # What the first said before it heard is no news any more, in whatever order it comes.
    old = Word({D: Finding(open_until=NOW + 5, cool_down=5)})
    two.breakers.hear(join([old], {D}), NOW + 6.3)
    assert two.state(NOW + 6.3) == CLOSED


def test_a_probe_that_failed_at_one_doubles_the_time_at_all(one: Instance, two: Instance) -> None:
    """The time that others began is doubled by whoever probed, and its end is that of all."""
    fail(one, NOW)
    two.hear(one, at=NOW + 0.5)
    two.end(FAILURE, NOW + 6)
    one.hear(two, at=NOW + 6.2)
    assert one.breakers.view(NOW + 6.2)[D].open_until == NOW + 16
    one.end(FAILURE, NOW + 17)
    assert one.breakers.view(NOW + 17)[D].open_until == NOW + 37


def test_what_was_answered_since_is_told_to_those_who_wait(one: Instance, two: Instance) -> None:
    """An instance that comes back with an old opening closes nothing where all is well, and learns that it is."""
    fail(one, NOW)
    two.end(SUCCESS, NOW + 100)
    two.hear(one, at=NOW + 101)
    assert two.state(NOW + 101) == CLOSED
    one.hear(two, at=NOW + 101)
    assert one.state(NOW + 101) == CLOSED


def test_a_new_failure_opens_again_after_a_recovery(one: Instance, two: Instance) -> None:
    """A recovery ends the opening it belongs to, and none that came later."""
    fail(one, NOW)
    two.hear(one, at=NOW)
    one.end(SUCCESS, NOW + 6)
    fail(one, NOW + 7)
    two.hear(one, at=NOW + 7)
    assert two.breakers.view(NOW + 7)[D].open_until == NOW + 12


def test_a_quota_used_up_at_one_is_used_up_at_all(one: Instance, two: Instance) -> None:
    """Until the provider's time, and no longer than the longest cooling time; the state stays what it is."""
    one.end(SUCCESS, NOW, quota_until=NOW + 20, quota_unit="tokens")
    two.hear(one, at=NOW)
    heard = two.breakers.view(NOW)[D]
    assert (heard.quota_until, heard.quota_unit, two.state(NOW)) == (NOW + 20, "tokens", CLOSED)
    two.breakers.hear({D: Finding(quota_until=1e18)}, NOW)
    assert two.breakers.view(NOW)[D].quota_until == NOW + 60


def test_nothing_odd_holds_for_ever(one: Instance) -> None:
    """A time that nobody can mean ends after a day; a recovery that is yet to come keeps nothing from cooling down."""
    one.breakers.hear({D: Finding(open_until=1e18, cool_down=1e18)}, NOW)
    assert one.breakers.view(NOW)[D].open_until == NOW + 86_400
    other = Instance()
    other.breakers.hear({D: Finding(recovered_until=1e18)}, NOW)
    fail(other, NOW + 1)
    assert other.state(NOW + 1) == OPEN


steps = st.tuples(st.sampled_from([SUCCESS, FAILURE, RATE_LIMITED]), st.sampled_from([0.0, 0.5, 3.0, 6.0]))


@given(st.lists(steps, max_size=12), findings)
def test_own_findings_never_get_weaker(history: list[tuple[str, float]], heard: Finding) -> None:
    """Whatever others say: what is open stays so at least as long, a quota stays used up, and hearing twice changes nothing."""
    now = NOW - 10
    breaker = Breaker(COOLING, lambda: "probe")
    for kind, wait in history:
        now += wait
        breaker.record(Evidence(kind, now, retry_after=20 if kind == RATE_LIMITED else None), now)
    before = breaker.view(now)
    breaker.hear(heard, now)
    after = breaker.view(now)
    if before.state == OPEN:
        assert after.state == OPEN
        assert after.open_until >= before.open_until
    assert after.quota_until >= before.quota_until
    assert after.consecutive_failures == before.consecutive_failures or after.state == CLOSED
    told = breaker.finding(now)
    breaker.hear(heard, now)
    breaker.hear(told, now)
    assert (breaker.view(now), breaker.finding(now)) == (after, told)


@given(st.sets(st.sampled_from("abcdef"), min_size=1), st.floats(0, 100))
def test_at_most_one_has_the_turn(names: set[str], seconds: float) -> None:
    """Each gets its turn in a round, and between two turns nobody has it; who is alone always does."""

    def having(at: float) -> list[str]:
        return [name for name in names if has_turn(name, names - {name}, D, NOW, at)]

    assert len(having(NOW + seconds)) <= 1 or len(names) == 1
    round_of_turns = [having(NOW + number * TURN_SECONDS + 0.1) for number in range(len(names))]
    assert {name for found in round_of_turns for name in found} == names
    if len(names) > 1:
        assert having(NOW + TURN_SECONDS - 0.1) == []


def test_a_probe_is_granted_by_one() -> None:
    """By whoever has the turn, and by nobody while one that was taken elsewhere is under way; that is over in the end."""
    view = {D: DeploymentHealth(HALF_OPEN, "probe", NOW)}

    def granted(own: str, other: Word, at: float) -> bool:
        names = {"a", "b"}
        [other_name] = names - {own}
        return put_together(view, (own, {}), {other_name: other}, {D}, at)[D].probe is not None

    first = [own for own in "ab" if granted(own, Word(), NOW + 0.1)]
    assert len(first) == 1
    probing = Word({D: Finding(probing_until=NOW + 10)})
    assert not granted(first[0], probing, NOW + 0.1)
    assert not granted(first[0], probing, NOW + 8.1)
    assert granted(first[0], probing, NOW + 12.1)


def test_latencies_weigh_as_much_as_they_have_answers() -> None:
    """Also of a deployment that only others asked; of unknown ones nothing is said."""
    other = Word(latencies={D: Latency(100, 30), "azure/small": Latency(70, 1), "gone": Latency(1, 1)})
    view = {D: DeploymentHealth(time_to_first_byte_ms=200)}
    found = put_together(view, ("a", {D: Latency(200, 10)}), {"b": other}, {D, "azure/small"}, NOW)
    assert {name: health.time_to_first_byte_ms for name, health in found.items()} == {D: 125, "azure/small": 70}
    assert combine([]) is combine([Latency(5, 0), Latency(-1, 7)]) is None


def test_nobody_else_changes_nothing() -> None:
    """An instance without others decides by what it found."""
    view = {D: DeploymentHealth(HALF_OPEN, "probe", NOW, time_to_first_byte_ms=3)}
    assert put_together(view, ("a", {}), {}, {D}, NOW + 1.5) == view


@given(words)
def test_words_travel_as_they_are(word: Word) -> None:
    """What was encoded is what is read; what a newer version adds is passed over, anything else is refused."""
    assert decode_word(encode_word(word).encode()) == word
    newer = b'{"findings":{"d":[1,2,3,4,5,"tokens",7]},"more":1}'
    assert decode_word(newer).findings["d"] == Finding(1, 2, 3, 4, 5, "tokens")
    # Of instances that do not say yet of what a quota is.
    assert decode_word(b'{"findings":{"d":[1,2,3,4,5]}}').findings["d"] == Finding(1, 2, 3, 4, 5, "")
    with pytest.raises(msgspec.DecodeError):
        decode_word(b"[]")
