"""How many tokens a prompt can be at the most, whoever wrote it: texts counted whole, everything else at a token a byte.

Rules of this file
- No tokenizer in use makes more tokens of a text than it has bytes in UTF-8: that holds wherever a model's own is not known.
  What was sampled, looked up by fingerprints, or learned from other requests decides nothing here.
- All bytes of the body count. Only what was understood is taken off again: a text for its tokens, settings and the frames of
  messages for what they take. What is said twice, or hidden in members that nobody reads, is left in.
- What the provider writes down in a way of its own, such as tools, stays at its bytes, but for long texts in it; of these
  the ends, which may grow together with what stands beside them, count by their bytes too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from router_extproc.analysis.most_tokens import byte_length, most_tokens
from router_extproc.limits.asked import Asked
from router_extproc.request import Request

# Names of models that cut text with o200k_base, fine-tuned ones included (tiktoken 0.14, model.py).
_O200K = re.compile(r"(?:ft:)?(?:gpt-4o|chatgpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|gpt-oss|o1|o3|o4-mini)(?![0-9a-z])")
# The marks around one message in the templates that models are known to use; what opens an answer is in the allowance.
_FRAME_TOKENS = 5
# Top-level members that are no part of a prompt, where they hold a text or a number; others may be to some provider.
_SETTINGS = frozenset(
    {
        "model", "user", "safety_identifier", "n", "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature",
        "top_p", "seed", "stream", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
        "parallel_tool_calls", "store", "service_tier", "reasoning_effort", "encoding_format", "dimensions",
    }
)  # fmt: skip
_PROMPTS = frozenset({"messages", "input", "prompt", "instructions"})
_ROLES = frozenset({b'"user"', b'"assistant"', b'"system"', b'"developer"', b'"tool"'})
_BRACKETS = frozenset({b"{", b"["})
# A member takes its quotes, its colon and a comma.
_AROUND_MEMBER = len('"":,')
# Elsewhere shorter texts are not worth the look, nor JSON within JSON beyond so many levels or elements; and so many values,
# texts and messages among them, are looked into: conversations have hundreds, the rest of more counts by its bytes.
_LONG, _DEEPEST, _MOST_ELEMENTS, _MOST_VALUES = 256, 8, 65_536, 4_096
_MOST_RESULTS = 256
_SPACE_AFTER = re.compile(r"\S ")

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)


class CountedPrompt(NamedTuple):
    """``by_bytes`` bounds it for every tokenizer, ``by_texts`` for o200k_base."""

    by_bytes: int
    by_texts: int


_results: dict[tuple[int, Asked, bool], CountedPrompt] = {}


def has_known_vocabulary(provider_model: str) -> bool:
    """Whether a model of this name, perhaps behind the name of its maker, is known to take its tokens from o200k_base."""
    return _O200K.match(provider_model.rpartition("/")[2].lower()) is not None


def count_prompt(request: Request, asked: Asked, *, counts_texts: bool) -> CountedPrompt:
    """The bounds of a request's prompt in tokens, payloads of files and pictures apart; both 0 without a body.

    Unless it ``counts_texts``, both go by bytes. A request is often bounded again, on its way down the ladder: of each body
    the result is remembered, by a hash that nobody outside this process can aim at.
    """
    if not request.body:
        return CountedPrompt(0, 0)
    key = (hash(request.body), asked, counts_texts)
    found = _results.get(key)
    if found is None:
        if len(_results) >= _MOST_RESULTS:
            _results.clear()
        _results[key] = found = _count(request.body, asked, counts_texts=counts_texts)
    return found


def _count(body: bytes, asked: Asked, *, counts_texts: bool) -> CountedPrompt:
    reading = _Reading(has_payloads=asked.text_bytes < len(body))
    try:
        reading.read_body(body, asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return CountedPrompt(asked.text_bytes, asked.text_bytes)
    framed = asked.text_bytes - reading.taken_off + reading.added
    by_bytes = framed + sum(map(byte_length, reading.texts))
    if not counts_texts:
        return CountedPrompt(by_bytes, by_bytes)
    return CountedPrompt(by_bytes, min(by_bytes, framed + reading.ends + most_tokens(reading.texts)))


class _Reading:
    """What was understood of one body: ``taken_off`` are bytes, ``added`` the tokens that stand for them but for ``texts``."""

    def __init__(self, *, has_payloads: bool) -> None:
        self._has_payloads = has_payloads
        self.texts: list[str] = []
        self.taken_off = self.added = self.ends = 0
        self._values = _MOST_VALUES

    def read_body(self, body: bytes, asked: Asked) -> None:
        members = _object.decode(body)
        for name, value in members.items():
            if name in _SETTINGS and _first(value) not in _BRACKETS:
                self._take_off(name, value)
            elif name not in _PROMPTS:
                self._read_deep(value, _DEEPEST)
            elif asked.token_ids and b'"' not in bytes(value):
                self._take_off(name, value)
            else:
                self.taken_off += len(name) + len('"":')
                self._read_prompt(value)
        self.added += asked.token_ids
        # The blank that many put after a colon. Within a text the quote before it would be escaped.
        self.taken_off += body.count(b'": ') - body.count(b'\\": ')

    def _take_off(self, name: str, value: msgspec.Raw) -> None:
        self.taken_off += len(name) + len(memoryview(value)) + _AROUND_MEMBER

    def _read_prompt(self, value: msgspec.Raw) -> None:
        if _first(value) == b'"':
            self._read_text(value)
        for element in _elements(value)[: self._values]:
            if _first(element) == b'"':
                self._read_text(element)
            elif _first(element) == b"{":
                self._read_message(_object.decode(element))

    def _read_message(self, members: dict[str, msgspec.Raw]) -> None:
        content, role = members.get("content"), members.get("role")
        if content is not None and role is not None and bytes(role) in _ROLES:
            self.added += _FRAME_TOKENS
            self._take_off("role", role)
            self.taken_off += len('{"content":}')
        for name, value in members.items():
            if name == "content" and _first(value) == b'"':
                self._read_text(value)
            else:
                self._read_deep(value, _DEEPEST)

    def _read_deep(self, value: msgspec.Raw, levels: int) -> None:
        """Long texts anywhere. In bodies with payloads none is told from those, which were taken off already."""
        if self._has_payloads or len(memoryview(value)) < _LONG or not levels or self._values <= 0:
            return
        self._values -= 1
        kind = _first(value)
        if kind == b'"':
            # What is written with escapes here may be sent on with them.
            if b"\\" not in bytes(value) and self._read_text(value):
                self.ends += _end_bytes(self.texts[-1])
        elif kind == b"{":
            if _is_modest(value):
                for member in _object.decode(value).values():
                    self._read_deep(member, levels - 1)
        else:
            for element in _elements(value):
                self._read_deep(element, levels - 1)

    def _read_text(self, value: msgspec.Raw) -> bool:
        """Takes a text off the bytes; False: it is left among them."""
        if self._values <= 0:
            return False
        self._values -= 1
        self.texts.append(_text.decode(value))
        self.taken_off += len(memoryview(value))
        return True


def _first(value: msgspec.Raw) -> bytes:
    return bytes(memoryview(value)[:1])


def _elements(value: msgspec.Raw) -> list[msgspec.Raw]:
    """The elements of an array; none of what is no array, or too long a one."""
    return _array.decode(value) if _first(value) == b"[" and _is_modest(value) else []


def _is_modest(value: msgspec.Raw) -> bool:
    return bytes(value).count(b",") <= _MOST_ELEMENTS


def _end_bytes(text: str) -> int:
    """Bytes up to the first blank after a word, and from the last one: between these nothing beside a text changes its cuts."""
    first = _SPACE_AFTER.search(text)
    last = text.rfind(" ")
    if first is None or text[last - 1].isspace():
        return byte_length(text)
    return byte_length(text[: first.end() - 1]) + byte_length(text[last:])
