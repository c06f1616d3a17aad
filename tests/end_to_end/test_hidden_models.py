"""What a caller may use and spend holds however a request is written: no spelling leads a provider elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from tests.end_to_end.running import CHAT, Instance, Simulators

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SALT = bytes(range(16))
INTERN, SPENDER, TRUSTED = (f"sk-router-{name}.the-secret-of-{name}" for name in ("intern", "spender", "trusted"))


def digest(key: str) -> str:
    return f"sha256:{SALT.hex()}:{hashlib.sha256(SALT + key.encode()).hexdigest()}"


SIMULATED = {"one": {"models": ["weak", "dear"]}}
CONFIGURATION = f"""
auth: keys
tenants: {{acme: {{}}}}
keys:
  intern: {{tenant: acme, digest: "{digest(INTERN)}", permissions: {{models: [weak]}}}}
  spender: {{tenant: acme, digest: "{digest(SPENDER)}", budgets: {{own: {{usd: 5, window: month}}}}}}
  trusted: {{tenant: acme, digest: "{digest(TRUSTED)}", permissions: {{routes: [path]}}, budgets: {{own: {{usd: 5}}}}}}
providers: {{one: {{base_url: "$one/v1"}}}}
models:
  weak: {{tier: economy, deployments: [{{provider: one}}]}}
  dear: {{tier: premium, deployments: [{{provider: one}}]}}
"""
FORM = {"content-type": "multipart/form-data; boundary=b"}
FIELD = 'Content-Disposition: form-data; name="model"\r\n\r\n'
TAIL = f"\r\n--b\r\n{FIELD}weak\r\n--b--\r\n"
MESSAGES = '"messages":[{"role":"user","content":"Hello"}]'


@pytest.fixture
def http(instance: Instance) -> Iterator[httpx.Client]:
    with instance.http() as http:
        yield http


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        (CHAT, f'{{"model":"dear",{MESSAGES}}}', {}, 403),
        (CHAT, f'{{"model":"dear",{MESSAGES},"model":"weak"}}', {}, 400),
        (CHAT, f'{{"model":"weak",{MESSAGES},"Model":"dear"}}', {}, 400),
        (CHAT, f'{{"mod\\u0065l":"dear",{MESSAGES},"model":"weak"}}', {}, 400),
        (CHAT, f'{{"model":"dear",{MESSAGES}}}{TAIL}', FORM, 400),
        ("/v1/responses", " " * 100 + '{"model":"dear","input":"Hello"}', {}, 403),
        ("/v1/responses", f'{{"model":"dear","input":"Hello"}}{TAIL}', FORM, 400),
        ("/v1/responses", '{"input":"Hello"}', {}, 403),
        ("/v1/responses/", '{"model":"dear","input":"Hello"}', {}, 403),
        ("/v1/responses", "compressed", {"content-encoding": "gzip"}, 400),
        ("/v1/images/generations", " " * 100 + '{"model":"dear","prompt":"x"}', {}, 403),
        ("/v1/images/edits", f"--b\r\n{FIELD}weak\r\n--b\r\n{FIELD}dear\r\n--b--\r\n", FORM, 400),
        ("/v1/batches", '{"input_file_id":"f"}', {}, 403),
        ("/v1/threads/t/runs", '{"assistant_id":"a"}', {}, 403),
        ("/v1//chat/completions", f'{{"model":"weak",{MESSAGES}}}', {}, 404),
        ("/v1/chat%2fcompletions", f'{{"model":"weak",{MESSAGES}}}', {}, 404),
    ],
)
def test_no_spelling_reaches_a_model_that_is_not_allowed(
    http: httpx.Client, simulators: Simulators, *, path: str, body: str, headers: dict[str, str], status: int
) -> None:
    """Nobody is called for what the router and a provider could read in two ways, nor for what runs models unseen."""
    proof = {"authorization": f"Bearer {INTERN}", "content-type": "application/json"}
    answer = http.post(path, content=body.encode(), headers=proof | headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    assert simulators.asked() == {}


def test_what_a_budget_cannot_count_is_not_sent(http: httpx.Client, simulators: Simulators) -> None:
    """A batch is refused to a key with a budget, and the message says which; files, and reading, are not."""
    proof = {"authorization": f"Bearer {SPENDER}"}
    refused = http.post("/v1/batches", json={"input_file_id": "f"}, headers=proof)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    assert "key:spender:own" in refused.json()["error"]["message"]
    assert simulators.asked() == {}
    assert http.get("/v1/files", headers=proof).status_code == 200
    assert simulators.asked() == {"one": 1}


def test_who_was_allowed_such_paths_uses_them(http: httpx.Client, simulators: Simulators) -> None:
    """``routes: [path]`` is a decision: such a request is sent on, though nobody counts what it costs."""
    http.post("/v1/batches", json={"input_file_id": "f"}, headers={"authorization": f"Bearer {TRUSTED}"})
    assert simulators.asked() == {"one": 1}
