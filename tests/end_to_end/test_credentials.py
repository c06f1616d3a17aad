"""Keys reach the provider they belong to and nobody else; what a client sends to prove or to steer itself stays here."""

from __future__ import annotations

import base64
import json
import sqlite3
import stat
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import CHAT, Instance, Simulators, running, until

pytestmark = pytest.mark.end_to_end

# Each is unlike anything that could occur by chance.
KEYS = {
    "FIRST_KEY": "sk-canary-first-5f1d0c9a7b3e",
    "SECOND_KEY": "sk-canary-second-88ab41c2d97f",
    "HEADER_KEY": "canary-header-0a64fd1be253",
    "UNWELCOME_KEY": "sk-canary-unwelcome-c7e15a90b864",
}
FILE_KEY = "sk-canary-file-31b7c5e8a902"
CLIENTS = {
    "authorization": "Bearer client-canary-authorization-a1",
    "api-key": "client-canary-api-key-b2",
    "x-api-key": "client-canary-x-api-key-c3",
    "x-goog-api-key": "client-canary-x-goog-api-key-d4",
    "cookie": "session=client-canary-cookie-e5",
    "proxy-authorization": "Basic client-canary-proxy-f6",
}
PROMPT, QUERY = "prompt-canary-17c2f9", "query-canary-92be04"

CONFIGURATION = """
cooling: {failures: 1000000, window: 1ms, time: 1ms, max_time: 1ms}
providers:
  keyed: {base_url: $keyed/v1, models: [m], credentials: [{env: FIRST_KEY, name: first}, {env: SECOND_KEY, name: second}]}
  headed: {base_url: $headed/v1, models: [m], credentials: [{env: HEADER_KEY}], credential_header: api-key}
  filed: {base_url: $filed/v1, models: [m], credentials: [{file: provider.key}]}
  open: {base_url: $open/v1, models: [m]}
  unwelcome: {base_url: $keyed/v1, models: [m], credentials: [{env: UNWELCOME_KEY}]}
routes:
  first: {targets: [{deployment: keyed/m@first}]}
  second: {targets: [{deployment: keyed/m@second}]}
  both: {targets: [{deployment: keyed/m@first}, {deployment: keyed/m@second}, {deployment: open/m}]}
  headed: {targets: [{deployment: headed/m}, {deployment: open/m}]}
  mixed: {targets: [{deployment: headed/m}, {deployment: filed/m}]}
  filed-or-open: {targets: [{deployment: filed/m}, {deployment: open/m}]}
  filed: {targets: [{deployment: filed/m}], same_tier: false}
  open: {targets: [{deployment: open/m}]}
  unwelcome: {targets: [{deployment: unwelcome/m}], same_tier: false}
"""


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    played: dict[str, dict[str, Any]] = {
        "keyed": {"api_keys": [KEYS["FIRST_KEY"], KEYS["SECOND_KEY"]]},
        "headed": {},
        "filed": {},
        "open": {},
    }
    simulated = Simulators(tmp_path_factory.mktemp("providers"), played)
    yield simulated
    simulated.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("instance")
    (folder / "provider.key").write_text(f"{FILE_KEY}\n", encoding="utf-8")
    with running(Instance(folder, simulators.fill(CONFIGURATION), environment=KEYS)) as instance:
        yield instance


@pytest.fixture(autouse=True)
def healed(simulators: Simulators) -> None:
    simulators.heal()


def headers_at(simulators: Simulators, name: str) -> list[dict[str, str]]:
    """The headers of every request that came to a deployment; a repeated one would show as a list."""
    found = []
    for request in simulators.requests(name):
        headers: dict[str, str] = {}
        for key, value in request["headers"]:
            assert key not in headers, f"{key} came twice"
            headers[key] = value
        found.append(headers)
    return found


OWN = {"host", "accept", "accept-encoding", "user-agent", "content-type", "content-length"}
# Random, or counted by Envoy; both logs are joined by them.
ADDED = {"x-request-id", "x-envoy-attempt-count"}


