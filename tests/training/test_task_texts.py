"""What the task head is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.analysis.tasks import TASKS
from router_extproc.training.examples import Example, key_of
from router_extproc.training.pipeline import Context
from router_extproc.training.task_texts import NARROW, REAL, real_labels, task_examples
from tests.training_data import data_folder_or_skip


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("work")
    return Context(data=data_folder_or_skip(), work=folder, out=folder)


@pytest.fixture(scope="module")
def examples(context: Context) -> list[Example]:
    return task_examples(context)


def test_every_text_is_of_known_kinds_and_stands_once(examples: list[Example]) -> None:
    """Labels are spelt as everywhere, each text has one, and no text is there twice."""
    assert {name for example in examples for name in (*example.labels, *example.ignored)} <= set(TASKS)
    assert all(example.labels and not set(example.labels) & set(example.ignored) for example in examples)
    keys = [key_of(example.text) for example in examples]
    assert len(keys) == len(set(keys))


def test_every_kind_of_work_has_examples(examples: list[Example]) -> None:
    """Thirteen kinds, none of them scarce."""
    labels = [name for example in examples for name in example.labels]
    assert min(labels.count(name) for name in TASKS) >= 150


def test_the_same_seed_draws_the_same_texts(context: Context, examples: list[Example]) -> None:
    """Training is repeatable."""
    assert task_examples(context) == examples


def test_real_prompts_have_their_labels(context: Context, examples: list[Example]) -> None:
    """Every prompt of just-eval and arena-hard is labelled, and no label is without a prompt."""
    real = [example for example in examples if example.source in REAL]
    assert len({example.group for example in real}) == len(real_labels(context))
    for card in ("justeval", "arena_hard"):
        assert all(key_of(text) in real_labels(context) for text in context.texts(card))


def test_narrow_sources_are_kept_apart_from_real_prompts(context: Context, examples: list[Example]) -> None:
    """Self-instruct's prompts are judged as real ones, not as a narrow source."""
    labels = real_labels(context)
    assert not any(example.group in labels for example in examples if example.source == NARROW)


def test_label_files_hold_no_prompts(context: Context) -> None:
    """The data stays where it is: a label names a prompt by its hash."""
    assert all(len(key) == 12 and set(key) <= set("0123456789abcdef") for key in real_labels(context))
    assert Path(context.data).is_dir()
