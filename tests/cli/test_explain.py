"""``router-extproc explain`` from a terminal: a file or a text in, facts and reasons out."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from router_extproc.analysis.classifier import NOTHING_LEARNED
from router_extproc.cli import main
from router_extproc.cli.admin_client import AdminClient
from router_extproc.config.state import StateDirectory
from router_extproc.registry.catalogue import known_providers
from router_extproc.registry.health import OPEN, DeploymentHealth, Health, encode_health
from router_extproc.registry.snapshot import encode_registry
from router_extproc.registry.spending import Budget, KeyGrant, Window
from router_extproc.router import Router
from router_extproc.store.identities import AuditEntry, IdentityWriter
from tests.cli.instances import running_instance

FILE = """
providers:
  first:
    base_url: https://first.example/v1
  second:
    base_url: https://second.example/v1
    region: eu
models:
  big:
    tier: premium
    context_window: 100000
    capabilities: [vision, tools]
    prices: {input: 3, output: 15}
    deployments: [{provider: first}, {provider: second}]
  small:
    tier: economy
    capabilities: [tools]
    prices: {input: 0.1, output: 0.4}
    deployments: [{provider: first}]
routes:
  team:
    targets: [small, big]
    after: {rate_limited: [big]}
"""

PICTURE = {
    "model": "team",
    "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]}],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory without provider keys around, with a router.yaml."""
    monkeypatch.chdir(tmp_path)
    for name in (name for provider in known_providers() for name in provider.key_variables):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "router.yaml").write_text(FILE)
    return tmp_path


