"""What is hidden, and what is not."""

from __future__ import annotations

import pytest

from router_extproc.config.redaction import looks_like_credential, shown, shown_path


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-4eC39HqLyjWDarjtT1zdp7dc",
        "sk-ant-api03-abcdefgh",
        "gsk_12345678abcdefgh",
        "hf_abcdefghijkl",
        "AIzaSyA1234567890abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer abcdefgh12",
        "0123456789abcdef0123456789abcdef",
        "4a1c9f0e-8a3b-4c55-9c1d-0123456789ab",
        "-----BEGIN PRIVATE KEY-----",
        "prefix sk-abcdefghijkl suffix",
    ],
)
def test_keys_are_recognised(text: str) -> None:
    """The forms in which providers issue keys are never shown."""
    assert looks_like_credential(text)
    assert shown(text) == "[hidden]"


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o-2024-11-20",
        "claude-sonnet-4-5-20250929",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "sky-t1-32b-preview",
        "accounts/fireworks/models/deepseek-v3",
        "OPENAI_API_KEY",
        "hf-mistral-7b-instruct",
        "structured_extraction",
        "text-embedding-3-small",
    ],
)
def test_names_are_shown(text: str) -> None:
    """The names of models, variables and tasks stay readable."""
    assert shown(text) == text


def test_a_shown_text_is_one_short_line() -> None:
    """Line breaks and control characters cannot forge a second message, and nothing is endless."""
    assert shown("a\nb\x1b[31m") == "a?b?[31m"
    assert len(shown("x y " * 1000)) == 60


def test_a_path_is_shown_whole_but_for_keys() -> None:
    """A long path keeps its end, which tells files apart; a key among its parts is hidden."""
    path = "/var/run/" + "/".join(["secrets"] * 12) + "/openai"
    assert shown_path(path) == path
    assert shown_path("/keys/sk-proj-4eC39HqLyjWDarjtT1zdp7dc") == "/keys/[hidden]"
