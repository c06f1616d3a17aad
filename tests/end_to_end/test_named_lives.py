"""An Envoy that somebody else starts, beside `serve`: by the name of its life it is known when another one has died."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from router_extproc.store.lives import VARIABLE
from tests.end_to_end.running import Instance, Simulators, until
from tests.end_to_end.spending import MODEL, shown_budget
from tests.end_to_end.test_orphaned_slots import ENDLESS, FREE_SECONDS, WATCHED_SECONDS, assert_full, fill
from tests.tied import tied

pytestmark = pytest.mark.end_to_end

PLACES = 2
SIMULATED: dict[str, dict[str, Any]] = {"one": {}}
CONFIGURATION = f"""
workers: {{count: 1}}
providers:
  one: {{base_url: "$one/v1"}}
models:
  small: {{deployments: [{{provider: one}}], {MODEL}}}
budgets:
  slots: {{parallel: {PLACES}}}
"""


@contextlib.contextmanager
def _envoy(instance: Instance, name: str | None) -> Iterator[None]:
    """Somebody's Envoy, whose life is called so; it dies at the block's end."""
    command = [str(Path(sys.executable).parent / "envoy"), "-c", str(instance.state / "envoy" / "bootstrap.json")]
    command += ["--disable-hot-restart", "--concurrency", "2", "--file-flush-interval-msec", "20"]
    environment = {"PATH": os.environ["PATH"]} | ({} if name is None else {VARIABLE: name})
    with (instance.folder / "envoy.log").open("ab") as log:
        process = subprocess.Popen(tied(command), stdout=log, stderr=log, env=environment)
    try:
        until(lambda: instance.accepts_connections() and instance.serving_workers())
        yield
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def beside(simulators: Simulators, tmp_path: Path) -> Iterator[Instance]:
    """`serve`, without an Envoy."""
    simulators.faults("one", **ENDLESS)
    instance = Instance(tmp_path, simulators.fill(CONFIGURATION))
    try:
        yield instance.start("serve")
    finally:
        instance.stop()


def test_a_new_name_is_another_life(beside: Instance) -> None:
    """What the dead one had under way leaves its places."""
    with ExitStack() as orphans, _envoy(beside, "first"):
        fill(orphans, beside, PLACES)
        assert_full(beside)
    with _envoy(beside, "second"):
        until(lambda: shown_budget(beside, "slots")["reserved"] == 0, FREE_SECONDS)
        with ExitStack() as streams:
            fill(streams, beside, PLACES)


@pytest.mark.parametrize("name", [None, "always"], ids=["nameless", "the-same"])
def test_without_a_new_name_nobody_is_taken_for_dead(beside: Instance, name: str | None) -> None:
    """As far as anybody can know these requests are alive."""
    with ExitStack() as orphans, _envoy(beside, name):
        fill(orphans, beside, PLACES)
    with _envoy(beside, name):
        give_up = time.monotonic() + WATCHED_SECONDS
        while time.monotonic() < give_up:
            assert_full(beside)
            time.sleep(0.2)
