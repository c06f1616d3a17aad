"""The brain as a whole: where a request goes, by its model, its headers, rules and the health of deployments."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import msgspec
import pytest

from router_extproc import Router, Situation
from router_extproc.dialects.openai import splice_model
from router_extproc.errors import (
    MissingCapabilityError,
    UnavailableError,
)
from router_extproc.facts import Facts
from router_extproc.registry.health import HALF_OPEN, OPEN, DeploymentHealth
from router_extproc.registry.snapshot import (
    Bounds,
    Condition,
    Plan,
    Prices,
    Registry,
    Route,
    Rule,
    Tier,
    encode_registry,
)
from router_extproc.request import CHAT_COMPLETIONS, Request
from tests.policy import registries as build

NOW = 1_000.0


def test_a_named_model_keeps_to_its_own_keys() -> None:
    """A model asked for by name is tried on all its keys and never replaced, though its tier has others."""
    router = Router(build.registry(build.model("gpt", keys=2), build.model("other")))
    decision = router.decide(build.chat("gpt"))
    assert {attempt.model for attempt in decision.chain} == {"gpt"}
    assert [attempt.level for attempt in decision.chain] == ["primary", "same_model"]
    assert decision.reason == "named"


def test_a_named_model_may_be_replaced_where_the_route_says_so() -> None:
    """With allow_cross_model the tier's other models follow, also when the plan names no target."""
    route = Route("gpt", Plan(), named_model="gpt", allow_cross_model=True)
    router = Router(build.registry(build.model("other"), build.model("gpt"), routes=(route,)))
    assert [(one.model, one.level) for one in router.decide(build.chat("gpt")).chain] == [
        ("gpt", "primary"),
        ("other", "same_tier"),
    ]


def test_a_rule_cannot_replace_a_named_model() -> None:
    """A rule that sends a named model elsewhere is held to that model."""
    rule = Rule("away", Condition(routes=("gpt",)), Plan(targets=build.targets("other"), last_resort=build.targets("other")))
    router = Router(build.registry(build.model("gpt"), build.model("other"), rules=(rule,)))
    assert [one.model for one in router.decide(build.chat("gpt")).chain] == ["gpt"]


def test_an_alias_obeys_what_its_target_obeys() -> None:
    """An alias leads to the route of its target, with the target's rules, and says so."""
    rule = Rule("streams", Condition(routes=("gpt",), stream=True), Plan(targets=build.targets("gpt"), min_tier=Tier.PREMIUM))
    router = Router(
        build.registry(build.model("gpt"), build.model("strong", Tier.PREMIUM), aliases={"nick": "gpt"}, rules=(rule,))
    )
    decision = router.decide(build.chat("nick"))
    assert (decision.route, decision.reason) == ("gpt", "alias")
    with pytest.raises(UnavailableError):
        router.decide(build.chat("nick", stream=True))


def test_a_wildcard_model_passes_on_what_its_star_matched() -> None:
    """The longest wildcard wins and the provider is asked for what the star stood for."""
    narrow = build.model("openai/gpt-*", deployments=(build.deployment("p/narrow", "openai/gpt-*", provider_model="gpt-*"),))
    wide = build.model("openai/*", deployments=(build.deployment("p/wide", "openai/*", provider_model="*"),))
    router = Router(build.registry(wide, narrow))
    attempt = router.decide(build.chat("openai/gpt-5")).chain[0]
    assert (attempt.deployment, attempt.model, attempt.provider_model) == ("p/narrow", "openai/gpt-5", "gpt-5")
    assert router.decide(build.chat("openai/o3")).chain[0].provider_model == "o3"


def test_a_wildcard_model_without_a_name_is_no_candidate() -> None:
    """A route over all models leaves out what has no model id of its own."""
    wide = build.model("any/*", deployments=(build.deployment("p/wide", "any/*", provider_model="*"),))
    router = Router(build.registry(wide, build.model("gpt"), routes=(Route("auto"),)))
    assert [one.model for one in router.decide(build.chat("auto")).chain] == ["gpt"]


