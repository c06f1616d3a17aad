"""The catalogue is what its script builds, names what people configure, and answers any question without failing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.config.schema import RouterConfig
from router_extproc.config.zero import config_from_environment
from router_extproc.registry.catalogue import (
    FIRST_PARTY,
    Catalogue,
    CatalogueFile,
    Entry,
    KnownProvider,
    Match,
    known_providers,
    load_catalogue,
    provider_at,
)
from router_extproc.registry.snapshot import PriceTier

ROOT = Path(__file__).parents[2]
FILE = ROOT / "router_extproc" / "registry" / "data" / "catalogue.json"
# Sold by the minute or the character: there is no price by token to give.
NOT_BY_TOKEN = {
    "groq/whisper-large-v3",
    "groq/whisper-large-v3-turbo",
    "openai/tts-1",
    "openai/tts-1-hd",
    "openai/whisper-1",
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/build_catalogue.py as a module."""
    spec = importlib.util.spec_from_file_location("build_catalogue", ROOT / "scripts" / "build_catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where msgspec looks up the annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def same_package() -> None:
    """Skips what can only be compared with the package that the file was built from."""
    recorded = load_catalogue().source
    installed = f"genai-prices {importlib.metadata.version('genai-prices')}"
    if recorded != installed:
        pytest.skip(f"NOT COMPARED: the catalogue is from {recorded}, {installed} is installed: run scripts/build_catalogue.py")


@pytest.mark.usefixtures("same_package")
def test_the_checked_in_file_is_what_the_script_builds(script: ModuleType) -> None:
    """Nobody edits the generated file by hand, nor forgets to build it after changing the known models."""
    assert script.build(date.fromisoformat(load_catalogue().built)) == FILE.read_text(encoding="utf-8")


@pytest.mark.usefixtures("same_package")
def test_every_published_name_of_a_model_leads_to_that_model(script: ModuleType) -> None:
    """Our reduced patterns mean what the package's clauses mean: for each id and alias the two agree."""
    catalogue = load_catalogue()
    entries = set(json.loads(FILE.read_text(encoding="utf-8"))["models"])
    compared = 0
    for provider in script.published_providers:
        for model in provider.models if provider.id in script.PROVIDERS else ():
            if f"{provider.id}/{model.id}" not in entries:
                continue
            for name in {model.id, *script.reduced(model.match).get("exact", ())}:
                expected = provider.find_model(name)
                if expected is None or f"{provider.id}/{expected.id}" not in entries:
                    continue  # an id that is only a label, or a model without price and limit
                found = catalogue.lookup(provider.id, name)
                assert found is not None
                assert (name, found.model) == (name, expected.id)
                compared += 1
    assert compared > 1_500


@pytest.mark.usefixtures("same_package")
def test_only_models_not_sold_by_token_are_without_price(script: ModuleType) -> None:
    """A known model whose id is misspelt would find no price: the list of those without one is closed."""
    described = set(script.described(script.read_overlay()))
    models = json.loads(FILE.read_text(encoding="utf-8"))["models"]
    assert {key for key in described if "input" not in models[key]} == NOT_BY_TOKEN


def test_prices_are_those_of_the_day_and_the_dearest_of_its_hours(script: ModuleType) -> None:
    """A price list with dates and hours becomes one price that no hour of that day exceeds."""
    types = script.types
    cheap, usual, later = (
        types.ModelPrice(input_mtok=script.Decimal(price), output_mtok=script.Decimal("1.50")) for price in (1, 2, 9)
    )
    midnight_to_six = types.TimeOfDateConstraint(
        start_time=script.time(0, tzinfo=script.UTC), end_time=script.time(6, tzinfo=script.UTC)
    )
    next_year = types.StartDateConstraint(start_date=date(2027, 1, 1))
    model = types.ModelInfo(
        id="model",
        match=types.ClauseEquals(equals="model"),
        prices=[
            types.ConditionalPrice(prices=usual),
            types.ConditionalPrice(next_year, prices=later),
            types.ConditionalPrice(midnight_to_six, prices=cheap),
        ],
    )
    assert script.priced(model, date(2026, 12, 31)) == {"input": script.Decimal(2), "output": script.Decimal("1.5")}
    assert script.priced(model, date(2027, 1, 1)) == {"input": script.Decimal(9), "output": script.Decimal("1.5")}


def test_steps_of_different_prices_are_put_side_by_side(script: ModuleType) -> None:
    """Where input and output rise at different lengths, each tier names what both cost there."""
    types, number = script.types, script.Decimal
    prices = types.ModelPrice(
        input_mtok=types.TieredPrices(base=number(1), tiers=[types.Tier(start=200, price=number(3))]),
        output_mtok=types.TieredPrices(base=number(5), tiers=[types.Tier(start=100, price=number("7.5"))]),
    )
    entry = script.priced(types.ModelInfo(id="m", match=types.ClauseEquals(equals="m"), prices=prices), date(2026, 1, 1))
    assert entry == {
        "input": number(1),
        "output": number(5),
        "tiers": [
            {"above_tokens": 100, "input": number(1), "output": number("7.5")},
            {"above_tokens": 200, "input": number(3), "output": number("7.5")},
        ],
    }


def test_an_unknown_kind_of_clause_stops_the_build(script: ModuleType) -> None:
    """A new version of the package must not lose models in silence."""
    with pytest.raises(TypeError, match="genai-prices has a new kind of clause: str"):
        script.reduced("gpt-*")


def test_the_file_reads_well_in_a_diff_and_stays_small() -> None:
    """One model a line, plain decimals, less than 400 kB."""
    text = FILE.read_text(encoding="utf-8")
    models = json.loads(text)["models"]
    assert len(text.splitlines()) == len(models) + 2
    assert len(text) < 400_000
    written: list[str] = []
    json.loads(text, parse_float=lambda digits: written.append(digits) or float(digits))
    assert len(written) > 2_000
    assert [digits for digits in written if repr(float(digits)) != digits] == []


@pytest.mark.parametrize("provider", known_providers(), ids=lambda provider: provider.name)
def test_default_models_are_in_the_catalogue(provider: KnownProvider) -> None:
    """What is served without configuration has a price, a tier and a context window of its own provider's."""
    for model in provider.models:
        found = load_catalogue().lookup(provider.name, model)
        assert found is not None, model
        assert found.provider == provider.name
        assert found.prices is not None, model
        assert found.prices.input > 0
        assert found.tier is not None, model
        assert found.context_window is not None, model
        assert found.capabilities, model


@pytest.mark.parametrize("provider", known_providers(), ids=lambda provider: provider.name)
def test_a_key_in_the_environment_is_a_valid_configuration(provider: KnownProvider) -> None:
    """Each provider's entry passes the checks of router.yaml, and its address is recognised again."""
    variable = provider.key_variables[0]
    config = config_from_environment({variable: "key"}, known_providers())
    assert isinstance(config, RouterConfig)
    assert list(config.providers) == [provider.name]
    assert config.providers[provider.name].models == provider.models
    assert provider_at(provider.base_url) == provider.name


def test_names_of_known_providers_are_the_catalogues_and_their_keys_are_their_own() -> None:
    """One key in the environment starts one provider."""
    names = [provider.name for provider in known_providers()]
    variables = [variable for provider in known_providers() for variable in provider.key_variables]
    assert len(set(names)) == len(names)
    assert len(set(variables)) == len(variables)
    assert [name for name in names if load_catalogue().provider(name) != name] == []


@pytest.mark.parametrize(
    ("provider", "asked", "found"),
    [
        ("openai", "gpt-4o-2024-08-06", "openai/gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13"),
        ("openai", "GPT-4o", "openai/gpt-4o"),
        ("openai", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("openai", "gpt-6-luna-2031-01-01", "openai/gpt-6-luna"),
        ("openai", "text-embedding-3-small", "openai/text-embedding-3-small"),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "claude-opus-5-5", "anthropic/claude-opus-5-5"),
        ("gemini", "gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("xai", "grok-4.3-latest", "x-ai/grok-4.3"),
        ("zai", "glm-5.3", "zai/GLM-5.3"),
        ("fireworks", "accounts/fireworks/models/gpt-oss-120b", "fireworks/gpt-oss-120b"),
        ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o"),
        (None, "gpt-4o", "openai/gpt-4o"),
        (None, "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        (None, "gemini-2.5-pro", "google/gemini-2.5-pro"),
        (None, "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("our-gateway", "gpt-4o-2024-11-20", "openai/gpt-4o"),
        ("openai", "claude-sonnet-4-5", None),
        ("openai", "no-such-model", None),
        (None, "no-such-model", None),
        (None, "", None),
    ],
)
def test_lookup(provider: str | None, asked: str, found: str | None) -> None:
    """Exact ids, aliases, release dates, other spellings of a provider, and no provider at all lead to the right entry."""
    entry = load_catalogue().lookup(provider, asked)
    assert (None if entry is None else f"{entry.provider}/{entry.model}") == found


def test_what_is_known_of_a_model_is_complete() -> None:
    """A well known model has all its facts, its long-prompt prices included."""
    found = load_catalogue().lookup(None, "gpt-5.4")
    assert found is not None
    assert found.prices is not None
    assert (found.prices.input, found.prices.cached_input, found.prices.output) == (2.5, 0.25, 15.0)
    assert found.prices.tiers == (PriceTier(above_tokens=272_000, input=5.0, cached_input=0.5, output=22.5),)
    assert (found.context_window, found.output_limit, found.tier) == (1_050_000, 128_000, "standard")
    assert found.capabilities is not None
    assert {"tools", "vision", "json_schema"} <= found.capabilities
    assert "code" in found.strengths


def test_every_model_can_be_written_in_router_yaml() -> None:
    """Facts are in the ranges that the schema accepts, and tiers ascend."""
    catalogue = load_catalogue()
    for provider, model in catalogue.names():
        found = catalogue.lookup(provider, model)
        assert found is not None
        assert found.quality is None or 0 <= found.quality <= 1
        assert found.context_window is None or found.context_window > 0
        assert found.output_limit is None or found.output_limit > 0
        if found.prices is not None:
            assert min(found.prices.input, found.prices.output, found.prices.cached_input or 0) >= 0
            thresholds = [tier.above_tokens for tier in found.prices.tiers]
            assert thresholds == sorted(set(thresholds))


def catalogue_of(models: dict[str, Entry]) -> Catalogue:
    """A catalogue with these entries."""
    return Catalogue(CatalogueFile(built="2026-01-01", source="test", models=models))


def test_an_exact_id_wins_over_an_earlier_pattern() -> None:
    """A pattern that is too wide does not take an id that has its own entry, not even across providers."""
    catalogue = catalogue_of(
        {
            "openai/wide": Entry(input=1, match=Match(prefix=("model",))),
            "openai/model-b": Entry(input=2),
            "groq/model-c": Entry(input=3),
        }
    )
    models = [catalogue.lookup(None, name) for name in ("model-a", "model-b", "model-c")]
    assert [None if found is None else found.model for found in models] == ["wide", "model-b", "model-c"]


def test_makers_are_asked_before_hosts() -> None:
    """Without a provider, an id that several have means the one who makes it, whatever the file's order."""
    both = {"openrouter/m": Entry(input=9), "mistral/m": Entry(input=1)}
    found = catalogue_of(both).lookup(None, "m")
    assert found is not None
    assert found.provider == "mistral"
    assert "openrouter" not in FIRST_PARTY


@pytest.mark.parametrize(
    ("match", "accepted", "refused"),
    [
        (Match(exact=("a",)), "a", "ab"),
        (Match(prefix=("a", "b")), "bx", "xb"),
        (Match(suffix=("-x",)), "a-x", "a-xy"),
        (Match(contains=("claude",)), "my-claude-2", "clau-de"),
        (Match(regex=(r"^m-\d{2}$",)), "m-12", "m-123"),
        (Match(all_of=((Match(prefix=("a",)), Match(suffix=("z",))),)), "a-z", "a-y"),
        (Match(), "", "a"),
    ],
    ids=["exact", "prefix", "suffix", "contains", "regex", "all of", "nothing"],
)
def test_match(match: Match, accepted: str, refused: str) -> None:
    """Each form accepts what it says and nothing else; a match without forms accepts nothing."""
    assert match.accepts(accepted) is (match != Match())
    assert not match.accepts(refused)


@given(st.none() | st.text(max_size=40) | st.sampled_from(FIRST_PARTY), st.text(max_size=200))
def test_lookup_never_raises(provider: str | None, model: str) -> None:
    """Whatever a user writes as provider and model, the answer is an entry or None."""
    found = load_catalogue().lookup(provider, model)
    assert found is None or found.model


@given(st.sampled_from(load_catalogue().names()), st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_a_release_date_never_hides_a_model(name: tuple[str, str], day: date) -> None:
    """A name with a date appended, dashed or compact, is known as the name without it."""
    provider, model = name
    plain = load_catalogue().lookup(provider, model)
    for dated in (f"{model}-{day.isoformat()}", f"{model}-{day:%Y%m%d}", f"{model}@{day:%Y%m%d}"):
        found = load_catalogue().lookup(provider, dated)
        assert found is not None
        assert plain is not None
        assert found.provider == plain.provider


@given(st.text(max_size=100) | st.text(max_size=60).map(lambda text: f"https://{text}/v1"))
def test_provider_at_never_raises(base_url: str) -> None:
    """A base URL that is no URL belongs to no provider."""
    found = provider_at(base_url)
    assert found is None or load_catalogue().provider(found) == found


def test_provider_at_knows_hosts_and_not_look_alikes() -> None:
    """The host decides, whatever the path or the user's name for the provider."""
    assert provider_at("https://api.openai.com/v1") == "openai"
    assert provider_at("https://API.OpenAI.com:443") == "openai"
    assert provider_at("https://api.openai.com.example.org/v1") is None
    assert provider_at("http://127.0.0.1:8000/v1") is None
    assert provider_at("https://[not-an-address/v1") is None


def test_loading_is_fast() -> None:
    """Reading and indexing the file costs less than 10 ms of processor time."""
    spent = []
    for _ in range(5):
        before = time.process_time()
        load_catalogue.__wrapped__()
        spent.append(time.process_time() - before)
    assert min(spent) < 0.010


def test_the_price_package_is_not_needed_at_run_time() -> None:
    """Users do not install the development dependency that the catalogue was built from."""
    program = (
        "import sys; sys.modules['genai_prices'] = None\n"
        "from router_extproc.registry.catalogue import known_providers, load_catalogue\n"
        "print(load_catalogue().lookup(None, 'gpt-4o').model, known_providers()[0].name)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["gpt-4o", "openai"]


def test_names_that_nobody_knows_are_looked_up_quickly() -> None:
    """Three hundred unknown models compile in no time, and the second compilation does not search at all."""
    catalogue = Catalogue(msgspec.json.decode(FILE.read_bytes(), type=CatalogueFile))
    names = [f"our-own-model-{number}-2026-01-02" for number in range(300)]
    seconds = []
    for _ in range(2):
        started = time.process_time()
        assert not any(catalogue.lookup(None, name) for name in names)
        seconds.append(time.process_time() - started)
    assert seconds[0] < 2.0
    assert seconds[1] < seconds[0] / 10
