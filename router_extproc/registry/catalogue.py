"""The dated catalogue: prices, limits and abilities of known models, and the providers that need no configuration.

Pure look-up in two data files beside this module; nothing here asks the network. ``catalogue.json`` is written by
``scripts/build_catalogue.py`` from the public genai-prices package and from ``known_models.yaml``;
``known_providers.yaml`` is written by hand. All carry their date.
"""

from __future__ import annotations

import functools
import re
from datetime import date
from importlib import resources
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from router_extproc.registry.snapshot import Prices, PriceTier

# Without a provider, a model id is looked for among those who make models before those who host them, in this order.
FIRST_PARTY = ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "cohere", "moonshotai", "zai", "perplexity")
# How users also spell the catalogue's providers.
_PROVIDER_ALIASES = {
    "fireworks-ai": "fireworks",
    "gemini": "google",
    "grok": "x-ai",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together-ai": "together",
    "togetherai": "together",
    "xai": "x-ai",
    "z-ai": "zai",
}
# What vendors append to name one release of a model: 2024-08-06, 20250929, latest.
_RELEASE = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|20\d{6}|latest)$")


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model ids mean an entry; any one of the listed forms is enough. All are lower case.

    ``all_of`` holds groups; a group matches when each of its members does.
    """

    exact: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    all_of: tuple[tuple[Match, ...], ...] = ()

    def accepts(self, model: str) -> bool:
        """Whether ``model``, in lower case, is meant."""
        return (
            model in self.exact
            or model.startswith(self.prefix)
            or model.endswith(self.suffix)
            or (bool(self.contains) and any(part in model for part in self.contains))
            or (bool(self.regex) and any(re.search(pattern, model) is not None for pattern in self.regex))
            or (bool(self.all_of) and any(all(member.accepts(model) for member in group) for group in self.all_of))
        )


_NO_MATCH = Match()


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of ``catalogue.json``; None means unknown. ``input``, ``cached_input``, ``output``: USD per million tokens."""

    input: float | None = None
    cached_input: float | None = None
    output: float = 0.0
    tiers: tuple[PriceTier, ...] = ()
    context_window: int | None = None
    output_limit: int | None = None
    tier: Literal["economy", "standard", "premium"] | None = None
    quality: float | None = None
    strengths: tuple[str, ...] = ()
    capabilities: tuple[str, ...] | None = None
    match: Match = Match()


class CatalogueFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``catalogue.json``: the day it was built (ISO 8601), the package it comes from, entries by ``provider/model``."""

    built: str
    source: str
    models: dict[str, Entry]


class CatalogueModel(msgspec.Struct, frozen=True):
    """What is known of one provider's model; None means unknown.

    ``provider`` and ``model`` are the catalogue's own names for what was asked. ``context_window`` and
    ``output_limit`` are in tokens. ``prices`` is None where the vendor does not charge by token (speech by the minute)
    or the price is not known. ``quality`` (0 to 1) is this project's own rough prior.
    """

    provider: str
    model: str
    prices: Prices | None
    context_window: int | None
    output_limit: int | None
    tier: Literal["economy", "standard", "premium"] | None
    quality: float | None
    strengths: tuple[str, ...]
    capabilities: frozenset[str] | None


class KnownProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider that is served as soon as one of its environment variables holds a key.

    ``name`` is the catalogue's. ``key_variables`` are tried in order. ``base_url`` is what stands before
    ``/chat/completions``. ``models`` are served by default: each is in the catalogue with price, tier and context window.
    """

    name: str
    title: str
    key_variables: tuple[str, ...]
    base_url: str
    models: tuple[str, ...]
    region: str | None = None
    dialect: Literal["openai"] = "openai"


class _ProvidersFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dated: date
    providers: tuple[KnownProvider, ...]


