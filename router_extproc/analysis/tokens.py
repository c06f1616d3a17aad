"""Estimates of prompt tokens without a tokenizer: constant work for most texts, and never a network.

An estimate serves two questions, will it fit and what will it cost, for models whose tokenizers differ; a margin is
added where the first is asked. Figures and their sources stand beside each constant.
"""

from __future__ import annotations

import msgspec

# Fitted to counts of o200k_base over prose, Python, Lua, SQL, HTML, indented and flat JSON, CSV, logs, hex and base64:
# within 20 % on each, but for minified JSON schemas (1.5 times too much). Words cost by their letters, digits and
# punctuation more each, and text without spaces (base64, identifiers) is cut finer than prose.
_LETTERS_PER_TOKEN = 3.8
_LETTERS_PER_TOKEN_WITHOUT_SPACES = 1.8
_SPACES_IN_PROSE = 0.05
_TOKENS_PER_SPACE = 0.06
_TOKENS_PER_OTHER = 0.6
# UTF-8 bytes beyond ASCII: with o200k_base (cl100k_base) Chinese takes 0.22 (0.36) a byte, Russian 0.13 (0.27), Hindi
# 0.10 (0.35), Arabic 0.16 (0.35), emoji 0.42 (0.67).
_TOKENS_PER_HIGH_BYTE = 0.22
# Shorter texts say too little about their kind.
_SHORT = 40
# Of longer texts three windows are counted, in characters.
_LONG, _WINDOW = 24_000, 4_000

_LETTERS_AND_SPACE = bytes((*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1), ord(" ")))
_HIGH = bytes(range(128, 256))

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


def text_tokens(text: str) -> float:
    """Tokens in a text; the work is bounded whatever its length."""
    length = len(text)
    if length <= _LONG:
        return _count(text)
    middle = (length - _WINDOW) // 2
    seen = _count(text[:_WINDOW]) + _count(text[middle : middle + _WINDOW]) + _count(text[-_WINDOW:])
    return seen * length / (3 * _WINDOW)


def _count(text: str) -> float:
    encoded = text.encode("utf-8", "replace")
    rest = encoded.translate(None, _LETTERS_AND_SPACE)
    spaces = encoded.count(b" ")
    high = 0 if encoded.isascii() else len(rest) - len(rest.translate(None, _HIGH))
    size = len(encoded) - high
    letters, others = len(encoded) - len(rest) - spaces, len(rest) - high
    prose = 1.0 if size < _SHORT else min(1.0, spaces / (size * _SPACES_IN_PROSE))
    per_token = _LETTERS_PER_TOKEN_WITHOUT_SPACES + prose * (_LETTERS_PER_TOKEN - _LETTERS_PER_TOKEN_WITHOUT_SPACES)
    return letters / per_token + spaces * _TOKENS_PER_SPACE + others * _TOKENS_PER_OTHER + high * _TOKENS_PER_HIGH_BYTE


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
