"""The brain and what it reads: a text is looked at where that decides something, and nowhere else."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from router_extproc import Router
from router_extproc.analysis import risk, tasks
from router_extproc.analysis.classifier import Classifier
from router_extproc.config import values
from router_extproc.config.analysis import RiskFloor
from router_extproc.policy.auto import NO_RISK
from router_extproc.registry.snapshot import RISKS, Bounds, Condition, Plan, Prices, Route, Rule, Tier
from router_extproc.request import CHAT_COMPLETIONS, Request
from tests.policy import registries as build


def test_every_room_knows_the_same_names() -> None:
    """What the classifier says can be written in a file, and what a file asks for is something the classifier says."""
    assert tasks.TASKS == values.TASKS
    risks = get_args(values.RiskName)
    assert {*risk.RISKS} - {NO_RISK} == set(RISKS) == set(RiskFloor.model_fields) == {*risks} - {NO_RISK}
    assert {tier.label for tier in Tier} == set(get_args(values.TierName))


class Always:
    """A reader that says of every text what it was told to."""

    def __init__(self, **answer: object) -> None:
        self.answer = SimpleNamespace(**answer)

    def score(self, *_: object, **__: object) -> Any:
        return self.answer


def reading(**readers: object) -> Router:
    """A router over a model of each tier, whose classifier finds every text easy."""
    found = {
        "encoder": object(),
        "routing": Always(needs_strong=0.1, complexity=1, adequacy=(0.9, 0.95, 1.0), verifiable=0.5, unsure=()),
        "tasks": Always(name="code", scores={"code": 0.9}, unsure=False, thought=0.0),
        "risk": Always(name="none", scores={}),
        **readers,
    }
    models = [build.model(tier.label, tier, prices=Prices(tier, tier)) for tier in Tier]
    models.append(build.model("coder", Tier.ECONOMY, prices=Prices(3, 3), strengths=("code",)))
    rules = (Rule("big", Condition(routes=("economy",), prompt_tokens=Bounds(10_000)), Plan(targets=build.targets("economy"))),)
    registry = build.registry(*models, routes=(Route("auto", Plan(strategy="auto")),), rules=rules)
    return Router(registry, Classifier(**found), itertools.count().__next__)  # type: ignore[arg-type]


def read(router: Router, model: str, text: str = "sort a list") -> Request:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return router.read("POST", CHAT_COMPLETIONS, {}, json.dumps(body).encode())


def test_a_text_is_read_for_auto_and_the_decision_tells_what_was_found() -> None:
    """What the classifier says decides, and every fact that it took is listed with its value and time."""
    router = reading()
    decision = router.decide(read(router, "auto"))
    assert (decision.chain[0].model, decision.reason) == ("coder", "auto:economy:task=code")
    signals = {signal.name: signal for signal in decision.signals}
    assert {"routing", "risk", "task", "tokens"} <= signals.keys()
    assert not {"injection", "keywords", "semantic_route", "code"} & signals.keys()
    assert (signals["routing"].value["complexity"], signals["task"].value["name"]) == (1, "code")
    assert all(signal.milliseconds > 0 for signal in decision.signals)


def test_a_named_model_is_not_read() -> None:
    """Who knows what they want pays for counting tokens and nothing else, even where a rule asks for their number."""
    router = reading()
    assert [signal.name for signal in router.decide(read(router, "economy")).signals] == ["tokens"]


def test_a_rule_of_keywords_is_a_fast_path() -> None:
    """Where words alone decide, no head of the classifier is asked."""
    rule = Rule("french", Condition(any_keyword=("translate to French",)), Plan(targets=build.targets("small")))
    registry = build.registry(build.model("small"), build.model("large"), routes=(Route("auto"),), rules=(rule,))
    router = Router(registry, reading().analyser.classifier)
    decision = router.decide(read(router, "auto", "Please translate to french: good morning"))
    assert (decision.chain[0].model, decision.reason) == ("small", "rule:french")
    assert [signal.name for signal in decision.signals] == ["conversation", "keywords", "tokens"]
    denied = router.decide(read(router, "auto", "Do not translate to French, I read it well"))
    assert denied.rule is None


def test_an_interrupted_decision_is_made_again_without_reading() -> None:
    """What hangs is given up: the same request then goes to the strongest, with what was known before."""

    class Interruption(BaseException):
        pass

    class Hanging:
        def score(self, *_: object, **__: object) -> None:
            raise Interruption

    router = reading(routing=Hanging())
    request = read(router, "auto")
    with pytest.raises(Interruption):
        router.decide(request)
    request.analysis.cut_short()
    decision = router.decide(request)
    assert (decision.chain[0].model, decision.reason) == ("premium", "analysis-deadline")
    named = read(router, "economy")
    named.analysis.cut_short()
    assert router.decide(named).reason == "named"


def test_a_reader_that_fails_never_fails_a_request() -> None:
    """The router takes the strongest model, and the decision says that nothing was found out."""

    class Failing:
        def score(self, *_: object, **__: object) -> None:
            raise ValueError("secret")

    router = reading(routing=Failing(), risk=Failing(), tasks=Failing())
    decision = router.decide(read(router, "auto"))
    assert (decision.chain[0].model, decision.reason) == ("premium", "auto:premium:unclassified")
    assert {signal.name for signal in decision.signals if str(signal.value) == "failed: ValueError"} == {
        "routing",
        "risk",
        "task",
    }


def test_an_explanation_asks_for_every_fact() -> None:
    """What nobody needed for the decision is shown all the same; the decision's own signals stay those that it needed."""
    router = reading()
    explanation = router.explain(read(router, "auto"))
    assert (explanation.facts.task, explanation.facts.complexity, explanation.facts.turn) == ("code", 1, 1)
    assert {"conversation", "code", "language", "injection"} <= {signal.name for signal in explanation.signals}
    assert explanation.decision is not None
    needed = [signal.name for signal in router.decide(read(router, "auto")).signals]
    assert [signal.name for signal in explanation.decision.signals] == needed
