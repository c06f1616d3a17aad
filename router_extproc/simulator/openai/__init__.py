"""The OpenAI API as the simulator speaks it: one module for each endpoint."""

from router_extproc.simulator.openai.endpoints import Endpoint, find_endpoint
from router_extproc.simulator.openai.error_bodies import Refusal
from router_extproc.simulator.openai.provider import Provider

__all__ = ["Endpoint", "Provider", "Refusal", "find_endpoint"]
