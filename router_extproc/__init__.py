"""router_extproc: an Envoy external-processing sidecar that routes LLM traffic.

The library in four names: ``Router.from_file("router.yaml").decide(request, situation) -> Decision``.
"""

from router_extproc.decision import Decision
from router_extproc.request import Request
from router_extproc.router import Router, Situation

__all__ = ["Decision", "Request", "Router", "Situation"]
