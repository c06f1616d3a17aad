"""`scripts/run-tests`, which `make test` runs: all rings, and fails when one of them does."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stands in for Python: notes what it is asked, and ends each ring as it is told.
PYTHON = """#!/bin/sh
echo "$*" >>"$ASKED"
case $* in *"not end_to_end"*) exit "$FIRST" ;; *"not alone"*) exit "$SECOND" ;; *) exit "$THIRD" ;; esac
"""


@pytest.mark.parametrize(
    ("rings", "expected"),
    [
        pytest.param((0, 0, 0), 0, id="all-is-well"),
        pytest.param((1, 0, 0), 1, id="the-first-failed"),
        pytest.param((0, 1, 0), 1, id="the-second-failed"),
        pytest.param((0, 0, 1), 1, id="the-third-failed"),
        pytest.param((1, 1, 1), 1, id="all-failed"),
        pytest.param((5, 0, 0), 0, id="only-tests-with-envoy-were-chosen"),
        pytest.param((0, 5, 5), 0, id="only-tests-without-envoy-were-chosen"),
        pytest.param((5, 5, 0), 0, id="only-tests-that-load-the-machine-were-chosen"),
        pytest.param((5, 1, 5), 1, id="what-was-chosen-failed"),
        pytest.param((5, 5, 5), 5, id="nothing-was-chosen"),
        pytest.param((0, 0, 3), 3, id="pytest-itself-failed"),
    ],
)
def test_all_rings_run_and_each_can_fail(tmp_path: Path, rings: tuple[int, int, int], expected: int) -> None:
    """What was chosen for one ring is no failure of the others, but to choose nothing at all is one."""
    status, asked = run_tests(tmp_path, rings, "tests/policy", "-k", "one or two")
    assert status == expected
    assert len(asked) == 3
    assert all(line.endswith(" tests/policy -k one or two") for line in asked)


@pytest.mark.parametrize("status", [2, 4])
def test_what_stops_one_ring_stops_all(tmp_path: Path, status: int) -> None:
    """After Ctrl-C, or with arguments that pytest does not know, no further ring is tried."""
    for before in (0, 1):
        rings = (0, status, 0) if before else (status, 0, 0)
        ended, asked = run_tests(tmp_path / str(before), rings)
        assert (ended, len(asked)) == (status, before + 1)


def test_every_test_is_in_one_ring() -> None:
    """The choices of the rings, taken together, leave nothing out but what `make soak` runs."""
    rings = re.findall(r'^ring -m "([^"]+)"', (ROOT / "scripts" / "run-tests").read_text(), re.MULTILINE)
    for end_to_end, alone, soak in itertools.product((False, True), repeat=3):
        if alone and not end_to_end:
            continue  # `alone` is said of tests with Envoy only, see below
        marks = {"end_to_end": end_to_end, "alone": alone, "soak": soak}
        found = sum(eval(ring, {"__builtins__": {}}, marks) for ring in rings)  # noqa: S307 - our own file's
        assert found == (not soak), marks


def test_only_tests_with_envoy_run_alone() -> None:
    """Others would be run twice."""
    for file in (ROOT / "tests").rglob("test_*.py"):
        lines = file.read_text(encoding="utf-8").splitlines()
        with_envoy = [line for line in lines if "pytest.mark.end_to_end" in line]
        alone = [line for line in lines if "pytest.mark.alone" in line]
        if file != Path(__file__) and not any(line.startswith("pytestmark = ") for line in with_envoy):
            assert set(alone) <= set(with_envoy), file


def run_tests(folder: Path, rings: tuple[int, int, int], *arguments: str) -> tuple[int, list[str]]:
    """The status of the script, and what it asked Python for."""
    folder.mkdir(exist_ok=True)
    python, asked = folder / "python", folder / "asked"
    python.write_text(PYTHON)
    python.chmod(0o700)
    told = dict(zip(("FIRST", "SECOND", "THIRD"), map(str, rings), strict=True))
    environment = {"PATH": os.environ["PATH"], "ASKED": str(asked), **told}
    ended = subprocess.run([ROOT / "scripts" / "run-tests", python, *arguments], env=environment, check=False)
    return ended.returncode, asked.read_text().splitlines()
