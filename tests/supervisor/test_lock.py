"""One instance for each state directory."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from router_extproc.config.state import StateDirectory
from router_extproc.errors import StartError
from router_extproc.supervisor.lock import exclusive


def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    """The error names the process that holds the directory, and what to do."""
    state = StateDirectory(tmp_path)
    with (
        exclusive(state),
        pytest.raises(StartError, match=rf"process {os.getpid()}\) runs in .*choose another --state"),
        exclusive(state),
    ):
        pass


def test_the_directory_is_free_again_afterwards(tmp_path: Path) -> None:
    """Nothing has to be cleaned up."""
    for _ in range(2):
        with exclusive(StateDirectory(tmp_path)):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_whoever_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    """A command that asks whether somebody is here holds the lock for an instant: a start waits for it."""
    state = StateDirectory(tmp_path)
    with (tmp_path / "lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        looking = threading.Timer(0.05, fcntl.flock, (file, fcntl.LOCK_UN))
        looking.start()
        with exclusive(state):
            looking.join()
