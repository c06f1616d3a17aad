"""The kind of work: structure, abstention, and a corpus written for these tests."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.conversation import Conversation, conversation_of
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.tasks import FILE, TASKS, UNSURE, TaskHead, TaskScore

_FOLDER = artefact_folder(os.environ)
_ENCODER = StaticEncoder.load(_FOLDER)
_HEAD = TaskHead.load(_FOLDER)
_CORPUS = json.loads((Path(__file__).parent / "corpora" / "tasks.json").read_text("utf-8"))


def _score(conversation: Conversation, *, offers_tools: bool = False, wants_format: bool = False) -> TaskScore:
    encoding = TextEncoding(conversation.task, _ENCODER)
    return _HEAD.score(encoding, None, conversation, offers_tools=offers_tools, wants_format=wants_format)


def test_most_requests_nobody_trained_on_are_named_rightly() -> None:
    """Of the held-out part of the corpus at least seven in ten, of thirteen kinds; of code at least nine in ten."""
    named = [(task, _score(conversation_of(prompt)).name) for task, prompt in _CORPUS["held_out"]]
    assert np.mean([task == name for task, name in named]) >= 0.70
    assert np.mean([name == "code" for task, name in named if task == "code"]) >= 0.9


def test_sure_names_are_right_more_often() -> None:
    """Abstaining is worth something: names that are not marked unsure are better than all names."""
    scores = [(task, _score(conversation_of(prompt))) for task, prompt in _CORPUS["held_out"]]
    everything = np.mean([task == score.name for task, score in scores])
    assert np.mean([task == score.name for task, score in scores if not score.unsure]) >= everything


@given(st.text(max_size=200))
def test_any_text_has_probabilities_for_every_kind(text: str) -> None:
    """Whatever is sent, each kind has a probability, the name is the likeliest, and unsure means unlikely."""
    score = _score(conversation_of(text))
    assert tuple(score.scores) == TASKS
    assert all(0 <= value <= 1 for value in score.scores.values())
    assert score.scores[score.name] == max(score.scores.values())
    assert score.unsure == (score.scores[score.name] < UNSURE)


@pytest.mark.parametrize("step", ["tool_result", "tool_call"])
def test_in_a_tool_loop_the_next_step_is_due(step: str) -> None:
    """After a tool's answer it is a tool step, whatever the task was."""
    conversation = replace(conversation_of("Write a poem about the sea."), step=step)
    assert _score(conversation).name == "tool_step"


def test_offered_tools_and_a_wanted_format_make_their_kinds_likelier() -> None:
    """Structure leans, words decide: a poem stays a poem."""
    conversation = conversation_of("Which of these people live in Rome? Anna Rossi, Rome; Ben Ott, Bern")
    plain = _score(conversation).scores
    assert _score(conversation, offers_tools=True).scores["tool_step"] > plain["tool_step"]
    wanted = _score(conversation, wants_format=True).scores
    assert wanted["structured_extraction"] > plain["structured_extraction"]
    assert _score(conversation_of("Write a poem about the sea."), offers_tools=True).name == "creative_writing"


def test_documents_beside_a_question_make_it_rag() -> None:
    """The same question is answered from memory without documents, and from the documents with them."""
    conversation = replace(conversation_of("When does the pool open on Sunday?"), has_context=False)
    assert _score(conversation).scores["rag_qa"] < _score(replace(conversation, has_context=True)).scores["rag_qa"]


def test_a_head_of_other_kinds_is_refused(tmp_path: Path) -> None:
    """An artefact of another version must not name kinds by the wrong number."""
    with np.load(_FOLDER / FILE) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(tmp_path / FILE, **arrays | {"classes": arrays["classes"][::-1]})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected code, math"):
        TaskHead.load(tmp_path)


def test_an_artefact_that_cannot_tell_what_is_to_be_thought_through_says_no(tmp_path: Path) -> None:
    """Kinds of work are the same with and without the column beside them."""
    shutil.copy(_FOLDER / FILE, tmp_path)
    encoding = TextEncoding("Why can no map of the world be right?", _ENCODER)
    without, with_column = (
        head.score(encoding, None, conversation_of(encoding.text)) for head in (TaskHead.load(tmp_path), _HEAD)
    )
    assert (without.thought, without.name) == (0.0, with_column.name)
    assert 0 < with_column.thought < 1
    assert list(without.scores.values()) == pytest.approx(list(with_column.scores.values()), abs=1e-5)
