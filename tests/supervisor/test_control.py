"""A configuration is applied whole or not at all."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from router_extproc.config.load import load_config
from router_extproc.config.state import StateDirectory
from router_extproc.errors import ConfigurationError
from router_extproc.observer.options import read_options
from router_extproc.registry.snapshot import read_registry
from router_extproc.supervisor import control as module
from router_extproc.supervisor.control import ControlPlane
from router_extproc.supervisor.envoy import EnvoyAdmin, EnvoyUnreachableError

GOOD = """
providers: {{one: {{base_url: "http://127.0.0.1:1/v1"}}}}
models: {{small: {{deployments: [{{provider: one}}]}}}}
aliases: {{{alias}: small}}
cooling: {{failures: {failures}}}
"""


def good(alias: str = "first", failures: int = 5) -> str:
    return GOOD.format(alias=alias, failures=failures)


class Envoy(EnvoyAdmin):
    """An admin interface that says what Envoy would say about the files in the state directory."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self.refuses = False
        self.is_reachable = True
        self._rejected = 3

    async def versions(self) -> dict[str, str]:
        if not self.is_reachable:
            raise EnvoyUnreachableError("gone")
        if self.refuses:
            return {}
        names = {"cds": "cluster_manager.cds", "lds": "listener_manager.lds", "rds": "http.clients.rds.routes"}
        files = {name: json.loads((self._state.envoy / f"{name}.json").read_bytes()) for name in names}
        return {f"{statistic}.version_text": files[name]["version_info"] for name, statistic in names.items()}

    async def rejections(self) -> int:
        if not self.is_reachable:
            raise EnvoyUnreachableError("gone")
        self._rejected += self.refuses
        return self._rejected


class Plane:
    """A control plane over a file in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "router.yaml"
        self.state = StateDirectory(folder / "state")
        self.state.create()
        self.envoy = Envoy(self.state)
        self.file.write_text(good())
        self.control = ControlPlane(lambda: load_config(self.file), self.state, {})

    async def reload(self, text: str) -> bool:
        self.file.write_text(text)
        return await self.control.reload(self.envoy)

    @property
    def report(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.state.root / "reload.json").read_bytes())
        return content

    def aliases(self) -> set[str]:
        """What the workers know."""
        return set(read_registry(self.state.snapshot).aliases)

    def envoy_files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.state.envoy.rglob("*")) if path.is_file()}


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    plane = Plane(tmp_path)
    plane.control.start()
    return plane


def test_a_bad_file_at_the_start_writes_nothing(tmp_path: Path) -> None:
    """There is no last good configuration to stay with."""
    plane = Plane(tmp_path)
    plane.file.write_text("providers: {}\nmodles: {}\n")
    with pytest.raises(ConfigurationError, match="modles"):
        plane.control.start()
    assert plane.envoy_files() == {}
    assert not plane.state.snapshot.exists()


async def test_a_good_change_reaches_workers_and_observer(plane: Plane) -> None:
    """Snapshot, observer's options and the report all say the same."""
    assert await plane.reload(good("second", failures=7))
    assert plane.aliases() == {"second"}
    assert read_options(plane.state.observer_options).cooling.failures == 7
    revision = plane.control.applied.registry.revision
    assert plane.report | {"at": 0} == {
        "revision": revision, "at": 0, "ok": True, "problems": [], "accepted": 2, "refused": 0
    }  # fmt: skip


