"""What of a prompt cannot be counted as text here: payloads of files, and what only the provider has or will find.

Rules of this file
- A payload is what stands in a member from which nobody reads text. Elsewhere the same letters count as text.
- What a provider's own tools find, or what it keeps, may fill its model's window; what a file holds may be a token a byte.
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
# Tokens of one picture at the most: 1,536 patches at 1.62 tokens each
# (https://platform.openai.com/docs/guides/images-vision, models with patches). A few small models count more, at a lower price.
PICTURE_TOKENS = 2_500
# A provider runs none of these: the client does, and sends what came of it.
_OWN_TOOLS = frozenset({"function", "custom", None})
_OWN_TYPES = frozenset({"item_reference"})
# The names of references, or an escape that may spell one.
_REFERENCE = re.compile(rb'"file_(?:id|url)"|\\u00[2-7]')
_RESPONSES = "/v1/responses"


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
    """The most tokens of the files and pictures in a body whose payloads have so many bytes in base64."""
    needs = request.analysis.needs
    files = -(-payload * 3 // 4) if FILES in needs else 0
    # What the analysis could not take apart it counts as one picture.
    pictures = max(request.analysis.images, len(_PICTURE.findall(request.body))) if VISION in needs else 0
    return files + pictures * PICTURE_TOKENS


def has_unseen(request: Request, tools: msgspec.Raw | msgspec.UnsetType, sent: msgspec.Raw | msgspec.UnsetType) -> bool:
    """Whether a provider adds to the prompt: files that it keeps or fetches, what its own tools find, items by reference.

    ``tools`` and ``sent`` are the body's ``tools`` and ``input``. What cannot be read is suspected of it.
    """
    if FILES in request.analysis.needs and _REFERENCE.search(request.body) is not None:
        return True
    if request.path.startswith(_RESPONSES) and isinstance(sent, msgspec.Raw) and _is_list(sent):
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


def _is_list(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"["


def _is_among(found: Any, known: frozenset[str | None]) -> bool:
    return (found is None or isinstance(found, str)) and found in known