def explained(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict]:  # type: ignore[type-arg]
    code = main(["explain", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_text_is_explained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A message becomes a chat for auto; the decision, its chain and the prices' source are there."""
    code, found = explained(capsys, "-m", "hello")
    assert code == 0
    assert (found["route"], found["decision"]["chain"][0]["model"]) == ("auto", "small")
    assert {price["source"] for price in found["prices"]} == {"router.yaml"}


def test_a_file_is_explained_as_it_would_be_decided(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A body in a file gets what the router decides for the same bytes, and every candidate has its reason."""
    body = json.dumps(PICTURE).encode()
    (here / "request.json").write_bytes(body)
    code, found = explained(capsys, "request.json")
    router = Router.from_file(here / "router.yaml")
    decision = router.decide(router.read("POST", "/v1/chat/completions", {}, body))
    assert code == 0
    # An explanation asks for every fact, a decision only for those that it needs.
    nothing: dict[str, list[Any]] = {"candidates": [], "signals": []}
    assert found["decision"] | nothing == json.loads(msgspec.json.encode(decision)) | nothing
    assert len(found["signals"]) > len(decision.signals) > 0
    assert {one["deployment"]: one["rejected"] for one in found["candidates"]} == {
        "first/small": "lacks vision",
        "first/big": None,
        "second/big": None,
    }


def test_standard_input_model_and_headers(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dash reads standard input; --model and --header change the request."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(PICTURE).encode())))
    code, found = explained(capsys, "-", "--model", "auto", "--header", "X-Router-Region: eu")
    assert code == 0
    assert (found["model"], [one["deployment"] for one in found["decision"]["chain"]]) == ("auto", ["second/big"])


def test_a_refusal_is_a_finding(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A request that would be refused exits with 1 and shows the error, with the facts all the same."""
    code, found = explained(capsys, "-m", "hello", "--model", "smal")
    assert code == 1
    assert found["refusal"]["status"] == 404
    assert "'small'" in found["refusal"]["message"]
    assert found["facts"]["characters"] == 5
    (here / "broken.json").write_text("{")
    code, found = explained(capsys, "broken.json")
    assert (code, found["refusal"]["code"]) == (1, "invalid_json")


def test_wrong_use(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there and a header that is none are wrong use, told in one line."""
    assert main(["explain", "nowhere.json"]) == 2
    assert main(["explain", "-m", "x", "--header", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_live_health_is_taken_into_account(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside a running instance the health that it sees decides, and the reason is shown."""
    state = StateDirectory.beside(here / "router.yaml")
    state.create()
    state.instance.write_text("{}")
    state.health.write_bytes(encode_health(Health(deployments={"first/small": DeploymentHealth(OPEN, open_until=4e9)})))
    _, found = explained(capsys, "-m", "hello")
    assert found["decision"]["chain"][0]["model"] == "big"
    assert next(one["rejected"] for one in found["candidates"] if one["model"] == "small").startswith("cooling down for")


def test_a_quota_that_is_used_up_is_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table says why a deployment that stays is tried later than others."""
    state = StateDirectory.beside(here / "router.yaml")
    state.create()
    state.instance.write_text("{}")
    health = Health(deployments={"first/small": DeploymentHealth(quota_until=time.time() + 100)})
    state.health.write_bytes(encode_health(health))
    assert main(["explain", "-m", "hello"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "stays, after all that have room: quota used up for" in shown


def test_how_a_model_counts_tokens_is_shown_beside_its_cost(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table says by how much the prompt was corrected, and only for whom."""
    state = StateDirectory.beside(here / "router.yaml")
    state.create()
    state.instance.write_text("{}")
    state.health.write_bytes(encode_health(Health(token_ratios={"big": 1.25, "small": 1.0})))
    assert main(["explain", "-m", "hello", "--model", "team"]) == 0
    [small, big, _] = [line for line in capsys.readouterr().out.splitlines() if "stays" in line]
    assert "(prompt x 1.25)" in big
    assert "prompt x" not in small


def test_what_an_instance_made_of_its_file_decides(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An instance leaves out what it has no key for, and so does the explanation, until the file is written anew."""
    registry = Router.from_file(here / "router.yaml").registry
    state = StateDirectory.beside(here / "router.yaml")
    state.create()
    state.instance.write_text("{}")
    without = {"big": registry.models["big"], "small": msgspec.structs.replace(registry.models["small"], deployments=())}
    state.snapshot.write_bytes(encode_registry(msgspec.structs.replace(registry, models=without)))
    assert explained(capsys, "-m", "hello")[1]["decision"]["chain"][0]["model"] == "big"
    now = state.snapshot.stat().st_mtime
    os.utime(here / "router.yaml", (now + 1, now + 1))
    assert explained(capsys, "-m", "hello")[1]["decision"]["chain"][0]["model"] == "small"


def test_a_running_instance_is_explained_without_its_file(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Where there is no file, the snapshot of the instance that runs here is what decides."""
    registry = Router.from_file(here / "router.yaml").registry
    (here / "router.yaml").unlink()
    assert main(["explain", "-m", "x"]) == 1
    assert "--config" in capsys.readouterr().err
    state = StateDirectory.beside(here / "router.yaml")
    state.create()
    state.instance.write_text("{}")
    state.snapshot.write_bytes(encode_registry(registry))
    code, found = explained(capsys, "-m", "hello")
    assert (code, found["revision"]) == (0, registry.revision)


def test_the_tables_show_what_the_json_holds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people: facts, candidates with reasons, chain, causes, cost and the prices' source, nothing cut off."""
    (here / "request.json").write_text(json.dumps(PICTURE))
    assert main(["explain", "request.json"]) == 0
    shown = capsys.readouterr().out
    for word in ("vision", "falls: lacks vision", "second/big", "rate_limited", "estimated cost", "router.yaml", "premium"):
        assert word in shown
    assert main(["explain", "-m", "x", "--model", "nope"]) == 1
    assert "Refused with 404 model_not_found" in capsys.readouterr().out


BUDGETS = (
    FILE
    + """
auth: keys
tenants:
  acme: {}
  interns: {permissions: {tiers: [economy]}}
keys:
  ci: {tenant: acme, digest: "sha256:00112233445566778899aabbccddeeff:%s", budgets: {daily: {usd: 5, window: day}}}
budgets:
  each: {usd: 20, window: day, per: tenant}
  few: {requests: 3, window: day, match: {tenant: interns}}
"""
    % ("ab" * 32)
)


def for_caller(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    return dict(explained(capsys, "-m", "Hello", "--model", "team", *words)[1])


def test_budgets_of_a_tenant_are_explained_without_an_instance(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which apply and what is wanted of them; how full they are is not known, and that is said."""
    (here / "router.yaml").write_text(BUDGETS)
    admission = for_caller(capsys, "--tenant", "interns")["admission"]
    assert not admission["levels_known"]
    assert [(one["name"], one["scope"], one["settled"], one["outcome"]) for one in admission["budgets"]] == [
        ("each", "tenant=interns", None, "fits"),
        ("few", "tenant=interns", None, "fits"),
    ]
    main(["explain", "-m", "Hello", "--model", "team", "--tenant", "interns"])
    assert "as if nothing were used" in capsys.readouterr().out


def test_a_key_brings_its_tenants_permissions_and_its_own_budgets(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What may not be used falls, what the key may spend is shown; a key that is unknown is wrong."""
    (here / "router.yaml").write_text(BUDGETS)
    assert [one["name"] for one in for_caller(capsys, "--key", "ci")["admission"]["budgets"]] == ["each", "key:ci:daily"]
    refused = for_caller(capsys, "--tenant", "interns", "--header", "x-router-min-tier: premium")
    assert refused["refusal"]["status"] in (403, 503)
    assert main(["explain", "-m", "Hello", "--key", "nobody"]) == 1
    assert "there is no key nobody" in capsys.readouterr().err


def test_a_key_among_the_headers_has_to_be_right(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in earnest: 401."""
    (here / "router.yaml").write_text(BUDGETS)
    assert for_caller(capsys, "--header", "authorization: Bearer sk-router-ci.wrong")["refusal"]["status"] == 401


def test_for_nobody_the_way_to_name_somebody_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where callers prove who they are, an explanation for nobody leaves out most of what happens."""
    (here / "router.yaml").write_text(BUDGETS)
    main(["explain", "-m", "Hello", "--model", "team", "--json"])
    assert "--tenant or --key" in capsys.readouterr().err
    (here / "router.yaml").write_text(FILE)
    main(["explain", "-m", "Hello", "--model", "team", "--json"])
    told = capsys.readouterr()
    assert not told.err
    assert json.loads(told.out)["admission"] is None


def test_who_asks_is_shown_with_what_it_may_use(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tenant, key and permissions stand in the document and in the tables; nobody is nobody."""
    (here / "router.yaml").write_text(BUDGETS)
    assert for_caller(capsys)["caller"] is None
    asks = for_caller(capsys, "--key", "ci")["caller"]
    assert (asks["tenant"], asks["key"], asks["permissions"]["tiers"]) == ("acme", "ci", None)
    main(["explain", "-m", "Hello", "--tenant", "interns"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["tenant", "interns"] in lines
    assert ["may", "use", "tiers", "economy"] in lines


@pytest.mark.parametrize("who", [{}, {"tenant": "interns"}, {"key": "ci"}, {"key": "made"}])
def test_the_admin_api_says_the_same(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, who: dict[str, str]
) -> None:
    """Of one instance the command and `POST /explain` tell caller, budgets and what each would do in the same words."""
    (here / "router.yaml").write_text(BUDGETS)
    registry = Router.from_file(here / "router.yaml", NOTHING_LEARNED).registry
    with running_instance(registry) as folder:
        monkeypatch.chdir(folder)
        with closing(IdentityWriter(StateDirectory(folder / ".router-extproc").identities)) as writer:
            own = Budget("key:made:daily", "requests", 3, Window(calendar="day"), match=(("key", "made"),))
            writer.put_key(KeyGrant("made", "acme", (), budgets=(own,)), AuditEntry("a", 0.0, "x", "key.create", "made"))
        words = [word for name, value in who.items() for word in (f"--{name}", value)]
        body = {"model": "team", "messages": [{"role": "user", "content": "Hello"}]}
        # The very bytes: what a body is estimated at depends on its white space too.
        (folder / "request.json").write_text(json.dumps(body))
        by_command = explained(capsys, "request.json", *words)[1]
        by_api = AdminClient.found(folder / ".router-extproc").post(f"/explain?{urlencode(who)}", body)
    for part in ("caller", "admission", "route", "refusal", "revision"):
        assert by_command[part] == by_api[part], part
    assert by_command["caller"] is None or by_command["admission"]["levels_known"]