def test_what_was_learned_of_a_model_counts_for_its_context_window_and_its_cost() -> None:
    """A model known to need more tokens for a text falls earlier and is dearer; others, and unknown ones, are as before."""
    thrifty = build.model("thrifty", context_window=1_000, prices=Prices(1, 0))
    wordy = build.model("wordy", context_window=1_000, prices=Prices(0.9, 0))
    router = Router(build.registry(thrifty, wordy, routes=(Route("cheapest", Plan("cheap")),)))
    known = Situation(token_ratios={"wordy": 1.5, "thrifty": 1.0})

    def tried(tokens: int, situation: Situation) -> list[str]:
        request = build.chat("cheapest", analysis=Facts(prompt_tokens=tokens))
        return [attempt.model for attempt in router.decide(request, situation).chain]

    assert tried(600, Situation()) == ["wordy", "thrifty"]
    assert tried(600, known) == ["thrifty", "wordy"]
    assert tried(700, known) == ["thrifty"]
    request = build.chat("wordy", analysis=Facts(prompt_tokens=600))
    assert router.decide(request, known).estimated_cost_usd == pytest.approx(600 * 1.5 * 0.9 / 1e6)
    with pytest.raises(MissingCapabilityError, match="about 1155 tokens"):
        router.decide(build.chat("wordy", analysis=Facts(prompt_tokens=700)), known)
    explained = router.explain(build.chat("cheapest", analysis=Facts(prompt_tokens=600)), known).candidates
    assert {one.model: one.token_ratio for one in explained} == {"thrifty": None, "wordy": 1.5}


@pytest.mark.parametrize("need", ["vision", "audio", "files"])
def test_what_was_learned_of_text_says_nothing_of_pictures(need: str) -> None:
    """Pictures, sound and files are counted by rules of their own."""
    model = build.model("wordy", prices=Prices(1, 0))
    request = build.chat("wordy", analysis=Facts(prompt_tokens=1_000, needs=frozenset({need})))
    decision = Router(build.registry(model)).decide(request, Situation(token_ratios={"wordy": 1.5}))
    assert decision.estimated_cost_usd == pytest.approx(0.001)


def test_only_a_chat_of_text_alone_teaches() -> None:
    """The estimate that goes out to be compared is the plain one, and only where it is nothing but a count of text."""
    router = Router(build.registry(build.model("m", deployments=(build.deployment("p/m", "m", paths=("/v1/*",)),))))

    def compared(path: str = CHAT_COMPLETIONS, **facts: Any) -> int | None:
        analysis = Facts(**{"prompt_tokens": 50, "characters": 200, **facts})
        return router.decide(Request(path, "m", analysis=analysis), Situation(token_ratios={"m": 2.0})).text_tokens

    assert compared() == 50
    assert compared(path="/v1/responses") is None
    assert compared(characters=0) is None
    assert [compared(needs=frozenset({need})) for need in ("vision", "audio", "files", "tools", "json_schema")] == [None] * 5
    assert compared(needs=frozenset({"json_mode"})) == 50


def test_when_everything_cools_down_the_least_bad_is_tried_once() -> None:
    """Soonest back first, then the lower share of failures; a chain of one, marked."""
    router = Router(build.registry(build.model("gpt", keys=3)))
    health = {
        "p/gpt@1": DeploymentHealth(OPEN, open_until=NOW + 9, failure_ratio=0.1),
        "p/gpt@2": DeploymentHealth(OPEN, open_until=NOW + 5, failure_ratio=0.9),
        "p/gpt@3": DeploymentHealth(OPEN, open_until=NOW + 5, failure_ratio=0.6),
    }
    decision = router.decide(build.chat("gpt"), Situation(health=health, now=NOW))
    assert [one.deployment for one in decision.chain] == ["p/gpt@3"]
    assert decision.degraded == "all-cooling-down"


def test_a_free_probe_is_taken_first_and_without_it_the_deployment_rests() -> None:
    """Half open: with the probe it leads and is booked; once the probe is gone it is not tried."""
    router = Router(build.registry(build.model("gpt", keys=2)))
    free = {"p/gpt@2": DeploymentHealth(HALF_OPEN, probe="gpt@2/1")}
    for seed in range(20):
        decision = router.decide(build.chat("gpt"), Situation(health=free, draw=seed))
        assert [one.deployment for one in decision.chain] == ["p/gpt@2", "p/gpt@1"]
        assert decision.half_open == "p/gpt@2"
    taken = {"p/gpt@2": DeploymentHealth(HALF_OPEN)}
    decision = router.decide(build.chat("gpt"), Situation(health=taken))
    assert ([one.deployment for one in decision.chain], decision.half_open) == (["p/gpt@1"], None)


def test_a_path_without_model_has_one_place() -> None:
    """Files live with one provider: the first that serves the path, whatever its health, and the body is not touched."""
    files = build.model("store", deployments=(build.deployment("q/store", "store", paths=("/v1/files*",)),))
    router = Router(build.registry(build.model("gpt"), files))
    health = {"q/store": DeploymentHealth(OPEN)}
    decision = router.decide(router.read("GET", "/v1/files/f-1?limit=2", {}, b""), Situation(health=health))
    assert [(one.deployment, one.provider_model) for one in decision.chain] == [("q/store", "")]


