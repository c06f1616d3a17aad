"""What a configuration adds: fitted once, kept over reloads, and absent where there is no classifier."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.analysis.configured import NOTHING_CONFIGURED, configure
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.semantic_routes import RouteExamples

SQL = (
    "Write a SQL query that lists all customers without an order",
    "Why does this SQL join return every row twice?",
    "Which index makes this query on a Postgres table faster?",
    "Turn this SQL subquery into a window function",
    "Add a column to the database table and fill it",
)
REFUNDS = RouteExamples("refunds", ("I want my money back", "Please refund my order", "You charged me twice, give it back"))


@pytest.fixture
def classifier(tmp_path: object) -> Classifier:
    """The shipped encoder beside a background of its own, without any head."""
    shipped = artefact_folder(os.environ)
    encoder = StaticEncoder.load(shipped)
    texts = [f"a sentence about {topic}" for topic in ("gardens", "ships", "music", "stars", "bread", "war", "love", "rain")]
    np.save(f"{tmp_path}/background_static.npy", encoder.encode(texts))
    return Classifier(folder=type(shipped)(str(tmp_path)), encoder=encoder)


def ask(analyser: Analyser, text: str) -> tuple[str | None, float, object]:
    analysis = analyser.analyse(json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode())
    return analysis.semantic_route, analysis.tasks.get("sql", 0.0), analysis.keywords


def test_examples_and_phrases_are_recognised(classifier: Classifier) -> None:
    """A text like the examples is of their kind, another is of none, and phrases are found by whole words."""
    configured = configure(classifier, phrases=["refund"], tasks={"sql": SQL}, routes=[REFUNDS])
    analyser = Analyser(classifier, configured=configured)
    route, sql, keywords = ask(analyser, "Can I get a refund for my order? I want the money back")
    assert (route, sql < 0.5, keywords) == ("refunds", True, {"refund"})
    route, sql, keywords = ask(analyser, "Write a SQL query that joins these two tables and lists all customers")
    assert (route, sql > 0.5, keywords) == (None, True, frozenset())


def test_a_likely_task_of_the_configuration_is_the_task(classifier: Classifier) -> None:
    """Models may have it among their strengths, so it must be what the request is said to be."""
    analyser = Analyser(classifier, configured=configure(classifier, tasks={"sql": SQL}))
    assert (
        analyser.analyse(json.dumps({"model": "auto", "messages": [{"role": "user", "content": SQL[0]}]}).encode()).task
        == "sql"
    )


def test_an_unchanged_configuration_is_not_fitted_again(classifier: Classifier) -> None:
    """A reload that leaves examples as they are costs nothing, also when the rest of the file has changed."""
    first = configure(classifier, tasks={"sql": SQL}, routes=[REFUNDS])
    second = configure(classifier, phrases=["news"], tasks={"sql": list(SQL)}, routes=(REFUNDS,))
    assert first.semantic_routes is second.semantic_routes
    assert first.custom_tasks is second.custom_tasks
    other = configure(classifier, tasks={"sql": SQL}, routes=[RouteExamples("refunds", REFUNDS.utterances, None, 0.9)])
    assert other.semantic_routes is not first.semantic_routes


def test_without_a_classifier_only_phrases_are_left() -> None:
    """Examples need an encoder; a worker without one serves all the same."""
    configured = configure(NOTHING_LEARNED, phrases=["tax"], tasks={"sql": SQL}, routes=[REFUNDS])
    assert (configured.custom_tasks, configured.semantic_routes) == (None, None)
    assert ask(Analyser(NOTHING_LEARNED, configured=configured), "a tax question") == (None, 0.0, {"tax"})


def test_nothing_configured_is_nothing_done(classifier: Classifier) -> None:
    """A file that says nothing about analysis costs nothing."""
    assert configure(classifier) == NOTHING_CONFIGURED


def test_an_encoder_that_is_not_there_is_told(classifier: Classifier) -> None:
    """Asking for the other encoder without its files is an error when the file is taken over, not when a request comes."""
    with pytest.raises(FileNotFoundError, match="minilm"):
        configure(classifier, routes=[REFUNDS], encoder="minilm")
