"""Kinds of work described by examples."""

from __future__ import annotations

import os

import pytest

from router_extproc.analysis.custom_tasks import LEAST_EXAMPLES, CustomTasks
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.semantic_routes import load_background

_FOLDER = artefact_folder(os.environ)
_ENCODER = StaticEncoder.load(_FOLDER)
_EXAMPLES = {
    "refund": [
        "I want my money back for this order",
        "please refund my last purchase",
        "how do I return this and get refunded",
        "the item is broken, I want a refund",
        "cancel my order and give me my money back",
    ],
    "password_reset": [
        "I forgot my password",
        "reset my login password please",
        "I cannot sign in to my account",
        "my password does not work anymore",
        "send me a link to change my password",
    ],
}


def _score(tasks: CustomTasks, text: str) -> dict[str, float]:
    return tasks.score(_ENCODER.encode([text])[0])


def test_five_examples_make_a_task() -> None:
    """A new text of the kind is likelier than not, and likelier than the other kind; a stranger is unlikely."""
    tasks = CustomTasks.fit(_EXAMPLES, _ENCODER)
    refund = _score(tasks, "can I get a refund for the broken kettle?")
    assert refund["refund"] > 0.5 > refund["password_reset"]
    assert max(_score(tasks, "Write a poem about the moon.").values()) < 0.3


def test_examples_themselves_belong_to_their_task() -> None:
    """Each example is more than likely of its own kind."""
    tasks = CustomTasks.fit(_EXAMPLES, _ENCODER)
    for name, texts in _EXAMPLES.items():
        assert all(_score(tasks, text)[name] > 0.5 for text in texts)


def test_texts_about_anything_raise_what_is_asked_for() -> None:
    """With background vectors a task accepts no more than without them."""
    with_background = CustomTasks.fit(_EXAMPLES, _ENCODER, load_background(_FOLDER, "static"))
    without = CustomTasks.fit(_EXAMPLES, _ENCODER)
    text = "where is my parcel?"
    assert all(_score(with_background, text)[name] <= _score(without, text)[name] for name in _EXAMPLES)


def test_four_examples_are_refused_by_name() -> None:
    """Who gives too few is told which task and how many it takes."""
    few = {"refund": _EXAMPLES["refund"][: LEAST_EXAMPLES - 1]}
    with pytest.raises(ValueError, match="'refund' has 4 examples; 5 are the least"):
        CustomTasks.fit(few, _ENCODER)
