"""What Envoy reads: new clusters at once, old ones for a while, and no key longer than it is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from router_extproc.config.state import StateDirectory
from router_extproc.supervisor.envoy_files import EnvoyFiles


def rendered(*clusters: str, keys: tuple[str, ...] = (), version: str = "v") -> dict[str, bytes]:
    """What the renderer would give, as far as it matters here."""
    resources = [{"name": name, "from": version} for name in clusters]
    files = {f"secrets/{key}.json": key.encode() for key in keys}
    files["cds.json"] = json.dumps({"version_info": f"cds-{version}", "resources": resources}).encode()
    files["lds.json"] = json.dumps({"version_info": f"lds-{version}", "resources": []}).encode()
    return files


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path)
    state.create()
    return state


def clusters(state: StateDirectory) -> Mapping[str, str]:
    return {cluster["name"]: cluster["from"] for cluster in json.loads((state.envoy / "cds.json").read_bytes())["resources"]}


def keys(state: StateDirectory) -> set[str]:
    return {path.name for path in state.secrets.iterdir()}


def test_a_cluster_that_is_gone_lingers_until_its_time(state: StateDirectory) -> None:
    """Requests that were decided before the change find it; later it is taken away."""
    files = EnvoyFiles(state)
    files.write(rendered("one", "two", version="1"), linger_until=0)
    files.write(rendered("two", version="2"), linger_until=100)
    assert clusters(state) == {"two": "2", "one": "1"}
    files.sweep(now=99)
    assert clusters(state) == {"two": "2", "one": "1"}
    files.sweep(now=100)
    assert clusters(state) == {"two": "2"}


def test_a_cluster_that_comes_back_does_not_linger(state: StateDirectory) -> None:
    """There is one of each name, and it is the new one."""
    files = EnvoyFiles(state)
    files.write(rendered("one", version="1"), linger_until=0)
    files.write(rendered("two", version="2"), linger_until=100)
    files.write(rendered("one", "two", version="3"), linger_until=100)
    assert clusters(state) == {"one": "3", "two": "3"}
    files.sweep(now=1_000)
    assert clusters(state) == {"one": "3", "two": "3"}


def test_the_versions_are_those_that_envoy_will_report(state: StateDirectory) -> None:
    """By the name of the statistic; a file with lingering clusters has a version of its own."""
    files = EnvoyFiles(state)
    files.write(rendered("one", version="1"), linger_until=0)
    assert files.versions == {"cluster_manager.cds.version_text": "cds-1", "listener_manager.lds.version_text": "lds-1"}
    files.write(rendered("two", version="2"), linger_until=100)
    assert files.versions["cluster_manager.cds.version_text"] == "cds-2+one"
    assert json.loads((state.envoy / "cds.json").read_bytes())["version_info"] == "cds-2+one"
    files.sweep(now=100)
    assert files.versions["cluster_manager.cds.version_text"] == "cds-2"


def test_a_key_stays_as_long_as_a_cluster_that_may_use_it(state: StateDirectory) -> None:
    """Envoy reads a key's file when it makes a cluster; afterwards it is removed, with whatever else was left there."""
    (state.secrets / "left-behind.json").write_text("key")
    files = EnvoyFiles(state)
    files.write(rendered("one", keys=("a", "b")), linger_until=0)
    files.sweep(now=0)
    assert keys(state) == {"a.json", "b.json"}
    files.write(rendered("two", keys=("b",)), linger_until=100)
    files.sweep(now=99)
    assert keys(state) == {"a.json", "b.json"}
    files.sweep(now=100)
    assert keys(state) == {"b.json"}


def test_keys_are_private(state: StateDirectory) -> None:
    """Everything else may be read."""
    EnvoyFiles(state).write(rendered("one", keys=("a",)), linger_until=0)
    assert (state.secrets / "a.json").stat().st_mode & 0o777 == 0o600
    assert (state.envoy / "cds.json").stat().st_mode & 0o777 == 0o644
