"""An observer process for each test that asks for one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.observer.process import ObserverProcess


@pytest.fixture
def observers() -> Iterator[Callable[..., ObserverProcess]]:
    """Makes observers over one short state directory (Unix socket paths are limited); kills them at the end."""
    made: list[ObserverProcess] = []
    with tempfile.TemporaryDirectory(prefix="observer-") as folder:

        def make(**options: Any) -> ObserverProcess:
            made.append(ObserverProcess(Path(folder), **options))
            return made[-1]

        yield make
        for observer in made:
            observer.kill()
