"""End users of an application: each has a cap of its own below the team's, by the name that the request's body gives."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from router_extproc.limits.identity import digest_of
from tests.end_to_end.running import Instance, until
from tests.end_to_end.spending import ledger

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED: dict[str, dict[str, Any]] = {"one": {}}
SALT = b"0123456789abcdef"


def secret(name: str) -> str:
    return f"sk-router-{name}.not-so-secret-canary"


CONFIGURATION = f"""
workers: {{count: 2}}
auth: keys
providers: {{one: {{base_url: $one/v1}}}}
models:
  small: {{tier: economy, capabilities: [], deployments: [{{provider: one}}], prices: {{input: 1, output: 2}}}}
tenants: {{shop: {{}}, market: {{}}}}
budgets:
  end-user: {{requests: 2, window: month, per: user}}
  team: {{requests: 5, window: month, match: {{team: assistants}}}}
keys:
  app: {{tenant: shop, team: assistants, digest: "{digest_of(secret("app"), SALT)}"}}
  ann: {{tenant: shop, user: ann, digest: "{digest_of(secret("ann"), SALT)}"}}
  market: {{tenant: market, digest: "{digest_of(secret("market"), SALT)}"}}
"""


def ask(instance: Instance, key: str, **body: Any) -> httpx.Response:
    return instance.ask("small", headers={"authorization": f"Bearer {secret(key)}"}, max_tokens=5, **body)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status, and the name of the budget in the message."""
    return answer.status_code, answer.json()["error"]["message"].split("'")[1]


def test_an_end_user_at_its_cap_stops_nobody_else(instance: Instance) -> None:
    """Two users of one key: when one has used up its amount the other goes on, until the team's amount is used up as well."""
    assert [ask(instance, "app", user="zoe").status_code for _ in range(2)] == [200, 200]
    assert refusal(ask(instance, "app", user="zoe")) == (429, "end-user")
    assert refusal(ask(instance, "app", safety_identifier="zoe")) == (429, "end-user")
    assert ask(instance, "app", user="yan").status_code == 200
    assert [ask(instance, "app").status_code for _ in range(2)] == [200, 200]
    assert refusal(ask(instance, "app", user="yan")) == (429, "team")
    assert ask(instance, "market", user="zoe").status_code == 200
    rows = until(lambda: found if len(found := [row for row in ledger([instance]) if row["key"] == "app"]) == 5 else None)
    assert sorted(row["user"] for row in rows) == ["", "", "yan", "zoe", "zoe"]


def test_a_proved_user_cannot_become_somebody_else(instance: Instance) -> None:
    """Who shows a key with a user is counted as that user, whatever the body says."""
    assert [ask(instance, "ann", user=f"other-{number}").status_code for number in range(2)] == [200, 200]
    assert refusal(ask(instance, "ann", user="another")) == (429, "end-user")
