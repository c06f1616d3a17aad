"""What tests of budgets share: the instance's own commands, and what the simulated providers say they billed.

The bill is worked out here by decimals from the providers' own records and a price list of its own: nothing of the code that
is tested has a part in it.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import partial
from pathlib import Path
from typing import Any

from tests.end_to_end.load import Load
from tests.end_to_end.running import Instance, Simulators, until

# USD per million tokens: micro-dollars a token.
INPUT, CACHED_INPUT, OUTPUT = Decimal("2.5"), Decimal("1.25"), Decimal(10)
# How many requests a simulated provider remembers, unless it is told otherwise.
_REMEMBERED = 20_000
SIMULATED_OPTIONS = {"record_limit": _REMEMBERED}

MODEL = f"""
    tier: economy,
    capabilities: [],
    context_window: 128000,
    output_limit: 4000,
    prices: {{input: {INPUT}, output: {OUTPUT}, cached_input: {CACHED_INPUT}}}
"""


def command(instance: Instance, *words: str) -> Any:
    """What one of the instance's commands prints as JSON, run where a user would run it."""
    ended = subprocess.run(
        [sys.executable, "-m", "router_extproc", *words, "--json"],
        cwd=instance.folder, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"{words}: {ended.returncode} {ended.stdout} {ended.stderr}"
    return json.loads(ended.stdout)


def micro_usd(text: str) -> int:
    """USD as a decimal string, in micro-dollars; there is no fraction of one."""
    amount = Decimal(text) * 1_000_000
    assert amount == amount.to_integral_value(), text
    return int(amount)


def billed(simulators: Simulators, names: Iterable[str]) -> list[int]:
    """What each request cost that these providers billed, in micro-dollars, rounded up as an invoice would be."""
    costs = []
    for name in names:
        records = simulators.requests(name)
        assert len(records) < _REMEMBERED, "some requests are forgotten: the bill is not whole"
        for record in records:
            usage = record["billed"]
            fresh = usage["prompt_tokens"] - usage["cached_tokens"]
            exact = fresh * INPUT + usage["cached_tokens"] * CACHED_INPUT + usage["completion_tokens"] * OUTPUT
            costs.append(int(exact.to_integral_value(ROUND_CEILING)))
    return costs


def shown_budgets(instance: Instance, tenant: str) -> dict[str, Any]:
    """What ``budgets show`` says of a tenant."""
    shown: dict[str, Any] = command(instance, "budgets", "show", "--tenant", tenant)
    return shown


def settled(instance: Instance, tenant: str, seconds: float = 20) -> dict[str, Any]:
    """The same, once nothing is set aside any more."""
    shown: dict[str, Any] = until(
        lambda: next((now for now in [shown_budgets(instance, tenant)] if micro_usd(now["reserved_usd"]) == 0), None),
        seconds=seconds,
        step=0.3,
    )
    return shown


def shown_budget(instance: Instance, name: str) -> dict[str, Any]:
    """What the admin API says now of a budget that has one counter."""
    budgets = instance.admin.get(f"{instance.admin_url}/budgets").json()["budgets"]
    [found] = [budget for budget in budgets if budget["name"] == name]
    return dict(found)


def quiet_budget(instance: Instance, name: str, seconds: float = 20) -> dict[str, Any]:
    """The same, once nothing is set aside in it any more."""

    def found() -> dict[str, Any] | None:
        shown = shown_budget(instance, name)
        return None if Decimal(str(shown.get("reserved_usd", shown.get("reserved")))) else shown

    shown: dict[str, Any] = until(found, seconds=seconds)
    return shown


def ledger(instances: Iterable[Instance]) -> list[dict[str, Any]]:
    """Every row of the instances' ledgers, read from the files."""
    rows: list[dict[str, Any]] = []
    for instance in instances:
        with closing(sqlite3.connect(f"file:{instance.state / 'ledger.sqlite'}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            rows += [dict(row) for row in connection.execute("select * from ledger")]
    return rows


@dataclass
class World:
    """Replicas of the service over one store, and the providers behind them."""

    simulators: Simulators
    instances: list[Instance]

    @property
    def ports(self) -> list[int]:
        return [instance.port for instance in self.instances]

    def create_key(self, tenant: str, *options: str) -> str:
        """A new virtual key, once every replica knows it."""
        key: str = command(self.instances[0], "keys", "create", "--tenant", tenant, *options)["key"]
        for instance in self.instances:
            until(partial(self.is_known, instance, key))
        return key

    @staticmethod
    def is_known(instance: Instance, key: str) -> bool:
        """Whether the replica answers to the key; nothing is called for that."""
        with instance.http() as http:
            return http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200

    def load(self, key: str, bodies: Sequence[bytes], *, requests: int | None, connections: int, pause: float = 0.0) -> Load:
        return Load(
            self.ports,
            bodies,
            requests=requests,
            connections=connections,
            pause=pause,
            headers={"authorization": f"Bearer {key}"},
        )

    def billed(self) -> list[int]:
        return billed(self.simulators, self.simulators.ports)

    def ledger(self) -> list[dict[str, Any]]:
        return ledger(self.instances)

    def settled(self, tenant: str) -> dict[str, Any]:
        return settled(self.instances[0], tenant)


@contextmanager
def world(folder: Path, *, replicas: int, workers: int, more: str = "", store: str = "", auth: str = "keys") -> Iterator[World]:
    """``replicas`` instances of ``workers`` each; ``more`` and ``store`` are further lines of their configuration."""
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        simulators = Simulators(folder, {"one": {"models": ["small"]}}, **SIMULATED_OPTIONS)
        stack.callback(simulators.stop)
        configuration = (
            f"workers: {{count: {workers}}}\nauth: {{mode: {auth}}}\n{store}\n"
            f'providers:\n  one: {{base_url: "{simulators.url("one")}/v1"}}\n'
            f"models:\n  small: {{deployments: [{{provider: one}}],\n{MODEL}}}\n{more}"
        )
        instances = []
        for number in range(replicas):
            instances.append(Instance(folder / f"replica-{number}", configuration).start())
            stack.callback(instances[-1].stop)
        yield World(simulators, instances)
