"""The store that is configured is opened, and nothing of the other one is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from router_extproc.errors import StartError
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.open import check_store, open_counters
from router_extproc.store.redis_counters import RedisCounters
from router_extproc.store.sqlite_counters import SqliteCounters


async def test_the_embedded_store_is_a_file(tmp_path: Path) -> None:
    """Without further words counters live in the ledger's file; there is nothing to check."""
    await check_store(StoreSettings(), {})
    store = open_counters(StoreSettings(), tmp_path / "ledger.sqlite", {})
    assert isinstance(store, SqliteCounters)
    assert (tmp_path / "ledger.sqlite").exists()
    await store.aclose()


@pytest.mark.parametrize("kind", ["redis", "redis_cluster", "redis_sentinel"])
async def test_redis_in_its_three_forms(tmp_path: Path, kind: str) -> None:
    """Opening connects to nothing, so that a server that is away stops nobody; no file is made."""
    settings = StoreSettings(kind=kind, urls=("redis://127.0.0.1:1",), sentinel_service="counters")  # type: ignore[arg-type]
    store = open_counters(settings, tmp_path / "ledger.sqlite", {}, instance="one")
    assert isinstance(store, RedisCounters)
    await store.aclose()
    assert not os.listdir(tmp_path)  # noqa: PTH208 - in an async test


def test_a_missing_password_is_named(tmp_path: Path) -> None:
    """Where the password is said to be and is not, opening fails and names the place."""
    settings = StoreSettings(kind="redis", urls=("redis://127.0.0.1:1",), password_env="NOT_SET")  # noqa: S106 - a name
    with pytest.raises(StartError, match="NOT_SET"):
        open_counters(settings, tmp_path / "ledger.sqlite", {})


def test_redis_is_loaded_only_where_it_is_used(tmp_path: Path) -> None:
    """A worker on the embedded store does without the client, which is a third of what it would load."""
    program = (
        "import pathlib, sys\n"
        "from router_extproc.registry.spending import StoreSettings\n"
        "from router_extproc.store.open import open_counters\n"
        f"open_counters(StoreSettings(), pathlib.Path({str(tmp_path / 'ledger.sqlite')!r}), {{}})\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('redis', 'hiredis')))\n"
        "import os; os._exit(0)\n"
    )
    loaded = subprocess.run([sys.executable, "-uc", program], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.strip() == "[]"
