"""router_extproc: an Envoy external-processing sidecar that routes LLM traffic.

The library in four names: ``Router.from_file("router.yaml").decide(request, situation) -> Decision``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router_extproc.decision import Decision
    from router_extproc.request import Request
    from router_extproc.router import Router, Situation
else:
    # The four bring the numerical libraries along, and every module below imports this one first: they are loaded when they
    # are asked for, so that commands, the supervisor and the simulator start without them.
    _HOMES = {"Decision": "decision", "Request": "request", "Router": "router", "Situation": "router"}

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __dir__() -> list[str]:
        return __all__


__all__ = ["Decision", "Request", "Router", "Situation"]
