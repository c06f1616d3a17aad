"""The models of the registry: what the file says about each, then what the catalogue knows, then safe defaults."""

from __future__ import annotations

from msgspec.structs import replace

from router_extproc.config import schema
from router_extproc.config.deployments import ConfiguredDeployment
from router_extproc.config.schema import RouterConfig
from router_extproc.registry.api_paths import served_paths
from router_extproc.registry.catalogue import Catalogue, CatalogueModel, provider_at
from router_extproc.registry.snapshot import Deployment, Model, Prices, Tier

# Of a model nobody described: neither trusted with hard work nor refused.
DEFAULT_TIER = Tier.STANDARD
DEFAULT_QUALITY = 0.5

# A model that can do these and nothing else generates no text.
_NOT_TEXT = frozenset({"embeddings", "speech", "transcription"})
_PIECES = frozenset({"speech", "transcription"})
# Parts of names that say the same of models no catalogue describes.
_PIECES_NAMES = ("whisper", "-tts", "tts-", "transcribe", "dall-e", "gpt-image", "sora-")
_NOT_TEXT_NAMES = (*_PIECES_NAMES, "embed", "moderation", "rerank")


def compile_models(
    config: RouterConfig, configured: tuple[ConfiguredDeployment, ...], catalogue: Catalogue
) -> dict[str, Model]:
    """Every model that has a deployment, in file order: those of ``models`` first, then those of providers' lists."""
    grouped: dict[str, list[ConfiguredDeployment]] = {name: [] for name in config.models}
    for deployment in configured:
        grouped.setdefault(deployment.model, []).append(deployment)
    return {
        name: _model(name, config.models.get(name, schema.Model()), deployments, catalogue)
        for name, deployments in grouped.items()
        if deployments
    }


def generates_text(model: Model) -> bool:
    """Whether the model can answer a chat: one that only embeds, speaks, transcribes or draws cannot."""
    if model.prices is not None and model.prices.by_piece_only:
        return False
    if model.capabilities:
        return not model.capabilities <= _NOT_TEXT
    return not any(part in model.name.lower() for part in _NOT_TEXT_NAMES)


def makes_pieces(model: Model) -> bool:
    """Whether what the model makes or hears is no text and no vector: pictures, sound, videos."""
    if model.capabilities:
        return not generates_text(model) and not model.capabilities.isdisjoint(_PIECES)
    return any(part in model.name.lower() for part in _PIECES_NAMES)


def is_wildcard(name: str) -> bool:
    """Whether the name stands for every name with its prefix."""
    return name.endswith("*")


def catalogue_entry(deployments: list[ConfiguredDeployment], catalogue: Catalogue) -> CatalogueModel | None:
    """What the catalogue knows about a model: of its deployments, the first that it knows speaks for all."""
    for deployment in deployments:
        if is_wildcard(deployment.provider_model):
            continue
        provider = provider_at(deployment.provider.base_url) or deployment.provider_name
        for name in dict.fromkeys((deployment.provider_model, deployment.model)):
            known = catalogue.lookup(provider, name)
            if known is not None:
                return known
    return None


def _model(name: str, written: schema.Model, deployments: list[ConfiguredDeployment], catalogue: Catalogue) -> Model:
    known = catalogue_entry(deployments, catalogue)
    model = Model(name=name, tier=DEFAULT_TIER, quality=DEFAULT_QUALITY, deployments=())
    if known is not None:
        model = _described(model, known)
    model = _overridden(model, written)
    text = generates_text(model)
    return replace(model, deployments=tuple(_deployment(deployment, generates=text) for deployment in deployments))


def _described(model: Model, known: CatalogueModel) -> Model:
    """The model with what the catalogue knows about it."""
    return replace(
        model,
        tier=DEFAULT_TIER if known.tier is None else Tier[known.tier.upper()],
        quality=DEFAULT_QUALITY if known.quality is None else known.quality,
        context_window=known.context_window,
        output_limit=known.output_limit,
        capabilities=known.capabilities,
        strengths=known.strengths,
        prices=known.prices,
    )


def _overridden(model: Model, written: schema.Model) -> Model:
    """The model with what the file says about it."""
    changes: dict[str, object] = {}
    if written.tier is not None:
        changes["tier"] = Tier[written.tier.upper()]
    if written.prices is not None:
        prices = written.prices
        changes["prices"] = Prices(
            input=prices.input or 0.0,
            output=prices.output or 0.0,
            cached_input=prices.cached_input,
            request=prices.request,
            tool_call=prices.tool_call,
            image=prices.image,
            characters=prices.characters,
            audio_minute=prices.audio_minute,
            video_second=prices.video_second,
            by_piece_only=prices.input is None and prices.makes_no_text,
        )
    if written.capabilities is not None:
        changes["capabilities"] = frozenset(written.capabilities)
    for name in ("quality", "context_window", "output_limit", "strengths"):
        value = getattr(written, name)
        if value is not None:
            changes[name] = value
    return replace(model, **changes)


def _deployment(configured: ConfiguredDeployment, *, generates: bool) -> Deployment:
    return Deployment(
        name=configured.name,
        model=configured.model,
        provider=configured.provider_name,
        provider_model=configured.provider_model,
        weight=configured.weight,
        region=configured.provider.region,
        paths=served_paths(configured.provider.paths, generates_text=generates),
    )
