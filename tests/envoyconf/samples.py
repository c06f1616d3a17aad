"""Small configurations and their registries, compiled without the catalogue."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from router_extproc.config.deployments import configured_deployments
from router_extproc.config.schema import RouterConfig
from router_extproc.registry.snapshot import Deployment, Model, Registry, Route, Tier

TWO_PROVIDERS: dict[str, Any] = {
    "providers": {
        "plain": {"base_url": "http://127.0.0.1:9/v1"},
        "cloud": {
            "base_url": "https://api.example.com/openai/v1/",
            "http_version": "2",
            "credentials": [{"env": "FIRST_KEY", "name": "first"}, {"env": "SECOND_KEY"}],
        },
    },
    "models": {"small": {"deployments": [{"provider": "plain"}, {"provider": "cloud", "model": "vendor-small"}]}},
}


@dataclass(frozen=True)
class Folders:
    """The directories of a state directory, anywhere."""

    root: Path

    @property
    def envoy(self) -> Path:
        return self.root / "envoy"

    @property
    def sockets(self) -> Path:
        return self.root / "sockets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


def configuration(changes: dict[str, Any] | None = None, base: dict[str, Any] | None = None) -> RouterConfig:
    """A configuration: ``base``, by default two providers, with the given top-level sections replaced."""
    return RouterConfig.model_validate(copy.deepcopy(TWO_PROVIDERS if base is None else base) | (changes or {}))


def registry_of(config: RouterConfig, default_chain: tuple[str, ...] | None = None) -> Registry:
    """The registry of a configuration; by default every deployment stands in the default chain."""
    models: dict[str, Model] = {}
    for each in configured_deployments(config):
        known = models.get(each.model, Model(each.model, Tier.STANDARD, 0.5, ()))
        deployment = Deployment(each.name, each.model, each.provider_name, each.provider_model)
        models[each.model] = msgspec.structs.replace(known, deployments=(*known.deployments, deployment))
    everything = tuple(each.name for each in configured_deployments(config))
    routes = {}
    for name, route in config.routes.items():
        timeouts = route.timeouts or config.defaults.timeouts
        routes[name] = Route(
            name,
            stream_idle_ms=timeouts.stream_idle,
            first_token_timeout_ms=timeouts.first_token,
            deadline_ms=timeouts.deadline,
            check_answer=bool(route.check and route.check.answer),
        )
    return Registry(models=models, routes=routes, default_chain=everything if default_chain is None else default_chain)
