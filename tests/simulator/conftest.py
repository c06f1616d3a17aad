"""Simulators on free ports, and the official SDK pointed at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import openai
import pytest
import uvloop

from router_extproc.simulator import HEALTHY, FaultScript, SimulatedDeployment, Simulator, SimulatorConfig

Simulate = Callable[..., Awaitable[Simulator]]
Client = Callable[..., openai.AsyncOpenAI]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop, as the simulator does."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def simulate() -> AsyncIterator[Simulate]:
    """Start a simulator: of the given deployments, or of one called ``main`` with the given faults."""
    async with AsyncExitStack() as stack:

        async def start(
            *deployments: SimulatedDeployment, faults: FaultScript = HEALTHY, obey_header: bool = False, **settings: object
        ) -> Simulator:
            config = SimulatorConfig(
                deployments=deployments or (SimulatedDeployment(name="main", faults=faults),),
                obey_header=obey_header,
                **settings,
            )
            return await stack.enter_async_context(Simulator(config))

        yield start


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Point an SDK client that never retries at a deployment."""
    async with AsyncExitStack() as stack:

        def connect(simulator: Simulator, name: str = "main", **options: object) -> openai.AsyncOpenAI:
            settings = {"api_key": "sk-test", "max_retries": 0, "timeout": 30.0, **options}
            made = openai.AsyncOpenAI(base_url=simulator.base_url(name), **settings)
            stack.push_async_callback(made.close)
            return made

        yield connect
