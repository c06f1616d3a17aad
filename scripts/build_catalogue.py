#!/usr/bin/env python3
"""Writes router_extproc/registry/data/catalogue.json from the installed genai-prices package and known_models.yaml.

    scripts/build_catalogue.py [--built YYYY-MM-DD] [--check]

Needs the development environment and no network. ``--built`` is the day whose prices count (default: today, UTC);
``--check`` writes nothing and fails when the file on disk is not what would be written for its own day.

What is decided here
- Prices with a start date: those in force on the day. Prices that change with the hour: the dearest of the day, because
  an estimate that is too low breaks a budget and one that is too high does not.
- Models that are not priced by token keep their limits and lose nothing else; entries that would say nothing are left
  out. Google's list is cut down to its own models: Claude is not served by the Gemini API.
- Ids and patterns are written in lower case, as they are compared. Only the entries' keys keep the vendor's spelling.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from genai_prices import types
from genai_prices.data import providers as published_providers

from router_extproc.config.schema import CapabilityName, TaskName, TierName
from router_extproc.registry.catalogue import CatalogueFile

DATA = Path(__file__).resolve().parents[1] / "router_extproc" / "registry" / "data"
CATALOGUE = DATA / "catalogue.json"
OVERLAY = DATA / "known_models.yaml"
PACKAGE = "genai-prices"

# Providers with an OpenAI-compatible API that people configure; the order is that of the file.
PROVIDERS = (
    "openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "cohere", "moonshotai", "zai", "perplexity",
    "groq", "cerebras", "together", "fireworks", "openrouter",
)  # fmt: skip
FREE_SUFFIX = ":free"
PRICE_KEYS = {"input": "input_mtok", "cached_input": "cache_read_mtok", "output": "output_mtok"}
# The package's clauses that compare text: our form, and where they keep the text.
TEXT_CLAUSES = {
    types.ClauseEquals: ("exact", "equals"),
    types.ClauseStartsWith: ("prefix", "starts_with"),
    types.ClauseEndsWith: ("suffix", "ends_with"),
    types.ClauseContains: ("contains", "contains"),
    types.ClauseRegex: ("regex", "regex"),
}


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model of known_models.yaml; ``also`` names entries of other providers that the same facts hold for."""

    tier: TierName
    quality: float | None = None
    strengths: tuple[TaskName, ...] = ()
    capabilities: tuple[CapabilityName, ...] | None = None
    context_window: int | None = None
    output_limit: int | None = None
    also: tuple[str, ...] = ()


class Overlay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file known_models.yaml."""

    dated: date
    models: dict[str, Known]


def main() -> int:
    """Builds the file, or checks it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--built", type=date.fromisoformat, default=datetime.now(UTC).date())
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        built = msgspec.json.decode(CATALOGUE.read_bytes(), type=CatalogueFile).built
        fresh = build(date.fromisoformat(built)) == CATALOGUE.read_text(encoding="utf-8")
        print("fresh" if fresh else f"{CATALOGUE.name} is stale: run scripts/build_catalogue.py")
        return 0 if fresh else 1
    text = build(options.built)
    CATALOGUE.write_text(text, encoding="utf-8")
    entries = json.loads(text)["models"]
    for key, day in announced_changes(options.built):
        print(f"build again on {day}: {key} changes its price")
    unpriced = sorted(key for key in described(read_overlay()) if "input" not in entries[key])
    print(f"{CATALOGUE.name}: {len(entries)} models, {len(text) / 1000:.0f} kB, prices of {options.built}")
    print(f"known models without a price by token: {', '.join(unpriced) or 'none'}")
    return 0


def build(built: date) -> str:
    """The text of the catalogue: one model a line, so that a diff shows which prices moved."""
    facts = described(read_overlay())
    models = dict(published_entries(built))
    for key, fact in facts.items():
        models[key] = merged(models.get(key, {}), fact)
    encoder = msgspec.json.Encoder(decimal_format="number")
    lines = [f'"{key}": {encoder.encode(entry).decode()}' for key, entry in in_provider_order(models) if entry]
    source = f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    body = ",\n".join(lines)
    return f'{{"built": "{built}", "source": "{source}", "models": {{\n{body}\n}}}}\n'


def read_overlay() -> Overlay:
    """The hand-written facts; raises ``msgspec.ValidationError`` for a word that router.yaml would not accept."""
    return msgspec.yaml.decode(OVERLAY.read_bytes(), type=Overlay)


def described(overlay: Overlay) -> dict[str, Known]:
    """Every entry that the overlay says something about, ``also`` spelled out."""
    return {key: known for name, known in overlay.models.items() for key in (name, *known.also)}


