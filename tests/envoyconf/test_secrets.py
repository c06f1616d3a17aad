"""Keys: where they are read, which deployment uses which, and that they stay in Envoy's secret files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from router_extproc.envoyconf import credential_files, render_secrets
from router_extproc.envoyconf.secrets import credentials_by_deployment, placeholder_secrets
from router_extproc.errors import StartError
from tests.envoyconf.providers import Providers
from tests.envoyconf.running import Envoy, free_port, write
from tests.envoyconf.samples import configuration, registry_of

CHAT = "/v1/chat/completions"


def inline(content: bytes) -> str:
    (secret,) = json.loads(content)["resources"]
    return str(secret["generic_secret"]["secret"]["inline_string"])


def test_each_deployment_has_its_own_key() -> None:
    """The several keys of a provider make several deployments, one key each."""
    keys = credentials_by_deployment(configuration())
    assert {name: key and key.secret_name for name, key in keys.items()} == {
        "plain/small": None,
        "cloud/small@first": "cloud@first",
        "cloud/small@2": "cloud@2",
    }


def test_key_is_written_as_its_header_wants_it() -> None:
    """A bearer key gets its prefix, a key in a header of its own stands alone; white space around it is not part of it."""
    providers = {
        "bearer": {"base_url": "http://a", "credentials": [{"env": "KEY"}]},
        "bare": {"base_url": "http://a", "credentials": [{"env": "KEY"}], "credential_header": "api-key"},
    }
    files = render_secrets(configuration({"providers": providers, "models": {}}), {"KEY": " sk-1\n"})
    assert inline(files["secrets/bearer@1.json"]) == "Bearer sk-1"
    assert inline(files["secrets/bare@1.json"]) == "sk-1"


def test_key_is_read_from_its_file(tmp_path: Path) -> None:
    """A key file's trailing newline is not part of the key; the file is named as one to watch."""
    file = tmp_path / "key"
    file.write_text("sk-2\n")
    config = configuration({"providers": {"p": {"base_url": "http://a", "credentials": [{"file": str(file)}]}}, "models": {}})
    assert inline(render_secrets(config, {})["secrets/p@1.json"]) == "Bearer sk-2"
    assert credential_files(config) == (file,)


@pytest.mark.parametrize("credential", [{"env": "MISSING"}, {"file": "/nowhere/key"}])
def test_missing_key_is_an_empty_secret(credential: dict[str, str]) -> None:
    """Without the key there is no prefix either, and the file exists, without which Envoy would not start."""
    config = configuration({"providers": {"p": {"base_url": "http://a", "credentials": [credential]}}, "models": {}})
    assert inline(render_secrets(config, {})["secrets/p@1.json"]) == ""


def test_names_become_file_names() -> None:
    """A provider's name may hold a slash or an at sign; files stay in their directory and apart."""
    credentials = [{"env": "A", "name": "y"}]
    providers = {name: {"base_url": "http://a", "credentials": credentials} for name in ("a/b", "a@b", "c:d")}
    files = list(placeholder_secrets(configuration({"providers": providers, "models": {}})))
    assert files == ["secrets/a%2Fb@y.json", "secrets/a%40b@y.json", "secrets/c%3Ad@y.json"]


def test_placeholders_hold_nothing() -> None:
    """Files that are shown hold the same names and no keys."""
    config = configuration()
    environ = {"FIRST_KEY": "sk-canary", "SECOND_KEY": "sk-canary"}
    assert list(placeholder_secrets(config)) == list(render_secrets(config, environ))
    assert placeholder_secrets(config) == render_secrets(config, {})


@pytest.fixture(scope="module")
def keyed(providers: Providers) -> Iterator[Envoy]:
    """Envoy without any worker: its default chain is a provider that needs a key."""
    sections = {
        "listener": {"port": free_port()},
        "envoy": {"admin_port": free_port()},
        "providers": {"p": {"base_url": providers.url("p"), "credentials": [{"env": "KEY"}], "credential_header": "x-api-key"}},
        "models": {"m": {"deployments": [{"provider": "p"}]}},
    }
    config = configuration(sections)
    with tempfile.TemporaryDirectory() as folder:
        envoy = Envoy(Path(folder), config, registry_of(config), {"KEY": "sk-canary-before"})
        yield envoy.start()
        envoy.stop()


@pytest.mark.end_to_end
class TestInEnvoy:
    def test_key_is_used_and_not_shown(self, keyed: Envoy, providers: Providers) -> None:
        """The key reaches the provider; no dump, statistic, log or answer of Envoy shows it."""
        providers.reset()
        answer = httpx.post(keyed.url + CHAT, json={"model": "x"}, headers={"x-api-key": "client"}, trust_env=False)
        assert providers.asked[0].headers["x-api-key"] == "sk-canary-before"
        keyed.access_log(answer.headers["x-router-decision"])
        logs = (keyed.folders.logs / "access.jsonl").read_text() + keyed.log()
        shown = [keyed.config_dump(), answer.text, str(answer.headers), logs, json.dumps(keyed.stats(""))]
        assert "p@1" in shown[0]
        assert not [text for text in shown if "sk-canary" in text]

    def test_rotated_key_is_used_without_restart(self, keyed: Envoy, providers: Providers) -> None:
        """Once its file is replaced, the next request carries the new key."""
        write(render_secrets(keyed.config, {"KEY": "sk-canary-after"}), keyed.folders.envoy)

        def is_rotated() -> bool:
            providers.reset()
            httpx.post(keyed.url + CHAT, json={"model": "x"}, trust_env=False)
            return providers.asked[0].headers["x-api-key"] == "sk-canary-after"

        keyed.until(is_rotated, 5)

    def test_missing_key_is_said(self, keyed: Envoy, providers: Providers) -> None:
        """Without a key the provider is not called, and the error says why, in OpenAI's shape."""
        write(render_secrets(keyed.config, {}), keyed.folders.envoy)
        answers: list[httpx.Response] = []

        def is_refused() -> bool:
            providers.reset()
            answers.append(httpx.post(keyed.url + CHAT, json={"model": "x"}, trust_env=False))
            return answers[-1].status_code == 401

        keyed.until(is_refused, 5)
        assert answers[-1].json()["error"]["code"] == "missing_credential"
        assert not providers.asked


def test_authorities_of_a_mesh_are_read_or_named(tmp_path: Path) -> None:
    """A running instance has them as they are now; a configuration that is shown says where they lie."""
    file = tmp_path / "mesh.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    mesh = {"certificate_authority": str(file), "identities": {"spiffe://mesh.example/a": "acme"}}
    config = configuration({"auth": {"mode": "mesh", "mesh": mesh}})

    def source(files: dict[str, bytes]) -> object:
        (secret,) = json.loads(files["secrets/peers.json"])["resources"]
        return secret["validation_context"]["trusted_ca"]

    assert source(render_secrets(config, {})) == {"inline_string": "-----BEGIN CERTIFICATE-----\n"}
    assert source(placeholder_secrets(config)) == {"filename": str(file)}
    file.unlink()
    with pytest.raises(StartError, match=r"auth\.mesh\.certificate_authority"):
        render_secrets(config, {})
