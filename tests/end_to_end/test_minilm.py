"""The encoder `minilm` in a real worker behind the real Envoy: rules that ask for a semantic route go by the transformer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.analysis import RequestAnalysis
from router_extproc.analysis.classifier import Classifier
from router_extproc.analysis.configured import configure
from router_extproc.analysis.location import ENVIRONMENT_VARIABLE, artefact_folder
from router_extproc.analysis.semantic_routes import RouteExamples
from tests.bench.prompts import body
from tests.end_to_end.running import Instance, Simulators, running
from tests.minilm_graph import build_graph_or_skip

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

UTTERANCES = {
    "refunds": [
        "I want my money back",
        "The parcel never came, please refund me",
        "You charged me twice for one order",
        "How do I return these shoes?",
        "The item arrived broken and I want a refund",
    ],
    "hiring": [
        "Which positions are open at the moment?",
        "When will I hear back about my interview?",
        "Can I negotiate the salary you offered me?",
        "How do I apply for the job in Berlin?",
        "What should I bring to the second interview?",
    ],
}
# The deadline is far away, because a machine that is busy with other tests must not decide what these see.
CONFIGURATION = f"""
analysis:
  deadline: 5s
  encoder: minilm
  semantic_routes:
    refunds: {{utterances: {UTTERANCES["refunds"]}}}
    hiring: {{utterances: {UTTERANCES["hiring"]}}}
providers:
  one: {{base_url: $one/v1}}
models:
  any: {{tier: economy, prices: {{input: 0, output: 1}}, deployments: [{{provider: one}}]}}
  refunds: {{tier: economy, prices: {{input: 0, output: 2}}, deployments: [{{provider: one}}]}}
  hiring: {{tier: economy, prices: {{input: 0, output: 3}}, deployments: [{{provider: one}}]}}
rules:
  - {{name: refunds, when: {{semantic_route: refunds}}, then: {{targets: [refunds]}}}}
  - {{name: hiring, when: {{semantic_route: hiring}}, then: {{targets: [hiring]}}}}
"""
SIMULATED: dict[str, dict[str, Any]] = {"one": {}}

# Most share no word with an example that says much: what they mean must be understood.
ASKED = {
    "The vendor owes me the cost of a lamp that was smashed on delivery.": "refunds",
    "My card was debited two times, please reverse one of the payments.": "refunds",
    "Get me reimbursed, nothing was ever delivered to my door.": "refunds",
    "I would like to send this jacket back.": "refunds",
    "Are you recruiting engineers?": "hiring",
    "It has been two weeks since I spoke with your recruiter. Is there any news?": "hiring",
    "Are there any vacancies in your team?": "hiring",
    "Where do I submit my resume?": "hiring",
    "What is the capital of France?": None,
    "Write a haiku about snow.": None,
    "Solve 3x + 5 = 20 for x.": None,
}


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped artefact with the graph in it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("artefact") / "whole"
    shutil.copytree(artefact_folder({}), folder)
    build_graph_or_skip(folder)
    return folder


@pytest.fixture(scope="module")
def instance(artefact: Path, simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One instance whose worker loads that artefact."""
    folder = tmp_path_factory.mktemp("instance")
    with running(Instance(folder, simulators.fill(CONFIGURATION), {ENVIRONMENT_VARIABLE: str(artefact)})) as started:
        yield started


def ask(instance: Instance, text: str) -> tuple[str, Any]:
    """The model that answered, and the semantic route in the decision's record."""
    answer = instance.ask(messages=[{"role": "user", "content": text}])
    assert answer.status_code == 200, answer.text
    record = instance.decision(answer.headers["x-router-decision"])
    return answer.headers["x-router-model"], record["signals"]["semantic_route"]["value"]


@pytest.mark.parametrize(("text", "meant"), ASKED.items())
def test_a_request_goes_by_what_it_means(instance: Instance, text: str, meant: str | None) -> None:
    """The rule of the route that a rewording means takes it; what means neither goes on to `auto`."""
    assert ask(instance, text) == (meant or "any", meant)


def test_it_is_the_transformer_that_was_asked(instance: Instance, artefact: Path) -> None:
    """The worker's routes are those that the transformer finds in this process, where the static encoder finds others."""
    classifier = Classifier.load(artefact)
    routes = [RouteExamples(name, tuple(utterances)) for name, utterances in UTTERANCES.items()]
    found = {}
    for encoder in ("static", "minilm"):
        analyser = Analyser(classifier, configured=configure(classifier, routes=routes, encoder=encoder))
        found[encoder] = [RequestAnalysis(body(text), analyser).semantic_route for text in ASKED]
    assert [ask(instance, text)[1] for text in ASKED] == found["minilm"]
    assert found["static"] != found["minilm"]
