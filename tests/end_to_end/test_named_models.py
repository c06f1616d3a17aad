"""Who asks for a model by name gets that model or an error; only a route that says so answers with another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import Instance, Simulators, running, until

pytestmark = pytest.mark.end_to_end

FAULTS: dict[str, dict[str, Any]] = {
    "503": {"status": 503},
    "429": {"status": 429, "retry_after": 120},
    "400": {"context_length_exceeded": True},
    "refused": {"refuse": True},
    "reset": {"refuse": True, "times": 1},
}
KINDS = {"plain": False, "stream": True}

# One failure cools a deployment down, so each case has models of its own. `weak` would be there for all of them.
HEAD = """
cooling: {failures: 1, time: 120s, max_time: 120s}
providers:
  strong: {base_url: $strong/v1}
  weak: {base_url: $weak/v1}
models:
  weak: {tier: premium, deployments: [{provider: weak}]}
"""


def configuration() -> str:
    cases = [f"{fault}.{kind}" for fault, kind in product(FAULTS, KINDS)]
    models = [
        f"  {name}.{case}: {{tier: premium, deployments: [{{provider: strong}}]}}\n"
        for case in cases
        for name in ("named", "meant", "open")
    ]
    aliases = [f"  alias.{case}: meant.{case}\n" for case in cases]
    routes = [f"  open.{case}: {{allow_cross_model: true, same_tier: false, last_resort: [weak]}}\n" for case in cases]
    return "".join((HEAD, *models, "aliases:\n", *aliases, "routes:\n", *routes))


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    started = Simulators(tmp_path_factory.mktemp("simulators"), {"strong": {}, "weak": {}})
    yield started
    started.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(configuration()))) as started:
        yield started


@pytest.fixture(autouse=True)
def _healthy(simulators: Simulators) -> None:
    simulators.heal()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("asked", "model"), [("named", "named"), ("alias", "meant")])
def test_a_named_model_is_never_replaced(
    instance: Instance, simulators: Simulators, *, asked: str, model: str, fault: str, kind: str
) -> None:
    """By its own name or by an alias: when it fails, the client gets its failure, and nobody else sees the request."""
    case = f"{fault}.{kind}"
    simulators.faults("strong", **FAULTS[fault])
    answer = instance.ask(f"{asked}.{case}", stream=KINDS[kind])
    assert answer.status_code == {"503": 503, "429": 429, "400": 400}.get(fault, 503)
    assert (answer.headers["x-router-model"], answer.headers["x-router-attempts"]) == (f"{model}.{case}", "1")
    assert "weak" not in simulators.asked()


@pytest.mark.parametrize("kind", KINDS)
def test_a_named_model_that_cools_down_is_not_replaced_either(instance: Instance, simulators: Simulators, kind: str) -> None:
    """It is all there is: it is tried although it cools down, once and marked, and serves if it can."""
    model = f"named.503.{kind}"
    simulators.faults("strong", status=503)
    instance.ask(model)
    until(lambda: instance.health(f"strong/{model}") == "open")

    def degraded() -> httpx.Response | None:
        answer = instance.ask(model, stream=KINDS[kind])
        return answer if "x-router-degraded" in answer.headers else None

    failed = until(degraded)
    assert (failed.status_code, failed.headers["x-router-degraded"]) == (503, "all-cooling-down")
    simulators.heal()
    served = instance.ask(model, stream=KINDS[kind])
    assert (served.status_code, served.headers["x-router-model"]) == (200, model)
    assert served.headers["x-router-degraded"] == "all-cooling-down"
    assert "weak" not in simulators.asked()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_allow_cross_model_opts_in(instance: Instance, simulators: Simulators, fault: str, kind: str) -> None:
    """A model's route that allows it is served by another, and the headers name both."""
    model = f"open.{fault}.{kind}"
    simulators.faults("strong", **FAULTS[fault])
    answer = instance.ask(model, stream=KINDS[kind])
    assert (answer.status_code, answer.headers["x-router-model"], answer.headers["x-router-attempts"]) == (200, "weak", "2")
    assert answer.headers["x-router-route"] == model
    assert answer.headers["x-router-fallback-from"] == f"strong/{model}"
    assert simulators.asked() == ({"weak": 1} if fault == "refused" else {"strong": 1, "weak": 1})


def test_a_file_that_would_replace_it_in_silence_is_refused(
    simulators: Simulators, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A chain to another model behind a model's own name is an error of the file, which names the key that would allow it."""
    text = f"{HEAD}  named: {{deployments: [{{provider: strong}}]}}\nroutes:\n  named: {{last_resort: [weak]}}\n"
    instance = Instance(tmp_path_factory.mktemp("refused"), simulators.fill(text))
    with pytest.raises(AssertionError, match=r"set routes\.named\.allow_cross_model: true"):
        instance.start()
    instance.stop()
