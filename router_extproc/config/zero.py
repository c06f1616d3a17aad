"""Configurations nobody wrote: from the provider keys in the environment, and for the demo.

Both are a ``router.yaml`` in memory and go through the same checks as a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Protocol

import yaml

from router_extproc.config.load import parse_config
from router_extproc.config.schema import RouterConfig
from router_extproc.errors import ConfigurationError, Problem

# What stands in messages where a file's name would.
ENVIRONMENT = "(environment)"
DEMO = "(demo)"


class KnownProvider(Protocol):
    """A provider that needs nothing but a key; the catalogue has them, and the registry knows the catalogue."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def key_variables(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def base_url(self) -> str: ...  # noqa: D102
    @property
    def models(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def region(self) -> str | None: ...  # noqa: D102
    @property
    def dialect(self) -> str: ...  # noqa: D102


def config_from_environment(environ: Mapping[str, str], known: Iterable[KnownProvider]) -> RouterConfig | None:
    """The configuration for the known providers whose key is in the environment; None when there is no key."""
    text = text_from_environment(environ, known)
    return None if text is None else parse_config(text, ENVIRONMENT)


def text_from_environment(environ: Mapping[str, str], known: Iterable[KnownProvider]) -> str | None:
    """The ``router.yaml`` that ``config_from_environment`` reads: a start for one's own file. Holds no key."""
    providers: dict[str, object] = {}
    for provider in known:
        variable = next((name for name in provider.key_variables if environ.get(name, "").strip()), None)
        if variable is None:
            continue
        settings: dict[str, object] = {"base_url": provider.base_url, "dialect": provider.dialect}
        if provider.region is not None:
            settings["region"] = provider.region
        settings |= {"credentials": [{"env": variable}], "models": list(provider.models)}
        providers[provider.name] = settings
    if not providers:
        return None
    return yaml.safe_dump({"providers": providers}, sort_keys=False, width=120)


def demo_config(ports: Mapping[str, int]) -> RouterConfig:
    """The demo's configuration; ``ports`` maps each of its providers to the port of its simulator.

    Raises:
        ConfigurationError: a provider of the demo has no port.
    """
    text = resources.files(__package__).joinpath("data", "demo.yaml").read_text(encoding="utf-8")
    for name, port in ports.items():
        text = text.replace(f"PORT_{name}/", f"{port}/")
    if "PORT_simulated" in text:
        raise ConfigurationError((Problem(DEMO, 1, 1, "providers", "a provider of the demo has no port", code="demo"),))
    return parse_config(text, DEMO)
