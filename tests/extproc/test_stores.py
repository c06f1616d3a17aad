"""Which counters a worker uses, and what becomes of them when the configuration changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.extproc.stores import OpenStores
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Level, Query, StoreUnavailableError


async def test_a_store_that_cannot_be_opened_is_one_that_does_not_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; the budgets' own policies hold, and requests that nothing counts never meet it."""
    stores = OpenStores(
        StoreSettings(kind="redis", urls=("redis://h",), password_file=str(tmp_path / "nowhere")), tmp_path / "l.sqlite", {}
    )
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            _ = stores.shared
    assert len(caplog.records) == 1
    assert "nowhere" in str(caplog.records[0].__dict__["error"])
    assert (await stores.local.read([Query("c", 0)], 0.0)) == (Level(),)
    await stores.aclose()


async def test_the_store_follows_the_configuration(tmp_path: Path) -> None:
    """Other settings, another store; the same settings, the same one."""
    stores = OpenStores(StoreSettings(), tmp_path / "l.sqlite", {})
    first = stores.shared
    stores.follow(StoreSettings())
    assert stores.shared is first
    assert stores.local is first
    stores.follow(StoreSettings(deadline_ms=5))
    assert stores.shared is not first
    await stores.aclose()
