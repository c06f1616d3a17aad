"""What a worker knows, and how it learns of changes."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from router_extproc.analysis.classifier import Classifier
from router_extproc.errors import StartError
from router_extproc.extproc import live as live_module
from router_extproc.extproc.live import Live, Probes
from router_extproc.registry.health import OPEN, DeploymentHealth, Health, encode_health
from router_extproc.registry.snapshot import Registry, encode_registry
from router_extproc.router import Router


def put(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(path)


async def refresh(live: Live) -> None:
    """What the worker's timers do."""
    live.refresh_health()
    await live.refresh_configuration()


@pytest.fixture
def live(tmp_path: Path) -> Live:
    put(tmp_path / "snapshot.json", encode_registry(Registry(revision="first")))
    return Live(tmp_path / "snapshot.json", tmp_path / "health.json")


async def test_a_new_snapshot_and_new_health_are_taken_over(live: Live, tmp_path: Path) -> None:
    """Each refresh shows what was put in place since; a view that was taken before does not change."""
    before = live.view
    put(tmp_path / "snapshot.json", encode_registry(Registry(revision="second")))
    put(tmp_path / "health.json", encode_health(Health(deployments={"a": DeploymentHealth(state=OPEN)})))
    await refresh(live)
    assert live.view.registry.revision == live.view.router.registry.revision == "second"
    assert live.view.health.deployments["a"].state == OPEN
    assert before.registry.revision == "first"


@pytest.mark.parametrize("content", [b"", b"{", b'{"models": 3}', b"\xff"])
async def test_a_broken_file_leaves_the_last_view_in_force(live: Live, tmp_path: Path, content: bytes) -> None:
    """It is reported, and the next good file is taken over again."""
    for name in ("snapshot.json", "health.json"):
        put(tmp_path / name, content)
    await refresh(live)
    assert live.view.registry.revision == "first"
    put(tmp_path / "snapshot.json", encode_registry(Registry(revision="third")))
    await refresh(live)
    assert live.view.registry.revision == "third"


async def test_nothing_is_read_while_nothing_changes(live: Live, tmp_path: Path) -> None:
    """A file that lost its rights is not even opened again."""
    before = live.view
    os.utime(tmp_path / "snapshot.json", ns=(1, (tmp_path / "snapshot.json").stat().st_mtime_ns))
    await refresh(live)
    assert live.view is before


async def test_requests_and_health_go_on_while_a_configuration_is_taken_over(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that takes long to make keeps nobody waiting, and health that came meanwhile is not lost."""
    going_on = threading.Event()
    monkeypatch.setattr(live_module, "Router", lambda *arguments: going_on.wait(10) and Router(*arguments))
    put(tmp_path / "snapshot.json", encode_registry(Registry(revision="second")))
    refreshing = asyncio.create_task(live.refresh_configuration())
    await asyncio.sleep(0)
    put(tmp_path / "health.json", encode_health(Health(deployments={"a": DeploymentHealth(state=OPEN)})))
    live.refresh_health()
    assert (live.view.registry.revision, live.view.health.deployments["a"].state) == ("first", OPEN)
    going_on.set()
    await refreshing
    assert (live.view.registry.revision, live.view.health.deployments["a"].state) == ("second", OPEN)


async def test_a_configuration_whose_analysis_cannot_be_set_up_is_in_force_without(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An encoder that is not installed costs the classifier, neither the reload nor the worker."""

    def refuse(registry: Registry, *analysis: object) -> Router:
        if analysis:
            raise ImportError("no such encoder")
        return Router(registry)

    monkeypatch.setattr(live_module, "Router", refuse)
    put(tmp_path / "snapshot.json", encode_registry(Registry(revision="second")))
    await live.refresh_configuration()
    assert live.view.registry.revision == live.view.router.registry.revision == "second"
    assert "analysis cannot be set up" in caplog.text


async def test_every_configuration_has_the_same_classifier(live: Live, tmp_path: Path) -> None:
    """A reload reads no artefact again."""
    classifier = Classifier()
    live = Live(tmp_path / "snapshot.json", tmp_path / "health.json", classifier)
    put(tmp_path / "snapshot.json", encode_registry(Registry(revision="second")))
    await refresh(live)
    assert live.view.router.registry.revision == "second"
    assert live.view.router.analyser.classifier is classifier


def test_a_probe_can_be_claimed_once(tmp_path: Path) -> None:
    """Of all claimants on the machine one wins, whatever characters a deployment's name has."""
    claims = [Probes(tmp_path).claim("openai/gpt:../x@1#7") for _ in range(3)]
    assert claims == [True, False, False]
    assert Probes(tmp_path).claim("openai/gpt:../x@1#8")


def test_a_probe_that_cannot_be_claimed_is_left_alone(tmp_path: Path) -> None:
    """A folder that is gone, or a full disk, costs the probe and not the request."""
    assert Probes(tmp_path / "gone").claim("a") is False


@pytest.mark.parametrize("content", [None, b"{"])
def test_without_a_snapshot_there_is_no_worker(tmp_path: Path, content: bytes | None) -> None:
    """Who starts before anything was compiled is told so."""
    if content is not None:
        put(tmp_path / "snapshot.json", content)
    with pytest.raises(StartError, match=r"snapshot\.json is missing or cannot be read"):
        Live(tmp_path / "snapshot.json", tmp_path / "health.json")
