"""The verbs: what documents tell people to type exists, and `make help` hides none."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def verbs() -> set[str]:
    """The Makefile's verbs: its phony targets."""
    return set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def verbs_told(document: str) -> set[str]:
    """The verbs that a document shows as commands: in back-ticks, or at the start of a line of a code block."""
    text = (ROOT / document).read_text()
    return set(re.findall(r"(?:^\s*(?:\$ )?|`)make ([a-z-]+)", text, flags=re.MULTILINE))


def test_help_prints_every_verb() -> None:
    """`make help` shows each verb once with what it does, and nothing that is not a verb."""
    command = ["make", "--no-print-directory", "help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in printed.splitlines()]
    assert sorted(name for _, name, _ in lines) == sorted(verbs())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_tell_only_verbs_that_exist(document: str) -> None:
    """A reader who types what a document says never meets `No rule to make target`."""
    assert verbs_told(document) <= verbs()


def test_contributing_tells_every_verb() -> None:
    """CONTRIBUTING.md explains each verb of the Makefile."""
    assert verbs_told("CONTRIBUTING.md") == verbs()


def test_ci_runs_the_test_command() -> None:
    """Continuous integration runs `make test` and nothing else."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["exec make test"]
