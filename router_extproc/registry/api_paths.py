"""Which paths of the OpenAI API a deployment serves, as patterns: ``*`` at the end matches the rest."""

from __future__ import annotations

# The paths whose answer is generated text: a model that only embeds, speaks or transcribes serves none of them.
TEXT_PATHS = (
    "/v1/chat/completions*",
    "/v1/completions",
    "/v1/responses*",
    "/v1/conversations*",
    "/v1/assistants*",
    "/v1/threads*",
    "/v1/realtime*",
)
# The rest of OpenAI's API reference of November 2026, but for administration and ``/v1/models``, which is our own.
OTHER_PATHS = (
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/audio/*",
    "/v1/images/*",
    "/v1/videos*",
    "/v1/files*",
    "/v1/uploads*",
    "/v1/batches*",
    "/v1/fine_tuning/*",
    "/v1/vector_stores*",
    "/v1/containers*",
    "/v1/evals*",
)


def served_paths(written: tuple[str, ...] | None, *, generates_text: bool) -> tuple[str, ...]:
    """The paths of one deployment: those its provider lists, or all; without the text paths where it makes no text."""
    if generates_text:
        return written if written is not None else TEXT_PATHS + OTHER_PATHS
    if written is None:
        return OTHER_PATHS
    kept: list[str] = []
    for pattern in written:
        if any(_covers(pattern, text) for text in TEXT_PATHS):
            kept.extend(other for other in OTHER_PATHS if _covers(pattern, other))
        elif not any(_covers(text, pattern) for text in TEXT_PATHS):
            kept.append(pattern)
    return tuple(dict.fromkeys(kept))


def _covers(wide: str, narrow: str) -> bool:
    """Whether everything the narrow pattern matches is matched by the wide one."""
    if wide.endswith("*"):
        return narrow.removesuffix("*").startswith(wide[:-1])
    return wide == narrow
