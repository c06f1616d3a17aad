"""Tokens of prompts: text as o200k_base counts it, what is no text by published rules; bounded work, never a network.

An estimate serves two questions, will it fit and what will it cost, for models whose tokenizers differ: a ratio learned from
what a model reported corrects it. Figures and their sources stand beside each constant.
"""

from __future__ import annotations

import msgspec

from router_extproc.analysis.token_count import text_tokens, texts_tokens

__all__ = ["audio_tokens", "count_tokens", "image_tokens", "json_tokens", "text_tokens", "texts_tokens"]

# JSON that describes tools: 3.9 characters a token with o200k_base.
_JSON_CHARACTERS_PER_TOKEN = 4.0

# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken: 3 for each message, 1 for its role, 3 in the end.
MESSAGE_TOKENS = 4
ANSWER_PRIMING_TOKENS = 3

# https://platform.openai.com/docs/guides/images-vision: 85 at low detail; else 85 + 170 for each tile of 512 pixels:
# 765 for 1024 x 1024, 1,105 for the largest common shape. Sizes are not looked up.
IMAGE_TOKENS_LOW, IMAGE_TOKENS_AUTO, IMAGE_TOKENS_HIGH = 85, 765, 1_105

# One token for each 100 ms of speech (https://platform.openai.com/docs/guides/audio), of 16-bit 24 kHz sound in base64:
# 64,000 characters a second. Compressed formats hold about four times as much.
_AUDIO_TOKENS_PER_CHARACTER = 10 / 64_000
_COMPRESSION = 4
# No provider says what a file costs: about three pages of text and their images.
FILE_TOKENS = 2_000


class _ImageUrl(msgspec.Struct):
    detail: str | None = None


class _Audio(msgspec.Struct):
    format: str | None = None


_image_url = msgspec.json.Decoder(_ImageUrl)
_audio = msgspec.json.Decoder(_Audio)


def count_tokens(text: str, ratio: float = 1.0) -> int:
    """Tokens in a text for a model that takes `ratio` tokens for each of o200k_base; not less than one unless it is empty."""
    return max(1, round(text_tokens(text) * ratio)) if text else 0


def json_tokens(raw: msgspec.Raw | msgspec.UnsetType) -> float:
    """Tokens in undecoded JSON, such as tool definitions: providers write them down more tersely than JSON does."""
    return 0.0 if raw is msgspec.UNSET else len(memoryview(raw)) / _JSON_CHARACTERS_PER_TOKEN


def image_tokens(image_url: msgspec.Raw | msgspec.UnsetType, detail: str | None) -> int:
    """Tokens for one image, by the detail asked for; its data is neither decoded nor counted."""
    if detail is None and image_url is not msgspec.UNSET:
        try:
            detail = _image_url.decode(image_url).detail
        except msgspec.DecodeError:
            detail = None  # the Responses API writes the address itself here
    if detail == "low":
        return IMAGE_TOKENS_LOW
    return IMAGE_TOKENS_HIGH if detail == "high" else IMAGE_TOKENS_AUTO


def audio_tokens(input_audio: msgspec.Raw | msgspec.UnsetType) -> float:
    """Tokens for one recording, from the length of its base64 text and its format."""
    if input_audio is msgspec.UNSET:
        return 0.0
    characters = len(memoryview(input_audio))
    try:
        is_plain = _audio.decode(input_audio).format in ("wav", "pcm16", None)
    except msgspec.DecodeError:
        is_plain = True
    return characters * _AUDIO_TOKENS_PER_CHARACTER * (1 if is_plain else _COMPRESSION)
