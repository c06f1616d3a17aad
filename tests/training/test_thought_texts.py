"""What tells requests that are to be thought through from plain ones."""

from __future__ import annotations

import pytest

from router_extproc.analysis.tasks import THOUGHT
from router_extproc.training.examples import Example, key_of
from router_extproc.training.pipeline import Context
from router_extproc.training.thought_texts import WRITTEN, thought_examples, written_texts
from tests.training_data import data_folder_or_skip


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("work")
    return Context(data=data_folder_or_skip(), work=folder, out=folder)


@pytest.fixture(scope="module")
def examples(context: Context) -> list[Example]:
    return thought_examples(context)


def test_each_text_stands_once_and_is_hard_or_easy(examples: list[Example]) -> None:
    """No text is in both parts."""
    keys = [key_of(example.text) for example in examples]
    assert len(keys) == len(set(keys))
    assert {example.labels for example in examples} == {(), (THOUGHT,)}


def test_of_the_written_texts_half_are_hard_and_nearly_all_are_short(examples: list[Example]) -> None:
    """Neither length nor number may tell the two apart."""
    written = [example for example in examples if example.source == WRITTEN]
    hard = [example.text for example in written if example.labels]
    assert 0.4 < len(hard) / len(written) < 0.6
    assert sum(len(example.text) < 140 for example in written) > 0.9 * len(written)


def test_the_same_seed_draws_the_same_texts(context: Context, examples: list[Example]) -> None:
    """Training is repeatable."""
    assert thought_examples(context) == examples


def test_the_written_texts_are_those_of_the_files(context: Context, examples: list[Example]) -> None:
    """The routing score takes its centres of short requests from the very same texts."""
    assert {example.text for example in examples if example.source == WRITTEN} <= set(written_texts(context))