async def test_a_bad_change_leaves_everything_as_it_was(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """The report carries each problem in its line, and so does the log."""
    files, revision = plane.envoy_files(), plane.report["revision"]
    assert not await plane.reload(good("second") + "modles: {}\n")
    assert plane.aliases() == {"first"}
    assert plane.envoy_files() == files
    assert (plane.report["ok"], plane.report["accepted"], plane.report["refused"]) == (False, 1, 1)
    assert plane.report["revision"] == revision
    [problem] = plane.report["problems"]
    assert problem.startswith(f"{plane.file}:6:1: error: modles: ")
    assert [record.problems for record in caplog.records if record.levelno == logging.ERROR] == [[problem]]


async def test_going_back_to_what_is_in_force_clears_the_report(plane: Plane) -> None:
    """The good file again: nothing is wrong any more."""
    assert not await plane.reload("nonsense")
    assert await plane.reload(good())
    assert (plane.report["ok"], plane.report["problems"]) == (True, [])


async def test_a_file_that_says_the_same_is_no_change(plane: Plane) -> None:
    """Another time stamp, another comment: nothing is applied and nothing counted."""
    before = plane.state.snapshot.stat().st_ino
    assert await plane.reload(good() + "# a comment\n")
    assert plane.report["accepted"] == 1
    assert plane.state.snapshot.stat().st_ino == before


async def test_sweeping_does_not_look_at_a_file_that_was_refused(plane: Plane) -> None:
    """What was written but refused must not matter when old clusters are taken away."""
    assert not await plane.reload("nonsense")
    plane.control.sweep()
    assert plane.aliases() == {"first"}


async def test_what_envoy_refuses_is_taken_back(plane: Plane) -> None:
    """Envoy gets the last good files again, and no worker hears of the change."""
    files = plane.envoy_files()
    plane.envoy.refuses = True
    assert not await plane.reload(good("second") + "listener: {port: 10009}\n")
    assert plane.aliases() == {"first"}
    assert plane.envoy_files() == files
    assert plane.report["problems"] == [f"Envoy refused the configuration, {plane.state.envoy_log} says why"]


async def test_an_envoy_that_cannot_be_asked_holds_nothing_up(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be restarting: it reads the new files when it comes back."""
    monkeypatch.setattr(module, "_BLIND_SECONDS", 0.05)
    plane.envoy.is_reachable = False
    assert await plane.reload(good("second"))
    assert plane.aliases() == {"second"}


async def test_a_mistake_of_ours_does_not_end_the_instance(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with a new file is a refusal."""

    def fail(*_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(module, "compile_registry", fail)
    assert not await plane.reload(good("second"))
    assert plane.report["problems"] == ["KeyError: 'surprise'"]


async def test_what_only_a_restart_changes_is_named(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """The number of workers is read once; the rest of the file is applied."""
    caplog.set_level(logging.INFO)
    assert await plane.reload(good("second") + "workers: {count: 3}\nadmin: {port: 9999}\n")
    assert plane.aliases() == {"second"}
    assert [record.at_next_start for record in caplog.records if hasattr(record, "at_next_start")] == [["admin", "workers"]]
    assert read_options(plane.state.observer_options).admin_port == 9902


def refuses_undecided(plane: Plane) -> bool:
    """Whether Envoy answers by itself what no worker decided."""
    (routes,) = json.loads((plane.state.envoy / "rds.json").read_bytes())["resources"]
    (undecided,) = [route for route in routes["virtual_hosts"][0]["routes"] if route["name"] == "undecided"]
    return "direct_response" in undecided


@pytest.mark.parametrize("written", [good(), good("second"), "nonsense"])
async def test_a_first_key_closes_the_door(plane: Plane, written: str) -> None:
    """Once a key exists nobody is served undecided, whether the file stayed, changed or broke meanwhile."""
    assert not refuses_undecided(plane)
    listener = (plane.state.envoy / "lds.json").read_bytes()
    plane.state.keys_exist.touch()
    await plane.reload(written)
    assert refuses_undecided(plane)
    # The listener stays, and with it every connection.
    assert (plane.state.envoy / "lds.json").read_bytes() == listener


async def test_the_door_stays_closed_after_a_restart(plane: Plane) -> None:
    """The flag outlives the process, and so does what follows from it."""
    plane.state.keys_exist.touch()
    ControlPlane(lambda: load_config(plane.file), plane.state, {}).start()
    assert refuses_undecided(plane)


async def test_who_says_that_all_are_let_in_is_believed(plane: Plane) -> None:
    """Where the file says so itself, keys do not change it."""
    plane.state.keys_exist.touch()
    assert await plane.reload(good() + "defaults: {on_router_failure: allow}\n")
    assert not refuses_undecided(plane)
