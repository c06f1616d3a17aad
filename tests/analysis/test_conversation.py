"""A request read as a conversation: who said what, and which task is in progress."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.analysis.conversation import Conversation, Piece, conversation_of, read_conversation
from router_extproc.dialects.openai import read_envelope

HARD = "Prove that every bounded sequence in R^n has a convergent subsequence."


def body(**members: Any) -> Conversation:
    return read_conversation(read_envelope(json.dumps({"model": "auto", **members}).encode()))


def chat(*said: tuple[str, str]) -> Conversation:
    return body(messages=[{"role": role, "content": content} for role, content in said])


def test_a_first_request_is_its_own_task() -> None:
    """One user message: it is the task, the newest text and the first turn."""
    conversation = chat(("system", "You are terse."), ("user", HARD))
    assert conversation.pieces == (Piece("You are terse.", "system"), Piece(HARD, "user"))
    assert (conversation.task, conversation.last) == (HARD, HARD)
    assert (conversation.turn, conversation.step, conversation.continues) == (1, "first", False)


def test_yes_continues_the_task_before_it() -> None:
    """A bare yes leaves the earlier request in progress, however often it is said."""
    conversation = chat(
        ("user", HARD), ("assistant", "Shall I?"), ("user", "yes"), ("assistant", "First ..."), ("user", "go on, please")
    )
    assert (conversation.task, conversation.last) == (HARD, "go on, please")
    assert (conversation.turn, conversation.step, conversation.continues) == (3, "continuation", True)


def test_a_follow_up_is_told_with_what_it_refers_to() -> None:
    """A short message that refers back is joined to the request before it."""
    conversation = chat(("user", HARD), ("assistant", "..."), ("user", "make it shorter"))
    assert conversation.task == f"{HARD}\n\nmake it shorter"
    assert (conversation.step, conversation.continues) == ("follow_up", True)


def test_a_new_request_replaces_the_old_one() -> None:
    """A message that stands on its own is the task alone."""
    conversation = chat(("user", HARD), ("assistant", "..."), ("user", "What is the capital of France?"))
    assert conversation.task == "What is the capital of France?"
    assert (conversation.turn, conversation.step, conversation.continues) == (2, "follow_up", False)


def test_messages_in_one_go_are_one_turn() -> None:
    """Two user messages in a row are one turn, and both belong to the task."""
    conversation = chat(("user", "Here is my poem: roses are red."), ("user", "Correct its rhythm."))
    assert conversation.task == "Here is my poem: roses are red.\n\nCorrect its rhythm."
    assert (conversation.turn, conversation.last) == (1, "Correct its rhythm.")


def test_a_tools_answer_is_a_step_of_the_users_task() -> None:
    """After a tool's result the task is still what the user asked, and the result is the tool's text."""
    conversation = body(
        messages=[
            {"role": "user", "content": "How is the weather in Oslo?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "weather"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "Rain."},
        ]
    )
    assert (conversation.task, conversation.step) == ("How is the weather in Oslo?", "tool_result")
    assert conversation.pieces[-1] == Piece("Rain.", "tool")


def test_a_call_without_its_result_is_told() -> None:
    """A request that ends with the assistant's own call is that step."""
    conversation = body(
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "function_call", "name": "weather", "arguments": "{}"},
        ]
    )
    assert (conversation.task, conversation.step) == ("Weather?", "tool_call")


def test_all_shapes_are_read() -> None:
    """Chat parts, the Responses API's items and plain prompts give the same task."""
    parts = body(messages=[{"role": "user", "content": [{"type": "text", "text": "Hello there"}]}])
    items = body(input=[{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello there"}]}])
    assert parts.task == items.task == body(input="Hello there").task == body(prompt="Hello there").task == "Hello there"
    assert body(input="Hi", instructions="Be kind.").pieces == (Piece("Be kind.", "system"), Piece("Hi", "user"))
    assert body(input=[{"type": "function_call_output", "output": "42"}]).pieces == (Piece("42", "tool"),)


def test_documents_are_told_from_the_question() -> None:
    """Retrieved context is a piece of its own and no part of the task, in the prompt and in the instructions."""
    document = "The tower was completed in 1889 for the World's Fair and is 330 metres tall."
    asked = f"Context:\n{document}\n\nQuestion: When was it completed?"
    for conversation in (
        chat(("user", asked)),
        chat(("system", f"Answer from the context.\n<context>{document}</context>"), ("user", "When was it completed?")),
        body(
            messages=[
                {"role": "user", "content": [{"type": "document", "text": document}, {"type": "text", "text": "When was it?"}]}
            ]
        ),
    ):
        assert conversation.has_context
        assert Piece(document, "document") in conversation.pieces
        assert document not in conversation.task
        assert "When was it" in conversation.task


def test_an_image_alone_continues_the_task() -> None:
    """A message without text is a turn, and what to do with it was said before."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    conversation = body(
        messages=[
            {"role": "user", "content": "Describe the pictures that I send."},
            {"role": "assistant", "content": "Send them."},
            {"role": "user", "content": [image]},
        ]
    )
    assert (conversation.task, conversation.turn) == ("Describe the pictures that I send.", 2)
    assert (conversation.step, conversation.continues) == ("continuation", True)
    assert body(messages=[{"role": "user", "content": [image]}]).step == "first"


def test_many_messages_are_bounded_and_instructions_stay() -> None:
    """Of a thousand messages the newest are kept, and the instructions before them."""
    said = [("system", "Rules.")] + [("user" if i % 2 == 0 else "assistant", f"message number {i}") for i in range(1_000)]
    conversation = chat(*said)
    assert conversation.pieces[0] == Piece("Rules.", "system")
    assert conversation.pieces[-1] == Piece("message number 999", "assistant")
    assert len(conversation.pieces) < 200
    assert conversation.turn == 500


def test_nothing_said_is_no_task() -> None:
    """A request without a user's text has an empty task."""
    assert conversation_of("").task == ""
    assert chat(("system", "x")).task == ""
    assert body(messages=[{"role": "assistant"}]).step == "first"


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system", "tool", "critic"]), st.text()), max_size=6))
def test_any_conversation_is_read(said: list[tuple[str, str]]) -> None:
    """Whatever is said by whomever, reading succeeds, and a bare yes at the end never hides the request before it."""
    conversation = chat(*said)
    assert conversation.turn >= 1
    after = chat(*said, ("user", HARD), ("assistant", "..."), ("user", "yes"))
    assert HARD in after.task


@pytest.mark.parametrize("filler", ["<", "context:\n", "<context>", "[1] a\n", "Question: ", "\n\n?", "#" * 50, "a b "])
def test_no_text_takes_long(filler: str) -> None:
    """Texts made of marks alone are read without fuss."""
    text = filler * (100_000 // len(filler))
    conversation = conversation_of(text)
    assert sum(len(piece.text) for piece in conversation.pieces) <= len(text)
