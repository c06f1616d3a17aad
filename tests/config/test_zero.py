"""The start without a file."""

from __future__ import annotations

import pytest

from router_extproc.config.zero import config_from_environment, demo_config, text_from_environment
from router_extproc.errors import ConfigurationError
from router_extproc.registry.catalogue import known_providers, load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.snapshot import Tier

CANARY = "sk-canary-0123456789abcdef"


def test_without_a_key_there_is_no_configuration() -> None:
    """An environment without provider keys, or with empty ones, gives nothing to serve."""
    assert config_from_environment({}, known_providers()) is None
    assert config_from_environment({"OPENAI_API_KEY": " "}, known_providers()) is None


def test_one_key_is_enough() -> None:
    """One provider's key makes all four default routes work, with prices from the catalogue."""
    config = config_from_environment({"OPENAI_API_KEY": CANARY}, known_providers())
    assert config is not None
    registry = compile_registry(config, load_catalogue())
    assert list(config.providers) == ["openai"]
    assert registry.default_chain
    assert all(registry.routes[name].plan.targets for name in ("auto", "fast", "cheap", "best"))
    assert all(model.prices is not None for model in registry.models.values())


@pytest.mark.parametrize("provider", known_providers(), ids=lambda provider: provider.name)
def test_every_known_provider_works_alone(provider: object) -> None:
    """Each provider the catalogue knows starts with its key alone and passes every check."""
    variable = provider.key_variables[0]  # type: ignore[attr-defined]
    config = config_from_environment({variable: CANARY}, known_providers())
    assert config is not None
    assert compile_registry(config, load_catalogue()).default_chain


def test_the_key_stays_in_the_environment() -> None:
    """The configuration names the variable and never holds its value."""
    text = text_from_environment({"OPENAI_API_KEY": CANARY}, known_providers())
    assert text is not None
    assert "OPENAI_API_KEY" in text
    assert CANARY not in text


def test_several_keys_make_several_providers() -> None:
    """Every provider with a key takes part."""
    environ = {provider.key_variables[0]: CANARY for provider in known_providers()}
    config = config_from_environment(environ, known_providers())
    assert config is not None
    assert set(config.providers) == {provider.name for provider in known_providers()}


def test_the_demo_has_something_to_fall_back_to() -> None:
    """In the demo the same model stands at two simulated providers, and there is a cheap and a strong one."""
    config = demo_config({"simulated-openai": 21401, "simulated-backup": 21402, "simulated-anthropic": 21403})
    registry = compile_registry(config, load_catalogue())
    assert config.providers["simulated-backup"].base_url == "http://127.0.0.1:21402/v1"
    assert [len(registry.models[name].deployments) for name in ("gpt-4o-mini", "gpt-4o")] == [2, 2]
    assert registry.models["gpt-4o-mini"].tier is Tier.ECONOMY
    assert registry.models["gpt-4o"].tier is Tier.PREMIUM


def test_the_demo_needs_all_its_ports() -> None:
    """A provider of the demo without a port is an error, not a file with a hole."""
    with pytest.raises(ConfigurationError, match="has no port"):
        demo_config({"simulated-openai": 21401})
