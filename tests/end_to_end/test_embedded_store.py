"""Limits on the embedded store, through the real Envoy: exact over two workers, kept over a restart, mended when damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.soak]

ALLOWED = 25
CONFIGURATION = f"""
workers: {{count: 2}}
auth: {{mode: none}}
providers:
  one: {{base_url: $one/v1}}
models:
  counted: {{deployments: [{{provider: one}}]}}
  guarded: {{deployments: [{{provider: one}}]}}
budgets:
  few: {{requests: {ALLOWED}, window: {{rolling: 1h}}, match: {{model: counted}}}}
  many: {{requests: 100000, window: {{rolling: 1h}}, match: {{model: guarded}}, on_store_failure: fail_closed}}
"""


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    started = Simulators(tmp_path_factory.mktemp("simulators"), {"one": {}})
    yield started
    started.stop()


def statuses(instance: Instance, requests: int) -> dict[int, int]:
    with Load([instance.port], [chat("counted")], requests=requests, connections=50) as load:
        load.join()
    return dict(load.by(lambda outcome: outcome.status))


def overwrite(file: Path) -> None:
    """Every page is damaged, as by a disk that failed."""
    with closing(sqlite3.connect(file, timeout=10)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    with file.open("r+b") as written:
        written.write(b"damaged " * (file.stat().st_size // 8))


def test_a_limit_is_exact_and_outlives_a_restart(simulators: Simulators, tmp_path: Path) -> None:
    """Of a crowd exactly as many are served as the limit says, whichever worker they meet; after a restart nobody more is."""
    configuration = simulators.fill(CONFIGURATION)
    with running(Instance(tmp_path, configuration)) as instance:
        assert statuses(instance, 100) == {200: ALLOWED, 429: 100 - ALLOWED}
        assert simulators.asked() == {"one": ALLOWED}
    with running(Instance(tmp_path, configuration)) as again:
        assert statuses(again, 20) == {429: 20}


def test_a_damaged_file_is_mended_without_a_restart(simulators: Simulators, tmp_path: Path) -> None:
    """While it cannot be read, what must not go uncounted is refused; it is put aside, and requests are served again."""
    with running(Instance(tmp_path, simulators.fill(CONFIGURATION))) as instance:
        until(lambda: instance.ask("guarded").status_code == 200)
        ledger = instance.state / "ledger.sqlite"
        overwrite(ledger)
        seen = {instance.ask("guarded").status_code}
        until(partial(ledger.with_name("ledger.sqlite.broken").exists), seconds=20)
        until(lambda: instance.ask("guarded").status_code == 200, seconds=20)
        assert seen <= {200, 503}
