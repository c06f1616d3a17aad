"""What of a prompt cannot be counted as text here: payloads of files, and what only the provider has or will find.

Rules of this file
- A payload is what stands in a member from which nobody reads text. Elsewhere the same letters count as text.
- What a provider's own tools find, or what it keeps, may fill its model's window, and so may a video; what a file holds may be
  a token a byte, and a picture as many as its model makes of the largest.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from router_extproc.request import AUDIO, FILES, VISION, Request

# Members that hold a picture, a sound or a file, as a data URL or, where their names say so, in base64 alone.
_DATA_URL = re.compile(rb'"(?:url|image_url|video_url|audio_url|file_url|file_data|data)"\s*:\s*"(data:[^"\s]*)"')
_BARE = re.compile(rb'"(?:file_data|data)"\s*:\s*"([^"\s]*)"')
_BASE64 = b"base64,"
_PICTURE = re.compile(rb'"type"\s*:\s*"(?:image_url|input_image|image|computer_screenshot)"')
# Tokens of one picture, as most models count a large one: 1,536 patches at 1.62 tokens each
# (https://platform.openai.com/docs/guides/images-vision, models with patches).
PICTURE_TOKENS = 2_500
# The most tokens of one picture by the beginning of the model's name, the longest that fits. OpenAI's as in its guide: eight
# tiles, or 1,536 patches at up to 2.46 tokens. Anthropic: 4,784 since Opus 4.7. Gemini 3: 2,240 at the highest resolution.
# xAI: seven tiles of 256.
_MOST_OF_A_PICTURE = {
    "gpt-4o-mini": 48_169,
    **dict.fromkeys(("gpt-4o", "chatgpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5-", "o1", "o3", "o4-mini"), 4_000),
    "claude": 5_000,
    "gemini-3": 2_500,
    "grok": 2_500,
}
# Whatever else: Qwen's models make as many of a picture by default (https://huggingface.co/Qwen/Qwen2-VL-7B-Instruct), and
# OpenAI's from 5.4 on about 12,000 of 10,000 patches.
_MOST_ELSEWHERE = 16_384
# Sound in speech's lowest rate, 8 kbit/s, at Gemini's 32 tokens a second, the most of any
# (https://ai.google.dev/gemini-api/docs/audio).
_TOKENS_PER_SECOND, _BYTES_PER_SECOND = 32, 1_000
# A part's type, or an escape that may spell it; and an answer in sound that its provider keeps.
_ESCAPED = rb'[^"]{0,24}\\u00[4-7][^"]{0,24}'
_VIDEO = re.compile(rb'"(?:type|' + _ESCAPED + rb')"\s*:\s*"(?:video_url|input_video|video|' + _ESCAPED + rb')"')
_KEPT_SOUND = re.compile(rb'"audio"\s*:\s*\{\s*"id"')
# A provider runs none of these: the client does, and sends what came of it.
_OWN_TOOLS = frozenset({"function", "custom", None})
# The client runs these as well, but what their provider adds to the prompt for them nobody here sees.
_DESCRIBED_TOOLS = frozenset({"computer_use_preview", "computer", "local_shell", "apply_patch"})
# A provider may use these as often as it likes, whatever limit stands beside them.
_ENDLESS_TOOLS = frozenset({"mcp"})
_OWN_TYPES = frozenset({"item_reference"})
# The names of references, or an escape that may spell one.
_REFERENCE = re.compile(rb'"file_(?:id|url)"|\\u00[2-7]')
RESPONSES = "/v1/responses"


class _Typed(msgspec.Struct):
    type: Any = None


_tools = msgspec.json.Decoder(list[_Typed])
_items = msgspec.json.Decoder(list[_Typed | str])


def payload_bytes(request: Request) -> int:
    """The bytes of the body that are pictures, sounds or files, as they are written."""
    body = request.body
    is_bare = not request.analysis.needs.isdisjoint((AUDIO, FILES))
    if not is_bare and _BASE64 not in body:
        return 0
    whole = sum(len(found[1]) for found in _DATA_URL.finditer(body))
    if is_bare:
        whole += sum(len(found[1]) for found in _BARE.finditer(body) if not found[1].startswith(b"data:"))
    return whole


def payload_tokens(request: Request, payload: int) -> int:
    """The most tokens of the files and sounds in a body whose payloads have so many bytes in base64."""
    needs = request.analysis.needs
    size = -(-payload * 3 // 4)
    if FILES in needs:
        return size
    return -(-size * _TOKENS_PER_SECOND // _BYTES_PER_SECOND) if AUDIO in needs else 0


def picture_count(request: Request) -> int:
    """How many pictures a body shows."""
    if VISION not in request.analysis.needs:
        return 0
    # What the analysis could not take apart it counts as one picture.
    return max(request.analysis.images, len(_PICTURE.findall(request.body)))


def most_of_a_picture(provider_model: str) -> int:
    """The most tokens that a model makes of one picture, by its name at its provider, perhaps behind that of its maker."""
    name = provider_model.rpartition("/")[2].lower().removeprefix("ft:")
    known = [beginning for beginning in _MOST_OF_A_PICTURE if f"{name}-".startswith(beginning)]
    return _MOST_OF_A_PICTURE[max(known, key=len)] if known else _MOST_ELSEWHERE


def has_unseen(request: Request, tools: msgspec.Raw | msgspec.UnsetType, sent: msgspec.Raw | msgspec.UnsetType) -> bool:
    """Whether a provider adds to the prompt: files that it keeps or fetches, what its own tools find, items by reference.

    ``tools`` and ``sent`` are the body's ``tools`` and ``input``. What cannot be read is suspected of it.
    """
    body = request.body
    has_file = FILES in request.analysis.needs and _REFERENCE.search(body) is not None
    if has_file or _VIDEO.search(body) is not None or _KEPT_SOUND.search(body) is not None:
        return True
    if request.path.startswith(RESPONSES) and isinstance(sent, msgspec.Raw) and _is_list(sent):
        try:
            items = _items.decode(sent)
        except msgspec.DecodeError:
            return True
        if any(isinstance(item, _Typed) and _is_among(item.type, _OWN_TYPES) for item in items):
            return True
    if not isinstance(tools, msgspec.Raw) or not _is_list(tools):
        return False
    try:
        return not all(_is_among(tool.type, _OWN_TOOLS) for tool in _tools.decode(tools))
    except msgspec.DecodeError:
        return True


def provider_tools(tools: msgspec.Raw | msgspec.UnsetType) -> tuple[bool, bool]:
    """Whether the provider runs some of the ``tools`` itself, and whether a limit on their number would hold."""
    if not isinstance(tools, msgspec.Raw) or not _is_list(tools):
        return False, True
    try:
        kinds = [tool.type for tool in _tools.decode(tools)]
    except msgspec.DecodeError:
        return True, False
    return (
        not all(_is_among(kind, _OWN_TOOLS | _DESCRIBED_TOOLS) for kind in kinds),
        not any(_is_among(kind, _ENDLESS_TOOLS) for kind in kinds),
    )


def _is_list(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"["


def _is_among(found: Any, known: frozenset[str | None]) -> bool:
    return (found is None or isinstance(found, str)) and found in known
