"""`scripts/run-tests`, which `make test` runs: both rings, and fails when one of them does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stands in for Python: notes what it is asked, and ends the first ring and the second as it is told.
PYTHON = """#!/bin/sh
echo "$*" >>"$ASKED"
case $* in *"not end_to_end"*) exit "$FIRST" ;; *) exit "$SECOND" ;; esac
"""


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(0, 0, 0, id="all-is-well"),
        pytest.param(1, 0, 1, id="the-first-failed"),
        pytest.param(0, 1, 1, id="the-second-failed"),
        pytest.param(1, 1, 1, id="both-failed"),
        pytest.param(5, 0, 0, id="only-tests-with-envoy-were-chosen"),
        pytest.param(0, 5, 0, id="only-tests-without-envoy-were-chosen"),
        pytest.param(1, 5, 1, id="what-was-chosen-failed"),
        pytest.param(5, 5, 5, id="nothing-was-chosen"),
        pytest.param(0, 3, 3, id="pytest-itself-failed"),
    ],
)
def test_both_rings_run_and_either_can_fail(tmp_path: Path, first: int, second: int, expected: int) -> None:
    """What was chosen for neither ring is no failure of the other, but to choose nothing at all is one."""
    status, asked = run_tests(tmp_path, first, second, "tests/policy", "-k", "one or two")
    assert status == expected
    assert len(asked) == 2
    assert all(line.endswith(" tests/policy -k one or two") for line in asked)


@pytest.mark.parametrize("status", [2, 4])
def test_what_stops_the_first_ring_stops_all(tmp_path: Path, status: int) -> None:
    """After Ctrl-C, or with arguments that pytest does not know, the second ring is not tried."""
    ended, asked = run_tests(tmp_path, status, 0)
    assert (ended, len(asked)) == (status, 1)


def run_tests(folder: Path, first: int, second: int, *arguments: str) -> tuple[int, list[str]]:
    """The status of the script, and what it asked Python for."""
    python, asked = folder / "python", folder / "asked"
    python.write_text(PYTHON)
    python.chmod(0o700)
    environment = {"PATH": os.environ["PATH"], "ASKED": str(asked), "FIRST": str(first), "SECOND": str(second)}
    ended = subprocess.run([ROOT / "scripts" / "run-tests", python, *arguments], env=environment, check=False)
    return ended.returncode, asked.read_text().splitlines()
