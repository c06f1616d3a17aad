"""Which deployment serves which path."""

from __future__ import annotations

import pytest

from router_extproc.registry.api_paths import OTHER_PATHS, TEXT_PATHS, served_paths


def matches(patterns: tuple[str, ...], path: str) -> bool:
    return any(path.startswith(each[:-1]) if each.endswith("*") else path == each for each in patterns)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/images/generations",
        "/v1/files",
        "/v1/files/file-1/content",
        "/v1/moderations",
        "/v1/responses",
        "/v1/responses/resp_1/cancel",
        "/v1/batches",
        "/v1/fine_tuning/jobs",
        "/v1/uploads/upload_1/parts",
        "/v1/vector_stores",
        "/v1/assistants",
        "/v1/threads/thread_1/runs",
        "/v1/realtime/sessions",
    ],
)
def test_a_provider_serves_the_whole_api_by_default(path: str) -> None:
    """Without a list of its own a provider serves every path of OpenAI's API."""
    assert matches(served_paths(None, generates_text=True), path)


def test_the_list_of_models_is_ours() -> None:
    """No deployment claims ``/v1/models``, which the router answers itself."""
    assert not matches(served_paths(None, generates_text=True), "/v1/models")


@pytest.mark.parametrize(
    ("written", "served"),
    [
        (None, OTHER_PATHS),
        (("/v1/chat/completions", "/v1/embeddings"), ("/v1/embeddings",)),
        (("/v1/chat/*",), ()),
        (("/v1/*",), OTHER_PATHS),
        (("/v1/rerank",), ("/v1/rerank",)),
        (("/v1/chat/completions/special",), ()),
    ],
)
def test_a_model_without_text_serves_no_text_paths(written: tuple[str, ...] | None, served: tuple[str, ...]) -> None:
    """Whatever its provider serves, an embedding model answers no chat."""
    found = served_paths(written, generates_text=False)
    assert found == served
    assert not any(matches(found, text.removesuffix("*")) for text in TEXT_PATHS)


def test_a_written_list_is_kept() -> None:
    """What a provider lists is what it serves."""
    assert served_paths(("/v1/chat/completions",), generates_text=True) == ("/v1/chat/completions",)