def test_embeddings_over_all_models_need_a_model_that_embeds() -> None:
    """A route picks a model that embeds; whoever names a model gets it."""
    paths = ("/v1/embeddings", "/v1/chat/completions")
    chatty = build.model(
        "chatty", capabilities=frozenset({"tools"}), deployments=(build.deployment("p/chatty", "chatty", paths=paths),)
    )
    embedder = build.model(
        "embedder", capabilities=frozenset({"embeddings"}), deployments=(build.deployment("p/embed", "embedder", paths=paths),)
    )
    router = Router(build.registry(chatty, embedder, routes=(Route("auto"),)))
    assert [one.model for one in router.decide(Request("/v1/embeddings", "auto")).chain] == ["embedder"]
    assert [one.model for one in router.decide(Request("/v1/embeddings", "chatty")).chain] == ["chatty"]


def test_headers_narrow_and_never_widen() -> None:
    """Minimum tier, allowed models, region and cost each leave fewer candidates."""
    east = build.deployment("p/east", "big", region="eu")
    big = build.model(
        "big", Tier.PREMIUM, deployments=(build.deployment("p/west", "big", region="us"), east), prices=Prices(100, 100)
    )
    small = build.model("small", Tier.ECONOMY, prices=Prices(1, 1))
    free = build.model("unpriced", Tier.ECONOMY)
    router = Router(build.registry(small, big, free, routes=(Route("auto"),)))

    def names(**headers: str) -> set[str]:
        written = {f"x-router-{name.replace('_', '-')}": value for name, value in headers.items()}
        return {one.deployment for one in router.decide(build.chat("auto", headers=written)).chain}

    assert names(min_tier="premium") == {"p/west", "p/east"}
    assert names(models="small, big", region="eu") == {"p/east"}
    assert names(max_cost_usd="0.001") == {"p/small@1"}


def test_the_first_rule_that_holds_replaces_the_plan() -> None:
    """Rules are tried in file order, the reason names the one that applied."""
    rules = (
        Rule("long", Condition(prompt_tokens=Bounds(500)), Plan(targets=build.targets("big"))),
        Rule("code", Condition(code=True), Plan(targets=build.targets("coder"))),
    )
    route = Route("auto", Plan(targets=build.targets("small")))
    router = Router(build.registry(*(build.model(name) for name in ("small", "big", "coder")), routes=(route,), rules=rules))

    def first(**facts: object) -> tuple[str, str]:
        decision = router.decide(build.chat("auto", analysis=Facts(**facts)))  # type: ignore[arg-type]
        return decision.chain[0].model, decision.reason

    assert first(prompt_tokens=10) == ("small", "ordered")
    assert first(prompt_tokens=500, has_code=True) == ("big", "rule:long")
    assert first(prompt_tokens=10, has_code=True) == ("coder", "rule:code")


def test_a_passthrough_route_looks_at_nothing_but_the_model() -> None:
    """On a passthrough route facts are not read and nothing is held against the model; others analyse the same body."""
    small = build.model("small", context_window=10, capabilities=frozenset())
    through = Route("through", Plan(targets=build.targets("small")), passthrough=True)
    router = Router(build.registry(small, routes=(through, Route("auto"))))
    body = {"model": "through", "messages": [{"role": "user", "content": "word " * 100}], "tools": [{"type": "function"}]}
    request = router.read("POST", CHAT_COMPLETIONS, {}, json.dumps(body).encode())
    decision = router.decide(request)
    assert (decision.reason, decision.estimated_cost_usd) == ("passthrough", None)
    assert "envelope" not in vars(request.analysis)
    with pytest.raises(MissingCapabilityError):
        router.decide(router.read("POST", CHAT_COMPLETIONS, {}, json.dumps(body | {"model": "auto"}).encode()))


def test_no_rule_applies_to_a_passthrough_route() -> None:
    """A rule that names a passthrough route changes nothing: such a route looks at nothing that a rule could ask for."""
    through = Route("through", Plan(targets=build.targets("small")), passthrough=True)
    rule = Rule("everything", Condition(routes=("through",)), Plan(targets=build.targets("big")))
    router = Router(build.registry(build.model("small"), build.model("big"), routes=(through,), rules=(rule,)))
    decision = router.decide(build.chat("through"))
    assert (decision.reason, decision.chain[0].model) == ("passthrough", "small")


@pytest.mark.parametrize(
    ("stream", "attempt", "deadline", "expected"),
    [
        (False, None, 600_000, None),
        (False, 900_000, 600_000, 600_000),
        (True, None, 600_000, 120_000),
        (True, None, 100_000, 49_019),
        (True, 40_000, 100_000, 40_000),
        (True, None, 130_000, 63_725),
    ],
)
def test_attempts_of_a_stream_fit_into_its_deadline(
    *, stream: bool, attempt: int | None, deadline: int, expected: int | None
) -> None:
    """A plain call is bounded by its deadline; a stream only by its attempts, of which two must fit."""
    route = Route(
        "gpt", Plan(targets=build.targets("gpt")), attempt_timeout_ms=attempt, deadline_ms=deadline, named_model="gpt"
    )
    decision = Router(build.registry(build.model("gpt", keys=2), routes=(route,))).decide(build.chat("gpt", stream=stream))
    assert len(decision.chain) == 2
    assert decision.attempt_timeout_ms == expected


