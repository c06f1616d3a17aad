"""Every deployment that a file asks for, written out: shorthand, credentials and names resolved.

The registry, Envoy's clusters and the lints must agree on which deployment uses which key, so all of them read this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from router_extproc.config.schema import Credential, Provider, RouterConfig
from router_extproc.config.source import Path


@dataclass(frozen=True)
class ConfiguredDeployment:
    """One deployment with one key; ``credential`` is None where the provider needs none.

    ``group`` is the name without the key: what a target may write to mean the deployment with all its keys. ``path`` is
    where the file asks for it.
    """

    name: str
    group: str
    model: str
    provider_name: str
    provider: Provider
    provider_model: str
    weight: float
    credential: Credential | None
    path: Path


def configured_deployments(config: RouterConfig) -> tuple[ConfiguredDeployment, ...]:
    """All of them: those of ``models`` first, then those of the providers' own lists, each in file order.

    A deployment whose provider does not exist is left out; ``check_references`` reports it.
    """
    found: list[ConfiguredDeployment] = []
    for model, settings in config.models.items():
        for index, written in enumerate(settings.deployments):
            provider = config.providers.get(written.provider)
            if provider is None:
                continue
            name = written.name or default_name(written.provider, model)
            deployment = ConfiguredDeployment(
                name=name,
                group=name,
                model=model,
                provider_name=written.provider,
                provider=provider,
                provider_model=written.model or model,
                weight=written.weight,
                credential=None,
                path=("models", model, "deployments", index),
            )
            found += _each_key(deployment)
    for provider_name, provider in config.providers.items():
        for index, model in enumerate(provider.models):
            name = default_name(provider_name, model)
            deployment = ConfiguredDeployment(
                name=name,
                group=name,
                model=model,
                provider_name=provider_name,
                provider=provider,
                provider_model=model,
                weight=1.0,
                credential=None,
                path=("providers", provider_name, "models", index),
            )
            found += _each_key(deployment)
    return tuple(found)


def default_name(provider: str, model: str) -> str:
    """The name of a deployment without one of its own; Envoy's cluster has it too, so ``*`` is written ``any``."""
    return f"{provider}/{model}".replace("*", "any")


def _each_key(deployment: ConfiguredDeployment) -> list[ConfiguredDeployment]:
    """The deployment with its key, or one for each of several keys, told apart by the key's name or number."""
    credentials = deployment.provider.credentials
    if not credentials:
        return [deployment]
    if len(credentials) == 1:
        return [replace(deployment, credential=credentials[0])]
    return [
        replace(
            deployment,
            name=f"{deployment.name}@{credential.name or number}",
            weight=deployment.weight * credential.weight,
            credential=credential,
        )
        for number, credential in enumerate(credentials, start=1)
    ]
