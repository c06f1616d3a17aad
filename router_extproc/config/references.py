"""Names that must point to something, and settings that exclude each other: what the schema alone cannot see."""

from __future__ import annotations

from router_extproc.config.schema import RouterConfig
from router_extproc.config.source import Source
from router_extproc.errors import Problem


def check_references(config: RouterConfig, source: Source) -> list[Problem]:
    """Every reference in the file that leads nowhere."""
    return []
