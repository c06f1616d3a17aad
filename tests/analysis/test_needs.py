"""What requests need, read from anywhere in them."""

from __future__ import annotations

import json

import pytest

from router_extproc.analysis.needs import read_needs
from router_extproc.dialects.openai import read_envelope


def message(kind: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": [{"type": kind} | more]}, {"role": "user", "content": "and now?"}]}


@pytest.mark.parametrize(
    ("members", "needs"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, set()),
        (message("image_url", image_url={"url": "https://example.com/x.png"}), {"vision"}),
        (message("input_audio", input_audio={"data": "AA", "format": "wav"}), {"audio"}),
        (message("file", file={"file_id": "f"}), {"files"}),
        (message("text", text="x"), set()),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}, {"type": "input_file"}]}]}, {"vision", "files"}),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, {"tools"}),
        (
            {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": "data:x"}]}]},
            {"tools", "vision"},
        ),
        (
            {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "data:x"}}]},
            {"vision"},
        ),
        ({"input": "text"}, set()),
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"tools": None}, set()),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"messages": [{"role": "tool", "content": "3", "tool_call_id": "c"}]}, {"tools"}),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, {"tools"}),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_object"}}, {"json_mode"}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"json_schema"}),
        ({"text": {"format": {"type": "json_schema"}}}, {"json_schema"}),
        ({"logprobs": True}, {"logprobs"}),
        ({"logprobs": False}, set()),
        ({"logprobs": 3}, {"logprobs"}),
        ({"top_logprobs": 2}, {"logprobs"}),
        ({"modalities": ["text", "audio"]}, {"audio"}),
        ({"modalities": ["text"]}, set()),
        # Shapes that are not read in full: what they hold is still seen.
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "text": {"odd": 1}}]}]}, {"vision"}),
        ({"messages": 3, "tools": [{"type": "function"}]}, {"tools"}),
    ],
)
def test_needs(members: dict[str, object], needs: set[str]) -> None:
    """Each need is seen where it is written, anywhere in the history, and nothing else is."""
    assert read_needs(read_envelope(json.dumps({"model": "m"} | members).encode())) == needs
