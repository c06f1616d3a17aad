"""Routes by meaning, over the shipped encoder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.few_shot import FewShotClassifier
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.semantic_routes import RouteExamples, SemanticRoutes, load_background

_FOLDER = artefact_folder(os.environ)
_CORPORA = Path(__file__).parent / "corpora"
_BILLING = RouteExamples(
    "billing",
    (
        "I was charged twice this month",
        "please refund my last payment",
        "where can I find my invoice",
        "my card was billed but I cancelled",
        "why is my bill higher than last month",
    ),
)
_TRAVEL = RouteExamples(
    "travel",
    (
        "book a flight to Rome",
        "find me a hotel near the beach",
        "I need a rental car in Denver",
        "what are good places to visit in Japan",
        "change my train ticket to Friday",
    ),
)


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    return StaticEncoder.load(_FOLDER)


@pytest.fixture(scope="module")
def routes(encoder: StaticEncoder) -> SemanticRoutes:
    return SemanticRoutes.fit([_BILLING, _TRAVEL], encoder, load_background(_FOLDER, "static"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("I want my money back for the last invoice", "billing"),
        ("there is a wrong charge on my card", "billing"),
        ("cheap flights from Paris to Lisbon", "travel"),
        ("recommend a hotel in Rome", "travel"),
        ("prove that the square root of two is irrational", None),
        ("write a haiku about autumn leaves", None),
        ("def fibonacci(n): return n", None),
    ],
)
def test_texts_go_where_they_belong(encoder: StaticEncoder, routes: SemanticRoutes, text: str, name: str | None) -> None:
    """Rewordings of a route's utterances match it, texts about other things match none."""
    assert routes.match(encoder.encode([text])[0]).name == name


def test_a_route_may_be_described_in_plain_language(encoder: StaticEncoder) -> None:
    """A description alone makes a route: what it describes matches, other things do not."""
    described = SemanticRoutes.fit(
        [
            RouteExamples("medicine", description="Questions about diseases, symptoms, medicine and treatment by doctors"),
            RouteExamples("cooking", description="Recipes and cooking: how to prepare food and meals"),
        ],
        encoder,
        load_background(_FOLDER, "static"),
    )

    def match(text: str) -> str | None:
        return described.match(encoder.encode([text])[0]).name

    assert match("What treatment helps against the symptoms of asthma?") == "medicine"
    assert match("How do I cook a simple meal with rice and beans?") == "cooking"
    assert match("Sort an array of integers in Java") is None


def test_a_request_is_about_one_of_the_things_that_a_description_names(encoder: StaticEncoder) -> None:
    """What is like one phrase of a description belongs to it, however unlike the others; plain prompts hardly ever do."""
    wanted = {
        "Questions about open positions, interviews and offers.": "Do you have any job openings for engineers?",
        "Problems with wifi, routers, VPN and slow internet.": "My wifi drops every evening",
        "Anything about our database: SQL queries, indexes and slow reports.": "Explain this query plan",
        "Fitness training, workouts and muscle building": "Best exercises for the back",
    }
    described = SemanticRoutes.fit(
        [RouteExamples(text, description=text) for text in wanted], encoder, load_background(_FOLDER, "static")
    )
    found = {text: described.match(encoder.encode([asked])[0]).name for text, asked in wanted.items()}
    assert found == {text: text for text in wanted}
    plain = json.loads((_CORPORA / "routing.json").read_text("utf-8"))["easy"]
    taken = [text for text in plain if described.match(encoder.encode([text])[0]).name is not None]
    assert len(taken) <= 0.02 * len(wanted) * len(plain), taken


def test_utterances_are_not_mixed_with_the_phrases_of_a_description(encoder: StaticEncoder) -> None:
    """Where there are utterances, they say what belongs to the route; the description is one more text."""
    both = RouteExamples("billing", _BILLING.utterances, description="Invoices, payments and cards")
    one_more = RouteExamples("billing", (*_BILLING.utterances, "Invoices, payments and cards"))
    vector = encoder.encode(["pay by card"])[0]
    assert SemanticRoutes.fit([both], encoder).scores(vector) == SemanticRoutes.fit([one_more], encoder).scores(vector)


def test_a_threshold_given_is_kept(encoder: StaticEncoder) -> None:
    """The operator's own threshold wins over the fitted one."""
    strict = RouteExamples("billing", _BILLING.utterances, threshold=0.999)
    routes = SemanticRoutes.fit([strict], encoder)
    assert routes.match(encoder.encode(["refund my payment please"])[0]).name is None
    assert routes.thresholds[0] == pytest.approx(0.999)


def test_scores_name_every_route(encoder: StaticEncoder, routes: SemanticRoutes) -> None:
    """A record shows how like each route a text is."""
    scores = routes.scores(encoder.encode(["a hotel in Rome"])[0])
    assert set(scores) == {"billing", "travel"}
    assert scores["travel"] > scores["billing"]


def test_without_routes_nothing_matches(encoder: StaticEncoder) -> None:
    """An empty list is a configuration like any other."""
    routes = SemanticRoutes.fit([], encoder)
    vector = encoder.encode(["anything"])[0]
    assert routes.match(vector) == (None, 0.0)
    assert routes.scores(vector) == {}


def test_an_empty_text_matches_nothing(encoder: StaticEncoder, routes: SemanticRoutes) -> None:
    """A text without words is like no route."""
    assert routes.match(encoder.encode([""])[0]).name is None


@pytest.mark.parametrize(
    ("given", "says"),
    [([RouteExamples("empty", ("  ",))], "'empty' needs utterances"), ([_BILLING, _BILLING], "different names")],
)
def test_routes_that_cannot_be_fitted_are_refused(encoder: StaticEncoder, given: list[RouteExamples], says: str) -> None:
    """The message names the route."""
    with pytest.raises(ValueError, match=says):
        SemanticRoutes.fit(given, encoder)


def test_ten_thousand_utterances_are_compared_within_five_milliseconds() -> None:
    """A hundred routes of a hundred utterances: the median of a match takes a processor under 5 ms (about 1 ms when idle)."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(10_000, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    classifier = FewShotClassifier(np.split(rows, 100))
    routes = SemanticRoutes([f"route-{number}" for number in range(100)], classifier, classifier.thresholds)
    taken: list[float] = []
    for row in rows[:100]:
        started = time.process_time()
        routes.match(row)
        taken.append(time.process_time() - started)
    assert np.median(taken) < 0.005