def merged(entry: dict[str, Any], known: Known) -> dict[str, Any]:
    """An entry with the overlay's facts. The package's limits win: they are checked more often than ours."""
    facts = {key: value for key, value in msgspec.to_builtins(known).items() if key != "also"}
    limits = {key: entry[key] for key in ("context_window", "output_limit") if key in entry}
    match = {"match": entry["match"]} if "match" in entry else {}
    return {key: value for key, value in entry.items() if key != "match"} | facts | limits | match


def in_provider_order(models: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Entries grouped by provider; within one, the package's order, which decides between overlapping patterns."""
    return sorted(models.items(), key=lambda item: PROVIDERS.index(item[0].partition("/")[0]))


def published_entries(built: date) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the package says of every model of ``PROVIDERS`` that it has a price or a limit for."""
    published = {provider.id: provider for provider in published_providers}
    for provider_id in PROVIDERS:
        for model in published[provider_id].models:
            if provider_id == "google" and model.id.startswith("claude"):
                continue
            entry = priced(model, built)
            if model.context_window:
                entry["context_window"] = model.context_window
            if not entry:
                continue
            match = reduced(model.match)
            match["exact"] = [name for name in match.get("exact", ()) if name != model.id.lower()]
            if match := {form: names for form, names in match.items() if names}:
                entry["match"] = match
            yield f"{provider_id}/{model.id}", entry


def priced(model: types.ModelInfo, built: date) -> dict[str, Any]:
    """Input, cached input and output prices in USD per million tokens; nothing where input is not priced by token."""
    if model.id.endswith(FREE_SUFFIX):
        return {"input": Decimal(0), "cached_input": Decimal(0), "output": Decimal(0)}
    midnight = datetime.combine(built, time(), tzinfo=UTC)
    hours = [model.get_prices(midnight + timedelta(minutes=30 * half_hour)) for half_hour in range(48)]
    prices = max(hours, key=lambda candidate: sum(base_prices(candidate).values()))
    if prices.input_mtok is None:
        return {}
    entry: dict[str, Any] = dict(base_prices(prices))
    thresholds = sorted({tier.start for price in token_prices(prices).values() for tier in tiers_of(price)})
    if thresholds:
        entry["tiers"] = [
            {"above_tokens": start} | {name: price_above(price, start) for name, price in token_prices(prices).items()}
            for start in thresholds
        ]
    return entry


def announced_changes(built: date) -> list[tuple[str, date]]:
    """Models whose price is known to change within three months, with the day."""
    changes = []
    for provider in published_providers:
        for model in provider.models if provider.id in PROVIDERS else ():
            constraints = [price.constraint for price in model.prices] if isinstance(model.prices, list) else []
            starts = [start.start_date for start in constraints if isinstance(start, types.StartDateConstraint)]
            changes += [(f"{provider.id}/{model.id}", day) for day in starts if built < day <= built + timedelta(days=92)]
    return sorted(changes, key=lambda change: (change[1], change[0]))


def token_prices(prices: types.ModelPrice) -> dict[str, Decimal | types.TieredPrices]:
    """The three prices by our names, those that the vendor has."""
    found = {name: getattr(prices, key) for name, key in PRICE_KEYS.items()}
    return {name: price for name, price in found.items() if price is not None}


def base_prices(prices: types.ModelPrice) -> dict[str, Decimal]:
    """The prices of a short prompt."""
    return {name: price_above(price, 0) for name, price in token_prices(prices).items()}


def tiers_of(price: Decimal | types.TieredPrices) -> list[types.Tier]:
    """The steps of a price; none for a flat one."""
    return price.tiers if isinstance(price, types.TieredPrices) else []


def price_above(price: Decimal | types.TieredPrices, start: int) -> Decimal:
    """The price of a prompt just longer than ``start`` tokens, in digits without an exponent."""
    value = price.base if isinstance(price, types.TieredPrices) else price
    for tier in tiers_of(price):
        if 0 < tier.start <= start:
            value = tier.price
    return Decimal(f"{value.normalize():f}")


def reduced(clause: Any) -> dict[str, list[Any]]:
    """A clause of the package as the forms of ``router_extproc.registry.catalogue.Match``."""
    if isinstance(clause, types.ClauseOr):
        return joined(reduced(member) for member in clause.or_)
    if isinstance(clause, types.ClauseAnd):
        return {"all_of": [[reduced(member) for member in clause.and_]]}
    for kind, (form, attribute) in TEXT_CLAUSES.items():
        if isinstance(clause, kind):
            text: str = getattr(clause, attribute)
            return {form: [text if form == "regex" else text.lower()]}
    raise TypeError(f"{PACKAGE} has a new kind of clause: {type(clause).__name__}")


def joined(parts: Iterable[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Alternatives side by side, the package's order kept within each form."""
    whole: dict[str, list[Any]] = {}
    for part in parts:
        for form, names in part.items():
            known = whole.setdefault(form, [])
            known.extend(name for name in names if name not in known)
    return whole


if __name__ == "__main__":
    sys.exit(main())
