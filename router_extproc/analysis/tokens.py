"""Estimates of prompt tokens without a tokenizer: constant work for most texts, and never a network.

An estimate serves two questions, will it fit and what will it cost, for models whose tokenizers differ; a margin is
added where the first is asked. Figures and their sources stand beside each constant.
"""

from __future__ import annotations

import msgspec

# OpenAI's rule of thumb for English: https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
_CHARACTERS_PER_TOKEN = 4.0
# ASCII without spaces (JSON, base64, identifiers) is cut finer: 2.1 characters a token in JSON, 1.5 in base64, measured
# with o200k_base. Prose has a space every 5 to 6 characters.
_DENSE_CHARACTERS_PER_TOKEN = 2.0
_SPACES_IN_PROSE = 0.1
# Below this many characters the kind of text changes nothing that matters.
_SHORT = 400
# Each byte beyond the first of a character, in tokens: Chinese 0.65 a character (measured 0.67 with o200k_base),
# Cyrillic 0.45 (0.27 with o200k_base, 0.5 with older vocabularies).
_TOKENS_PER_EXTRA_BYTE = 0.2

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


def text_tokens(text: str) -> float:
    """Tokens in a text. Takes constant time below 400 ASCII characters, else one pass of compiled code."""
    characters = len(text)
    if not text.isascii():
        extra = len(text.encode("utf-8", "replace")) - characters
        return characters / _CHARACTERS_PER_TOKEN + extra * _TOKENS_PER_EXTRA_BYTE
    if characters < _SHORT:
        return characters / _CHARACTERS_PER_TOKEN
    prose = min(1.0, text.count(" ") / (characters * _SPACES_IN_PROSE))
    return characters / (_DENSE_CHARACTERS_PER_TOKEN + prose * (_CHARACTERS_PER_TOKEN - _DENSE_CHARACTERS_PER_TOKEN))


def json_tokens(raw: msgspec.Raw | msgspec.UnsetType) -> float:
    """Tokens in undecoded JSON, such as tool definitions: providers write them down more tersely than JSON does."""
    return 0.0 if raw is msgspec.UNSET else len(memoryview(raw)) / _CHARACTERS_PER_TOKEN


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
