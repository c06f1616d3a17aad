"""What an Envoy that is killed had under way counts against every cap until its reservation ends, and is then free."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import Instance, Simulators, until
from tests.end_to_end.spending import MODEL, billed, ledger, micro_usd, quiet_budget, shown_budget

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED: dict[str, dict[str, Any]] = {"one": {}}
RESERVATION_SECONDS = 20
# One answer of 50 tokens fits, a second one of a useful length does not.
CAP_USD = "0.0007"
CONFIGURATION = f"""
workers: {{count: 1}}
defaults: {{timeouts: {{deadline: 15s}}}}
store: {{reservation: {RESERVATION_SECONDS}s}}
providers:
  one: {{base_url: "$one/v1"}}
models:
  small: {{deployments: [{{provider: one}}], {MODEL}}}
budgets:
  house: {{usd: {CAP_USD}, window: month}}
"""


def test_what_a_killed_envoy_had_under_way_counts_until_its_reservation_ends(
    instance: Instance, simulators: Simulators
) -> None:
    """The provider bills it and no log tells: meanwhile the cap holds for it, afterwards it is as if nobody had asked."""
    simulators.faults("one", tokens=50, first_token_ms=60_000)
    [killed] = instance.pids("envoy")
    with ThreadPoolExecutor(1) as client:
        asking = client.submit(instance.ask, "small", max_tokens=50)
        until(lambda: simulators.stats("one")["open_requests"])
        set_aside = Decimal(shown_budget(instance, "house")["reserved_usd"])
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            asking.result()
    simulators.faults("one", tokens=50)
    until(lambda: instance.pids("envoy") not in ([], [killed]) and instance.accepts_connections())
    refused = instance.ask("small", max_tokens=50)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    shown = shown_budget(instance, "house")
    assert (Decimal(shown["reserved_usd"]), micro_usd(shown["settled_usd"])) == (set_aside, 0)
    [bill] = billed(simulators, ["one"])
    assert 0 < bill <= micro_usd(str(set_aside))
    assert micro_usd(quiet_budget(instance, "house", seconds=RESERVATION_SECONDS + 20)["settled_usd"]) == 0
    assert instance.ask("small", max_tokens=50).status_code == 200
    until(lambda: ledger([instance]))
    assert [row["usage_source"] for row in ledger([instance])] == ["provider"]