@pytest.mark.parametrize(
    ("route", "provider", "expected"),
    [
        ("first", "keyed", {"authorization": f"Bearer {KEYS['FIRST_KEY']}"}),
        ("second", "keyed", {"authorization": f"Bearer {KEYS['SECOND_KEY']}"}),
        ("headed", "headed", {"api-key": KEYS["HEADER_KEY"]}),
        ("filed", "filed", {"authorization": f"Bearer {FILE_KEY}"}),
        ("open", "open", {}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_sees_its_own_key_only(
    instance: Instance, simulators: Simulators, route: str, provider: str, expected: dict[str, str], *, stream: bool
) -> None:
    """The key goes into its provider's header; of the client's credentials and control headers nothing is left."""
    control = {
        "x-router-session": "mine",
        "x-router-tags": "a=b",
        "x-router-deployment": "forged",
        "x-envoy-max-retries": "7",
        "x-envoy-original-path": "/forged",
        "x-forwarded-for": "10.0.0.1",
    }
    answer = instance.ask(route, headers={**CLIENTS, **control, "x-mine": "stays"}, stream=stream)
    assert answer.status_code == 200, answer.text
    (headers,) = headers_at(simulators, provider)
    assert set(headers) == OWN | ADDED | {"x-mine"} | set(expected)
    assert {name: headers[name] for name in expected} == expected
    assert headers["host"] == f"127.0.0.1:{simulators.ports[provider]}"
    assert headers["accept-encoding"] == "identity"
    assert headers["x-envoy-attempt-count"] == "1"


def test_each_attempt_has_the_key_of_its_own_deployment(instance: Instance, simulators: Simulators) -> None:
    """After a fallback the next key, or none, stands where the last one stood."""
    simulators.faults("keyed", status=500)
    answer = instance.ask("both", headers=CLIENTS)
    assert answer.headers["x-router-deployment"] == "open/m"
    keys = [headers["authorization"] for headers in headers_at(simulators, "keyed")]
    assert keys == [f"Bearer {KEYS['FIRST_KEY']}", f"Bearer {KEYS['SECOND_KEY']}"]
    simulators.faults("headed", status=503)
    assert instance.ask("headed", headers=CLIENTS).headers["x-router-deployment"] == "open/m"
    assert instance.ask("mixed", headers=CLIENTS).headers["x-router-deployment"] == "filed/m"
    (headers,) = headers_at(simulators, "filed")
    assert "api-key" not in headers
    assert headers["authorization"] == f"Bearer {FILE_KEY}"
    for headers in headers_at(simulators, "open"):
        assert not {"authorization", "api-key"} & set(headers)


# What a client might try in order to steer Envoy's router or our filters, and what would happen if it could.
STEERING = {
    "x-envoy-max-retries": "0",
    "x-envoy-retry-on": "retriable-status-codes",
    "x-envoy-retriable-status-codes": "200",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-upstream-rq-timeout-alt-response": "true",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-attempt-count": "9",
    "x-envoy-ratelimited": "true",
    "x-envoy-overloaded": "true",
    "x-envoy-internal": "true",
    "x-envoy-decorator-operation": "forged",
    "x-router-path": "/forged",
    "x-router-host": "forged.example",
    "x-router-provider-model": "forged",
    "x-router-deployment": "open/m",
    "x-router-cause": "rate_limited",
    "x-forwarded-host": "forged.example",
    "x-forwarded-proto": "https",
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_cannot_steer_envoy(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """Control headers of a client change neither retries nor timeouts nor the way to the provider."""
    simulators.faults("headed", latency_ms=200)
    answer = instance.ask("headed", headers=STEERING, stream=stream)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "1")
    (request,) = simulators.requests("headed")
    assert request["path"] == CHAT
    assert json.loads(base64.b64decode(request["body_base64"]))["model"] == "m"
    (headers,) = headers_at(simulators, "headed")
    assert not {name for name in STEERING if name in headers} - {"x-envoy-attempt-count", "x-forwarded-host"}
    assert headers["host"] == f"127.0.0.1:{simulators.ports['headed']}"
    simulators.faults("headed", status=503)
    answer = instance.ask("headed", headers=STEERING, stream=stream)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "2")
    assert answer.headers["x-router-deployment"] == "open/m"


def traffic(instance: Instance, simulators: Simulators) -> list[httpx.Response]:
    """Requests of every kind and end, each with all the client's canaries, in the prompt and the query as well."""
    body = {"messages": [{"role": "user", "content": f"Hello {PROMPT}"}], "user": PROMPT}
    simulators.faults("open", status=500)
    answers = []
    with instance.http(headers=CLIENTS) as http:

        def chat(model: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
            answer = http.post(f"{CHAT}?key={QUERY}", json={"model": model, **body, **more}, headers=headers)
            answers.append(answer)
            return answer

        for route in ("first", "both", "headed", "filed", "open", "unwelcome", "nobody", "auto"):
            chat(route)
            chat(route, stream=True)
            chat(route, headers={"x-router-dry-run": "1"})
        simulators.faults("keyed", refuse=True)
        assert chat("first").status_code == 503
        simulators.faults("keyed", cut_after_tokens=3)
        with pytest.raises(httpx.RemoteProtocolError):
            chat("first", stream=True)
        simulators.faults("filed", malformed="truncated")
        chat("filed")
        answers.append(http.post(CHAT, content=b'{"model": "first", "user": "' + PROMPT.encode()))
        answers.append(http.post(f"/elsewhere?key={QUERY}", json=body))
        answers.append(http.get(f"/v1/models?key={QUERY}"))
        answers.append(http.get(f"/v1/files?key={QUERY}"))
    return answers


def everything_written(instance: Instance) -> dict[str, bytes]:
    """All files of the instance but the secrets and the user's own key, and all of Envoy's and the observer's pages."""
    files = {Path(name): content for name, content in instance.written_files().items()}
    written = {
        str(path): content for path, content in files.items() if path.parent.name != "secrets" and path.name != "provider.key"
    }
    for page in ("config_dump?include_eds", "stats", "clusters?format=json", "listeners", "certs", "server_info", "runtime"):
        written[f"envoy: {page}"] = instance.admin.get(f"{instance.envoy_url}/{page}").content
    for page in ("metrics", "decisions?limit=1000", "health/deployments", "readyz", "healthz"):
        written[f"observer: {page}"] = instance.admin.get(f"{instance.admin_url}/{page}").content
    assert instance.process is not None
    for pid in (instance.process.pid, *instance.pids(""), *instance.pids("envoy")):
        written[f"command line of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
    return written


def spellings(canary: str) -> set[bytes]:
    """A canary as it is, and as it would look in base64 wherever it begins, or escaped."""
    found = {canary.encode(), urllib.parse.quote(canary, safe="").encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + canary.encode())
        found.add(encoded[4 if before else 0 : len(encoded) // 4 * 4 - 4])
    return found


def test_no_key_shows_anywhere(instance: Instance, simulators: Simulators) -> None:
    """After requests of every kind no key of a provider, no credential and no prompt of a client is in any output."""
    answers = traffic(instance, simulators)
    last = answers[-1].headers["x-router-decision"]
    instance.decision(last)
    written = everything_written(instance)
    assert last.encode() in written[".router-extproc/logs/decisions.jsonl"]
    until(lambda: last.encode() in (instance.state / "logs" / "access.jsonl").read_bytes())
    written[".router-extproc/logs/access.jsonl"] = (instance.state / "logs" / "access.jsonl").read_bytes()
    assert b"credential_injector" in written["envoy: config_dump?include_eds"]
    assert b"router-extproc-worker-0" in b"".join(body for name, body in written.items() if name.startswith("command"))
    for number, answer in enumerate(answers):
        written[f"answer {number} ({answer.url})"] = str(answer.headers.multi_items()).encode() + answer.content
    canaries = [*KEYS.values(), FILE_KEY, *CLIENTS.values(), PROMPT, QUERY]
    found = {
        (canary, name)
        for canary in (value.removeprefix("Bearer ").removeprefix("Basic ") for value in canaries)
        for name, content in written.items()
        if any(spelling in content for spelling in spellings(canary))
    }
    assert found == set()


def test_the_log_in_sqlite_holds_no_more_than_the_file(instance: Instance) -> None:
    """The records in SQLite are those of the file, so that what is true of one is true of the other."""
    identity = instance.ask("first", headers=CLIENTS).headers["x-router-decision"]
    record = instance.decision(identity)

    def stored() -> list[str]:
        database = sqlite3.connect(f"file:{instance.state / 'decisions.sqlite'}?mode=ro", uri=True)
        try:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = [row for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]  # noqa: S608 - its own names
        finally:
            database.close()
        return [value for row in rows for value in row if isinstance(value, str) and identity in value and "{" in value]

    assert json.loads(until(stored)[0]) == record


def test_secret_files_are_private(instance: Instance) -> None:
    """Only the owner may read the files that Envoy reads keys from."""
    files = list((instance.state / "envoy" / "secrets").iterdir())
    assert len(files) == 5
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def key_at(simulators: Simulators, name: str) -> str:
    return headers_at(simulators, name)[-1]["authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize("way", ["rewritten", "replaced", "mounted"])
def test_a_key_is_rotated_without_a_restart(instance: Instance, simulators: Simulators, way: str) -> None:
    """A key that changes on disk is used within seconds, by the processes that run, and no request fails meanwhile."""
    file, key = instance.folder / "provider.key", f"sk-canary-rotated-{way}-6d0e"
    before = instance.pids("envoy")
    if way == "rewritten":
        # Longer than what is there, and in one go: a file that is empty for a moment is a key that was taken away.
        with file.open("r+b", buffering=0) as same:
            same.truncate(same.write(key.encode()))
    elif way == "replaced":
        new = file.with_suffix(".new")
        new.write_text(key, encoding="utf-8")
        new.replace(file)
    else:  # as Kubernetes mounts a secret: the file is a link through a link to a folder that is swapped
        for version, content in (("v1", FILE_KEY), ("v2", key)):
            (instance.folder / version).mkdir()
            (instance.folder / version / "provider.key").write_text(content, encoding="utf-8")
        (instance.folder / "data").symlink_to("v1")
        link = instance.folder / "provider.key.link"
        link.symlink_to("data/provider.key")
        link.replace(file)
        until(lambda: instance.ask("filed").is_success and key_at(simulators, "filed") == FILE_KEY, seconds=20)
        swapped = instance.folder / "data.new"
        swapped.symlink_to("v2")
        swapped.replace(instance.folder / "data")

    def is_used() -> bool:
        assert instance.ask("filed").status_code == 200
        return key_at(simulators, "filed") == key

    until(is_used, seconds=20)
    assert instance.pids("envoy") == before


def test_a_key_that_is_taken_away(instance: Instance, simulators: Simulators) -> None:
    """Without its key a deployment does not serve: others do, or the client is told so; no request leaves without it."""
    file = instance.folder / "provider.key"
    content = file.read_text(encoding="utf-8")
    file.write_text("", encoding="utf-8")

    def is_left_out() -> bool:
        answer = instance.ask("filed", headers=CLIENTS)
        return answer.status_code == 503 and answer.json()["error"]["code"] == "no_deployment_available"

    # Each worker reads its snapshot by itself: so many answers in a row come from both.
    until(lambda: all(is_left_out() for _ in range(20)))
    other = instance.ask("filed-or-open")
    assert (other.headers["x-router-deployment"], other.headers["x-router-attempts"]) == ("open/m", "1")
    count = len(simulators.requests("filed"))
    assert all("authorization" in headers for headers in headers_at(simulators, "filed"))
    file.write_text(content, encoding="utf-8")
    until(lambda: instance.ask("filed").status_code == 200)
    assert len(simulators.requests("filed")) == count + 1