def test_answers_are_judged_only_where_they_are_understood() -> None:
    """The answer check and the first-token timeout are for chats; speech is not JSON, a plain call has no tokens to await."""
    paths = ("/v1/*",)
    route = Route("auto", first_token_timeout_ms=500, check_answer=True)
    gpt = build.model("gpt", deployments=(build.deployment("p/gpt", "gpt", paths=paths),))
    router = Router(build.registry(gpt, routes=(route,)))
    stream = router.decide(build.chat("auto", stream=True))
    assert (stream.check_answer, stream.first_token_timeout_ms) == (True, 500)
    assert router.decide(build.chat("auto")).first_token_timeout_ms is None
    speech = router.decide(Request("/v1/audio/speech", "auto", stream=True))
    assert (speech.check_answer, speech.first_token_timeout_ms) == (False, None)


def test_explain_shows_every_candidate_and_why_it_fell() -> None:
    """Each deployment of the plan is there with its reason, cost and latency, and the prices with their source."""
    blind = build.model("blind", capabilities=frozenset(), prices=Prices(1, 2, source="a book, 2026-01-01"))
    keen = build.model("keen", keys=2)
    router = Router(build.registry(blind, keen, routes=(Route("auto"),)))
    health = {"p/keen@1": DeploymentHealth(OPEN, open_until=NOW + 3), "p/keen@2": DeploymentHealth(time_to_first_byte_ms=42.0)}
    request = build.chat("auto", analysis=Facts(prompt_tokens=100, needs=frozenset({"vision"}), max_output_tokens=100))
    explanation = router.explain(request, Situation(health=health, now=NOW))
    found = {one.deployment: (one.rejected, one.time_to_first_byte_ms) for one in explanation.candidates}
    assert found == {
        "p/blind@1": ("lacks vision", None),
        "p/keen@1": ("cooling down for 3.0 s more", None),
        "p/keen@2": (None, 42.0),
    }
    assert {one.quota_resets_in_seconds for one in explanation.candidates} == {None}
    used_up = {"p/keen@1": DeploymentHealth(quota_until=NOW + 3), "p/keen@2": DeploymentHealth(quota_until=NOW)}
    later = router.explain(request, Situation(health=used_up, now=NOW)).candidates
    assert [(one.rejected, one.quota_resets_in_seconds) for one in later[1:]] == [(None, 3.0), (None, None)]
    assert explanation.candidates[0].estimated_cost_usd == pytest.approx(300 / 1e6)
    assert [(price.model, price.source) for price in explanation.prices] == [("blind", "a book, 2026-01-01")]
    assert explanation.decision is not None
    assert msgspec.json.decode(msgspec.json.encode(explanation))["decision"]["chain"][0]["deployment"] == "p/keen@2"


def test_a_registry_survives_its_snapshot() -> None:
    """A worker that decides from the written snapshot decides the same."""
    registry = build.registry(build.model("gpt", keys=3, capabilities=frozenset({"vision"})), routes=(Route("auto"),))
    again = msgspec.json.decode(encode_registry(registry), type=Registry)
    for name in ("auto", "gpt"):
        situation = Situation(draw=7)
        assert Router(again).decide(build.chat(name), situation) == Router(registry).decide(build.chat(name), situation)


def test_a_small_chat_is_decided_in_microseconds() -> None:
    """Reading, deciding and splicing an ordinary chat among 40 deployments stays far below what gRPC costs around it."""
    models = tuple(build.model(f"m{index}", keys=2, prices=Prices(index, index), context_window=9_000) for index in range(20))
    rule = Rule("code", Condition(code=True), Plan("best"))
    router = Router(build.registry(*models, routes=(Route("auto", Plan("cheap")),), rules=(rule,)))
    body = json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": "What is (roughly) the height of K2? " * 9}]}
    ).encode()
    rounds = 300
    best = math.inf
    for _ in range(5):
        started = time.process_time()
        for draw in range(rounds):
            request = router.read("POST", CHAT_COMPLETIONS, {}, body)
            decision = router.decide(request, Situation(draw=draw))
            splice_model(body, decision.chain[0].provider_model)
        best = min(best, (time.process_time() - started) / rounds)
    # Measured: about 50 microseconds on a slow core.
    assert best < 250e-6
