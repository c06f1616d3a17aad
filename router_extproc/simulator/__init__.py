"""Providers that speak their real dialects, with faults on demand, for the demo, the tests and the benchmark.

One process plays many deployments, each on a port of its own. A deployment goes wrong as its configuration says, as
``PUT /_simulator/faults`` says while it runs, or, where the simulator was started with ``obey_header``, as one request
says for itself::

    x-simulate: {"openai-main": {"status": 429, "retry_after": 2}, "*": {"first_token_ms": 300}}

The header is a JSON object of deployment name to faults, ``*`` for every deployment not named, so that a request which
travels along a chain of fallbacks scripts each stop. What the header does not write stays as the deployment has it. All
faults are listed in the README beside this file and typed in ``faults``.

It stands beside the house: it imports no other room, and no other room but the front door imports it.
"""

from router_extproc.simulator.configuration import SimulatedDeployment, SimulatorConfig, load_config
from router_extproc.simulator.faults import HEALTHY, Faults, FaultScript, LogNormal
from router_extproc.simulator.recorder import RecordedRequest, Statistics
from router_extproc.simulator.server import Simulator, run

__all__ = [
    "HEALTHY",
    "FaultScript",
    "Faults",
    "LogNormal",
    "RecordedRequest",
    "SimulatedDeployment",
    "Simulator",
    "SimulatorConfig",
    "Statistics",
    "load_config",
    "run",
]