class Catalogue:
    """All entries of one catalogue file. It does not change once made; what was looked up is remembered.

    ``built`` is the day whose prices it holds (ISO 8601); ``source`` names the package and version they come from.
    """

    def __init__(self, file: CatalogueFile) -> None:
        """Where two patterns of one provider match the same id, the order of the file decides."""
        self.built = file.built
        self.source = file.source
        self._entries: dict[str, dict[str, tuple[str, Entry]]] = {}
        self._matched: dict[str, list[tuple[str, Entry]]] = {}
        self._found: dict[tuple[str | None, str], CatalogueModel | None] = {}
        for key, entry in file.models.items():
            provider, _, model = key.partition("/")
            self._entries.setdefault(provider, {})[model.lower()] = (model, entry)
            matched = self._matched.setdefault(provider, [])
            if entry.match != _NO_MATCH:
                matched.append((model, entry))
        hosts = [provider for provider in self._entries if provider not in FIRST_PARTY]
        self._search_order = [provider for provider in FIRST_PARTY if provider in self._entries] + hosts

    def lookup(self, provider: str | None, model: str) -> CatalogueModel | None:
        """What is known of ``model``: its exact id first, then aliases and patterns, then the same without release date.

        A provider that the catalogue does not have (a gateway, an own server, a name the user chose) counts as None:
        then all are searched, those who make models before those who host them. Case does not matter.
        """
        known, wanted = self.provider(provider), model.lower()
        if (known, wanted) not in self._found:
            self._found[known, wanted] = self._search([known] if known is not None else self._search_order, wanted)
        return self._found[known, wanted]

    def provider(self, name: str | None) -> str | None:
        """The catalogue's name of a provider, from its name or a usual alias; None when it has no such provider."""
        if name is None:
            return None
        lowered = name.lower()
        lowered = _PROVIDER_ALIASES.get(lowered, lowered)
        return lowered if lowered in self._entries else None

    def names(self) -> tuple[tuple[str, str], ...]:
        """Provider and model id of every entry, in the file's order."""
        return tuple((provider, model) for provider, entries in self._entries.items() for model, _ in entries.values())

    def _search(self, order: list[str], wanted: str) -> CatalogueModel | None:
        undated = _RELEASE.sub("", wanted)
        for name in (wanted,) if undated == wanted else (wanted, undated):
            found = self._find(order, name)
            if found is not None:
                return found
        return None

    def _find(self, order: list[str], name: str) -> CatalogueModel | None:
        for provider in order:
            if (exact := self._entries[provider].get(name)) is not None:
                return self._model(provider, *exact)
        for provider in order:
            for model, entry in self._matched[provider]:
                if entry.match.accepts(name):
                    return self._model(provider, model, entry)
        return None

    def _model(self, provider: str, model: str, entry: Entry) -> CatalogueModel:
        prices = None
        if entry.input is not None:
            source = f"{self.source}, {self.built}"
            prices = Prices(entry.input, entry.output, entry.cached_input, source, entry.tiers)
        return CatalogueModel(
            provider=provider,
            model=model,
            prices=prices,
            context_window=entry.context_window,
            output_limit=entry.output_limit,
            tier=entry.tier,
            quality=entry.quality,
            strengths=entry.strengths,
            capabilities=None if entry.capabilities is None else frozenset(entry.capabilities),
        )


def provider_at(base_url: str) -> str | None:
    """The known provider whose API has the host of ``base_url``, whatever the user calls it; None when there is none."""
    try:
        host = urlsplit(base_url).hostname
    except ValueError:  # a bracketed host that is no address
        return None
    return next((provider.name for provider in known_providers() if urlsplit(provider.base_url).hostname == host), None)


@functools.cache
def load_catalogue() -> Catalogue:
    """The catalogue that the package carries; read once in a process."""
    return Catalogue(msgspec.json.decode(_data("catalogue.json"), type=CatalogueFile))


@functools.cache
def known_providers() -> tuple[KnownProvider, ...]:
    """Providers that work with nothing but a key in the environment, in the file's order; read once in a process."""
    return msgspec.yaml.decode(_data("known_providers.yaml"), type=_ProvidersFile).providers


def _data(name: str) -> bytes:
    return resources.files(__package__).joinpath("data", name).read_bytes()
