"""A provider more is four lines of YAML: while requests run, without a restart, and without a change at the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running, until, until_everywhere

pytestmark = pytest.mark.end_to_end

CONFIGURATION = """
providers:
  old:
    base_url: $old/v1
    models: [old-model]
"""
FOUR_LINES = """
  newcomer:
    base_url: $newcomer/v1
    models: [new-model]
    credentials: [{file: newcomer.key}]
"""


@pytest.fixture
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    played = {"old": {"models": ["old-model"]}, "newcomer": {"models": ["new-model"], "api_keys": ["sk-newcomer"]}}
    played["old_elsewhere"] = {"models": ["old-model"]}
    played["renaming"] = {"models": ["its-own-name"]}
    simulated = Simulators(tmp_path_factory.mktemp("providers"), played)
    yield simulated
    simulated.stop()


@pytest.fixture
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("instance")
    (folder / "newcomer.key").write_text("sk-newcomer", encoding="utf-8")
    with running(Instance(folder, simulators.fill(CONFIGURATION))) as instance:
        yield instance


def knows(instance: Instance, model: str) -> bool:
    with instance.http() as http:
        return model in {entry["id"] for entry in http.get("/v1/models").json()["data"]}


def test_a_provider_is_added_under_load(instance: Instance, simulators: Simulators) -> None:
    """The first request to the new provider's model succeeds as soon as the model is listed, and no other one fails."""
    assert len(FOUR_LINES.strip().splitlines()) == 4
    assert instance.ask("new-model").status_code == 404
    before = [*instance.pids(""), *instance.pids("envoy")]
    with Load([instance.port], [chat("old-model"), chat("old-model", stream=True)], connections=4) as load:
        load.after(20)
        instance.write(instance.configuration + simulators.fill(FOUR_LINES))
        until_everywhere(lambda: knows(instance, "new-model"))
        first = instance.ask("new-model")
        assert (first.status_code, first.headers["x-router-deployment"]) == (200, "newcomer/new-model"), first.text
        load.after(20)
    assert load.not_served == []
    assert load.not_decided == []
    assert [*instance.pids(""), *instance.pids("envoy")] == before
    assert simulators.stats("newcomer")["by_status"] == {"200": 1}


def test_nobody_falls_between_the_two_sides(instance: Instance, simulators: Simulators) -> None:
    """Whoever asks for the model while it is being added gets 404 or the answer, never an error of a half-known cluster."""
    with Load([instance.port], [chat("new-model")], connections=8) as load:
        load.after(20)
        instance.write(instance.configuration + simulators.fill(FOUR_LINES))
        until(lambda: {outcome.status for outcome in load.outcomes[-100:]} == {200})
        load.after(100)
    assert set(load.by(lambda outcome: outcome.status)) == {200, 404}
    assert {outcome.status for outcome in load.outcomes[-100:]} == {200}
    assert load.not_decided == []


def test_a_provider_is_replaced_under_load(instance: Instance, simulators: Simulators) -> None:
    """The same model moves to another provider: the client's request stays as it is, and none fails on the way."""
    moved = "models:\n  old-model: {deployments: [{provider: newcomer, model: new-model}]}\n"
    with Load([instance.port], [chat("old-model"), chat("old-model", stream=True)], connections=4) as load:
        load.after(20)
        instance.write("providers:" + simulators.fill(FOUR_LINES) + moved)
        until(lambda: {outcome.headers["x-router-deployment"] for outcome in load.outcomes[-20:]} == {"newcomer/old-model"})
        load.after(20)
    assert load.not_served == []
    assert load.not_decided == []
    assert load.outcomes[0].headers["x-router-deployment"] == "old/old-model"
    assert load.outcomes[-1].headers["x-router-deployment"] == "newcomer/old-model"


def test_a_provider_moves_under_load(instance: Instance, simulators: Simulators) -> None:
    """A provider gets another address: what runs ends at the old one, what comes goes to the new one, none fails."""
    with Load([instance.port], [chat("old-model"), chat("old-model", stream=True)], connections=4) as load:
        load.after(20)
        instance.write(simulators.fill(CONFIGURATION.replace("$old/v1", "$old_elsewhere/v1")))
        until(lambda: simulators.asked().get("old_elsewhere", 0) > 20)
        load.after(20)
    assert load.not_served == []
    assert load.not_decided == []


def test_a_provider_moves_to_where_the_model_has_another_name(instance: Instance, simulators: Simulators) -> None:
    """Address and model id of one deployment change together: no request reaches the new place with the old name."""
    moved = simulators.fill(CONFIGURATION.replace("$old/v1", "$renaming/v1").replace("    models: [old-model]\n", ""))
    moved += "models:\n  old-model: {deployments: [{provider: old, model: its-own-name}]}\n"
    with Load([instance.port], [chat("old-model"), chat("old-model", stream=True)], connections=4) as load:
        load.after(20)
        instance.write(moved)
        until(lambda: simulators.asked().get("renaming", 0) > 20)
        load.after(20)
    assert load.not_served == []
    assert load.not_decided == []
