"""The layout of an instance's state."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from router_extproc.config import state as module
from router_extproc.config.state import LONGEST_SOCKET_PATH, StateDirectory, find_instance
from router_extproc.errors import StartError


def test_state_stands_beside_the_file(tmp_path: Path) -> None:
    """The state of ``router.yaml`` is ``.router-extproc`` in the same directory."""
    state = StateDirectory.beside(tmp_path / "router.yaml")
    assert state.root == tmp_path / ".router-extproc"
    assert state.snapshot == tmp_path / ".router-extproc" / "snapshot.json"


def test_paths_are_absolute_wherever_the_process_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative root is fixed when it is given: a later change of directory moves nothing."""
    monkeypatch.chdir(tmp_path)
    state = StateDirectory(Path(".router-extproc"))
    monkeypatch.chdir("/")
    assert state.root == tmp_path / ".router-extproc"


def test_create_makes_what_the_processes_need(tmp_path: Path) -> None:
    """After ``create`` every directory exists, those with keys and sockets for the owner only; twice does no harm."""
    state = StateDirectory(tmp_path / ".router-extproc")
    state.create()
    state.create()
    assert all(directory.is_dir() for directory in (state.probes, state.envoy, state.logs, state.secrets, state.sockets))
    assert stat.S_IMODE(state.secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE(state.sockets.stat().st_mode) == 0o700


def test_sockets_can_be_bound_however_deep_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the path would exceed what a Unix socket allows, sockets move to a short private directory."""
    state = StateDirectory(tmp_path / ("d" * 60) / ("e" * 60) / ".router-extproc")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        for temp in (short, str(tmp_path / ("t" * 80))):
            monkeypatch.setattr(module.tempfile, "gettempdir", lambda temp=temp: temp)
            state.create()
            path = state.worker_process_socket(63, 4_000_000)
            assert len(str(path)) <= LONGEST_SOCKET_PATH
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
            path.unlink()
            state.sockets.rmdir()


def test_two_deep_instances_do_not_share_sockets(tmp_path: Path) -> None:
    """The short directory belongs to one state directory."""
    first, second = (StateDirectory(tmp_path / ("d" * 120) / name) for name in ("a", "b"))
    assert first.sockets != second.sockets
    assert first.sockets == StateDirectory(tmp_path / ("d" * 120) / "a").sockets


def test_a_foreign_socket_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A symlink that somebody placed at the guessable name is not followed."""
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    state = StateDirectory(tmp_path / ("d" * 120) / "s")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    state.sockets.symlink_to(elsewhere)
    with pytest.raises(StartError, match="belongs to somebody else"):
        state.create()


def test_a_directory_that_cannot_be_made_is_a_start_error(tmp_path: Path) -> None:
    """A file in the way is an error that names the directory."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be made"):
        StateDirectory(tmp_path / "file" / ".router-extproc").create()


def test_a_running_instance_is_found_from_below(tmp_path: Path) -> None:
    """Commands find the instance of the directory or of the nearest one above it; without one there is none."""
    state = StateDirectory(tmp_path / ".router-extproc")
    state.create()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_instance(below) is None
    state.instance.write_text("{}")
    assert find_instance(below) == state
    assert find_instance(tmp_path) == state


def test_a_worker_can_read_it_without_the_schema() -> None:
    """Importing the layout loads neither pydantic nor YAML, which a worker never needs."""
    code = "import sys, router_extproc.config.state; sys.exit(bool({'pydantic', 'yaml'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
