"""`GET /v1/models` shows every name that a client may write, with limits and prices, and nobody is called for it."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, running

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

CONFIGURATION = """
providers:
  openai: {base_url: $one/v1, models: [gpt-4o, gpt-4o-mini, text-embedding-3-small]}
  own: {base_url: $one/v1, models: ["wild-*"]}
models:
  own/model-7b:
    deployments: [{provider: own, model: weights-7b}]
    tier: economy
    context_window: 32000
    output_limit: 2000
    capabilities: [tools]
    prices: {input: 0.05, output: 0.1, cached_input: 0.02}
  unpriced: {deployments: [{provider: own}]}
aliases: {gpt-4: gpt-4o, default: team}
routes:
  team: {targets: [gpt-4o-mini, own/model-7b]}
"""

SIMULATED = {"one": {}}


@pytest.fixture(scope="module")
def client(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    configuration = simulators.fill(CONFIGURATION)
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as instance, instance.client() as client:
        yield client


def test_every_name_is_listed(client: openai.OpenAI, simulators: Simulators) -> None:
    """Routes, models and aliases are all there, each once, and no provider is asked."""
    listed = list(client.models.list())
    names = [model.id for model in listed]
    assert len(set(names)) == len(names)
    kinds = {model.id: (model.model_extra or {})["kind"] for model in listed}
    assert {name for name, kind in kinds.items() if kind == "route"} == {"auto", "fast", "cheap", "best", "team"}
    assert {name for name, kind in kinds.items() if kind == "model"} == {
        "gpt-4o", "gpt-4o-mini", "text-embedding-3-small", "wild-*", "own/model-7b", "unpriced",
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "alias"} == {"gpt-4", "default"}
    assert all(model.object == "model" and model.owned_by for model in listed)
    assert simulators.asked() == {}


def test_limits_and_prices_are_shown(client: openai.OpenAI) -> None:
    """A model shows what the file says of it, else what the catalogue knows: context length, output limit, prices."""
    listed = {model.id: model.model_extra or {} for model in client.models.list()}
    own = listed["own/model-7b"]
    assert (own["context_length"], own["context_window"], own["max_output_tokens"]) == (32_000, 32_000, 2_000)
    assert own["pricing"]["input_per_million"] == 0.05
    assert own["pricing"]["output_per_million"] == 0.1
    assert own["pricing"]["cached_input_per_million"] == 0.02
    assert (own["pricing"]["prompt"], own["pricing"]["completion"]) == ("0.00000005", "0.0000001")
    assert (own["tier"], own["capabilities"]) == ("economy", ["tools"])
    known = listed["gpt-4o"]
    assert known["context_length"] == 128_000
    assert (known["pricing"]["input_per_million"], known["pricing"]["output_per_million"]) == (2.5, 10.0)
    assert "vision" in known["capabilities"]
    assert listed["unpriced"]["pricing"] is None
    assert listed["unpriced"]["context_length"] is None


def test_a_route_shows_what_it_can_do(client: openai.OpenAI) -> None:
    """A route shows the widest context and the lowest price among its models, an alias what it stands for."""
    listed = {model.id: model.model_extra or {} for model in client.models.list()}
    assert listed["team"]["context_length"] == 128_000
    assert listed["team"]["pricing"]["input_per_million"] == 0.05
    assert listed["gpt-4"]["alias_of"] == "gpt-4o"
    assert listed["gpt-4"]["pricing"] == listed["gpt-4o"]["pricing"]
    assert listed["default"]["context_length"] == listed["team"]["context_length"]


def test_each_listed_name_can_be_retrieved(client: openai.OpenAI) -> None:
    """`models.retrieve` gives the same entry as the list, also for names with a slash."""
    for entry in client.models.list():
        assert client.models.retrieve(entry.id) == entry


def test_each_listed_name_serves(client: openai.OpenAI) -> None:
    """What is listed can be asked for: every name but a wildcard's and one that only embeds answers a chat."""
    for entry in client.models.list():
        if entry.id in {"wild-*", "text-embedding-3-small"}:
            continue
        raw = client.chat.completions.with_raw_response.create(model=entry.id, messages=HELLO)
        served = raw.headers["x-router-model"]
        kind = (entry.model_extra or {})["kind"]
        if kind == "model":
            assert served == entry.id
        assert raw.headers["x-router-route"] == {"gpt-4": "gpt-4o", "default": "team"}.get(entry.id, entry.id)


def test_a_wildcard_serves_the_name_that_was_asked_for(client: openai.OpenAI, simulators: Simulators) -> None:
    """`wild-*` takes any name with that prefix, hands it on as it is, and the headers name it."""
    raw = client.chat.completions.with_raw_response.create(model="wild-7b-2026", messages=HELLO)
    assert raw.headers["x-router-model"] == "wild-7b-2026"
    assert raw.parse().model == "wild-7b-2026"


def test_an_unknown_name_is_not_found(client: openai.OpenAI) -> None:
    """An unknown name is 404 with OpenAI's code."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4oo")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "gpt-4oo" in str(caught.value.body)
    assert caught.value.response.headers["x-router-decision"]
