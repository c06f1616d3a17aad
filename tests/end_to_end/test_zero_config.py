"""One key in the environment and one command: no file is needed to start."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.isolated import Command, Loopback, NotPermittedError

pytestmark = pytest.mark.end_to_end

KEY = "sk-canary-environment-4be1079d"
URL = "http://127.0.0.1:10000"


@pytest.fixture(scope="module")
def network() -> Iterator[Loopback]:
    try:
        made = Loopback()
    except NotPermittedError:
        pytest.skip("this machine does not permit network namespaces, and the default ports may be in use")
    yield made
    made.close()


@pytest.fixture(scope="module")
def instance(network: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Started in an empty folder, with a key of OpenAI's, where nothing outside can be reached."""
    folder = tmp_path_factory.mktemp("empty")
    with Command(network, folder, "up", OPENAI_API_KEY=KEY) as command:
        yield command


def fetch(network: Loopback, path: str, body: Any = None, *more: str) -> tuple[int, Any]:
    """Status and JSON of one request."""
    words = ["curl", "--silent", "--max-time", "50", "--write-out", "\n%{http_code}", *more, f"{URL}{path}"]
    if body is not None:
        words += ["-H", "content-type: application/json", "-d", json.dumps(body)]
    done = network.run(*words)
    assert done.returncode == 0, done.stderr
    content, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(content)


def test_one_key_is_enough_to_serve(network: Loopback, instance: Command) -> None:
    """The models of that provider are served under their names and under the default routes, with limits and prices."""
    status, answer = fetch(network, "/v1/models")
    assert status == 200
    models = {model["id"]: model for model in answer["data"]}
    assert {"auto", "fast", "cheap", "best"} <= set(models)
    chats = [model for model in models.values() if model["kind"] == "model" and "tools" in (model["capabilities"] or [])]
    assert len(chats) >= 2
    assert len({model["tier"] for model in chats}) >= 2, "auto needs something to choose from"
    assert all(model["context_length"] and model["pricing"] and model["owned_by"] == "openai" for model in chats)


def test_requests_are_decided(network: Loopback, instance: Command) -> None:
    """A request is decided for OpenAI, by a fallback chain of more than one; the dry run calls nobody."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
    status, answer = fetch(network, "/v1/chat/completions", body, "-H", "x-router-dry-run: 1")
    assert status == 200
    chain = answer["decision"]["chain"]
    assert len(chain) > 1
    assert all(attempt["deployment"].startswith("openai/") for attempt in chain)
    assert answer["decision"]["estimated_cost_usd"] > 0


def test_the_running_instance_is_explained(network: Loopback, instance: Command) -> None:
    """`explain` in the same folder needs no file either and says the same."""
    done = network.run(sys.executable, "-m", "router_extproc", "explain", "-m", "Hello", "--json", folder=instance.folder)
    assert done.returncode == 0, done.stderr
    explained = json.loads(done.stdout)
    assert explained["route"] == "auto"
    assert explained["decision"]["chain"][0]["deployment"].startswith("openai/")
    assert all(prices["source"] for prices in explained["prices"])


def test_requests_go_to_the_provider_itself(instance: Command) -> None:
    """Envoy's clusters lead to OpenAI's own address over TLS, with its name checked, and the key is in its place."""
    rendered = json.loads((instance.folder / ".router-extproc/envoy/cds.json").read_text(encoding="utf-8"))
    for cluster in rendered["resources"]:
        (real, *_) = cluster["load_assignment"]["endpoints"]
        address = real["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        assert (address["address"], address["port_value"]) == ("api.openai.com", 443)
        tls = cluster["transport_socket"]["typed_config"]
        assert tls["sni"] == "api.openai.com"
        assert "api.openai.com" in json.dumps(tls["common_tls_context"]["validation_context"])
    (secret,) = (instance.folder / ".router-extproc/envoy/secrets").iterdir()
    assert f"Bearer {KEY}" in secret.read_text(encoding="utf-8")
    assert KEY not in json.dumps(rendered)


def test_without_the_outside_the_client_is_told(network: Loopback, instance: Command) -> None:
    """Where the provider cannot be reached the request fails with an error, and does not hang."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
    status, answer = fetch(network, "/v1/chat/completions", body)
    assert status == 503
    assert answer["error"]["type"] == "server_error"


def test_nothing_is_written_but_the_state(instance: Command) -> None:
    """Beside its state directory the command leaves no file behind."""
    assert {path.name for path in instance.folder.iterdir()} == {".router-extproc", instance.output.name}


def test_without_key_and_file_there_is_nothing_to_serve(network: Loopback, tmp_path: Path) -> None:
    """Without either the command ends at once and says what would help."""
    done = network.run(sys.executable, "-m", "router_extproc", "up", folder=tmp_path)
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert "--demo" in done.stderr
