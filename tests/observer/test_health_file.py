"""health.json is written whole, only when something changed, and read again by the next process."""

from __future__ import annotations

from pathlib import Path

from router_extproc.observer.health_file import HealthFile
from router_extproc.registry.health import DeploymentHealth, Health, read_health

COOLING = {"a": DeploymentHealth(state="open", open_until=7.0)}


def test_what_was_written_is_loaded(tmp_path: Path) -> None:
    """The next process reads what the last one wrote, and so does every decider."""
    path = tmp_path / "health.json"
    assert HealthFile(path).write(COOLING, 5.0, {"m": 1.2})
    assert HealthFile(path).load() == read_health(path) == Health(5.0, COOLING, {"m": 1.2})
    assert [file.name for file in tmp_path.iterdir()] == ["health.json"]


def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    """Deciders re-read the file when it changes: so it changes only when there is news."""
    file = HealthFile(tmp_path / "health.json")
    learned = {"m": 1.2}
    assert [file.write({}, 1.0), file.write({}, 2.0), file.write(COOLING, 3.0), file.write(dict(COOLING), 4.0)] == [
        True,
        False,
        True,
        False,
    ]
    assert [file.write(COOLING, 5.0, learned), file.write(COOLING, 6.0, dict(learned))] == [True, False]


def test_a_missing_or_broken_file_is_no_health(tmp_path: Path) -> None:
    """A first start, and a file of another version, begin with nothing."""
    path = tmp_path / "health.json"
    assert HealthFile(path).load() == Health()
    path.write_bytes(b'{"deployments": [')
    assert HealthFile(path).load() == Health()
