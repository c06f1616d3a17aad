"""Ready configurations: one ``router.yaml`` for each usual place to run, as data beside this file."""

from __future__ import annotations

from importlib import resources

PROFILES = ("laptop", "sidecar", "egress")
"""On one machine; beside one application; one gateway for many."""


def profile_text(name: str) -> str:
    """The ``router.yaml`` of a profile."""
    return resources.files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
