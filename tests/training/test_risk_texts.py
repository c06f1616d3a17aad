"""What the risk head is trained on."""

from __future__ import annotations

from collections import Counter

import pytest

from router_extproc.analysis.risk import NONE, RISKS
from router_extproc.training.examples import Example
from router_extproc.training.pipeline import Context
from router_extproc.training.risk_texts import BARE, EXAM, domain_of, risk_examples
from tests.training_data import data_folder_or_skip


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("work")
    return Context(data=data_folder_or_skip(), work=folder, out=folder)


@pytest.fixture(scope="module")
def examples(context: Context) -> list[Example]:
    return risk_examples(context)


def test_every_text_has_one_class_of_a_known_domain(examples: list[Example]) -> None:
    """A class is a domain and a subject or source."""
    assert all(len(example.labels) == 1 for example in examples)
    assert {domain_of(example) for example in examples} == {*RISKS, NONE}


def test_a_question_and_the_same_without_options_are_held_out_together(examples: list[Example]) -> None:
    """Otherwise a head would be judged on questions it has seen."""
    by_group: dict[str, set[str]] = {}
    for example in examples:
        if example.source in {EXAM, BARE}:
            by_group.setdefault(example.group, set()).add(example.source)
    assert all(sources == {EXAM, BARE} for sources in by_group.values())


def test_bare_questions_have_no_options(examples: list[Example]) -> None:
    """What remains is the question as one would ask it."""
    bare = [example.text for example in examples if example.source == BARE]
    assert not any("\nA. " in text or text.endswith("Answer:") for text in bare)


def test_no_evaluation_label_is_read(context: Context) -> None:
    """The context withholds them, and training does without."""
    assert {"strong", "weak"}.isdisjoint(context.rows("eval_mmlu")[0])


def test_each_domain_is_there_as_people_ask(examples: list[Example]) -> None:
    """Exam questions alone would not carry over to chat."""
    people = Counter(domain_of(example) for example in examples if example.source not in {EXAM, BARE})
    assert min(people[risk] for risk in RISKS) >= 150
    assert people[NONE] >= 2000
