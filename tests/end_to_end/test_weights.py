"""Traffic is split as the weights say: over targets, over a model's deployments, and over a provider's keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

CONFIGURATION = """
cooling: {failures: 1000000, failure_ratio: 1.0, window: 10m}
providers:
  alpha: {base_url: $alpha/v1, outlier: {consecutive_failures: 1000000}}
  beta: {base_url: $beta/v1}
  gamma: {base_url: $gamma/v1, credentials: [{env: KEY_ONE, name: one, weight: 1}, {env: KEY_TWO, name: two, weight: 3}]}
models:
  heavy: {deployments: [{provider: alpha, weight: 8}, {provider: beta, weight: 2}]}
  light: {deployments: [{provider: gamma}]}
  rare: {deployments: [{provider: beta}]}
routes:
  split: {targets: [{model: heavy, weight: 70}, {model: light, weight: 25}, {model: rare, weight: 5}]}
"""
KEYS = {"KEY_ONE": "sk-one", "KEY_TWO": "sk-two"}
SHARES = {
    "alpha/heavy": 0.70 * 0.8,
    "beta/heavy": 0.70 * 0.2,
    "gamma/light@one": 0.0625,
    "gamma/light@two": 0.1875,
    "beta/rare": 0.05,
}
SMALLEST_P = 1e-7


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    simulated = Simulators(tmp_path_factory.mktemp("providers"), {"alpha": {}, "beta": {}, "gamma": {}}, record=False)
    yield simulated
    simulated.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    configuration = simulators.fill(CONFIGURATION)
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration, environment=KEYS)) as instance:
        yield instance


@pytest.fixture(autouse=True)
def healed(simulators: Simulators) -> None:
    simulators.heal()


def chance(counts: Counter[str], shares: dict[str, float]) -> float:
    """The probability of counts at least this far from the shares: Pearson's chi-squared test.

    The survival function of the chi-squared distribution, which for an even number of degrees of freedom k is the sum
    exp(-x/2) (x/2)^i / i! over i < k/2.
    """
    degrees = len(shares) - 1
    assert degrees % 2 == 0, "the closed form is for an even number of degrees"
    assert set(counts) <= set(shares)
    total = counts.total()
    half = sum((counts[name] - total * share) ** 2 / (total * share) for name, share in shares.items()) / 2
    return math.exp(-half) * sum(half**power / math.factorial(power) for power in range(degrees // 2))


def test_the_measure_itself() -> None:
    """Exact shares are certain, and shares off by four points of a hundred are as good as impossible."""
    assert chance(Counter({name: round(10_000 * share) for name, share in SHARES.items()}), SHARES) > 0.99
    skewed = {name: share - 0.04 if name == "alpha/heavy" else share + 0.01 for name, share in SHARES.items()}
    assert chance(Counter({name: round(10_000 * share) for name, share in skewed.items()}), SHARES) < SMALLEST_P


@pytest.mark.timeout(240)
def test_ten_thousand_requests_are_split_by_weight(instance: Instance, simulators: Simulators) -> None:
    """Over 10,000 requests the shares of targets, deployments and keys are the written ones (chi squared, p > 1e-7)."""
    with Load([instance.port], [chat("split")], connections=16, requests=10_000, keep_bodies=False) as load:
        load.join(200)
    assert load.not_served == []
    assert load.not_decided == []
    counts = Counter(outcome.headers["x-router-deployment"] for outcome in load.outcomes)
    assert counts.total() == 10_000
    assert chance(counts, SHARES) > SMALLEST_P, counts
    # Who says to have answered was really asked.
    asked = simulators.asked()
    assert asked["alpha"] == counts["alpha/heavy"]
    assert asked["beta"] == counts["beta/heavy"] + counts["beta/rare"]
    assert asked["gamma"] == counts["gamma/light@one"] + counts["gamma/light@two"]


def test_after_a_failure_the_rest_share_by_weight(instance: Instance, simulators: Simulators) -> None:
    """Where the drawn deployment fails, its model's other one takes over, and whoever was not drawn keeps its share."""
    simulators.faults("alpha", status=500, error_rate=0.5)
    with Load([instance.port], [chat("split")], connections=16, requests=2_000, keep_bodies=False) as load:
        load.join(100)
    assert load.not_served == []
    failed = simulators.stats("alpha")["by_status"]["500"]
    assert failed > 300
    retried = [outcome for outcome in load.outcomes if outcome.headers["x-router-attempts"] != "1"]
    assert len(retried) == failed
    assert {outcome.headers["x-router-deployment"] for outcome in retried} == {"beta/heavy"}
    assert {outcome.headers["x-router-fallback-from"] for outcome in retried} == {"alpha/heavy"}
    drawn = load.by(lambda outcome: outcome.headers.get("x-router-fallback-from", outcome.headers["x-router-deployment"]))
    assert chance(drawn, SHARES) > SMALLEST_P, drawn
