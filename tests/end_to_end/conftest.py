"""What most modules here share: their simulated providers and one running instance, both for the whole module.

A module says which providers it wants in ``SIMULATED`` (name → settings) and what the instance is told in
``CONFIGURATION``, where ``$NAME`` stands for a provider's address. One that answers for its provider by itself has a class
``Provider`` instead, a server that listens as soon as it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.end_to_end.running import Instance, Simulators, at_work, running


@pytest.fixture(scope="module")
def simulators(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    """The module's simulated providers."""
    started = Simulators(tmp_path_factory.mktemp("simulators"), request.module.SIMULATED)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def instance(
    request: pytest.FixtureRequest, simulators: Simulators, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Instance]:
    """One instance with the module's configuration."""
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(request.module.CONFIGURATION))) as started:
        yield started


@pytest.fixture(scope="module")
def provider(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The module's own provider, at work."""
    with at_work(request.module.Provider()) as server:
        yield server


@pytest.fixture(scope="module")
def client(instance: Instance) -> Iterator[openai.OpenAI]:
    """The official SDK, talking to the instance."""
    with instance.client() as client:
        yield client


@pytest.fixture
def healed(simulators: Simulators) -> None:
    """Every test begins with healthy providers that remember nothing."""
    simulators.heal()
