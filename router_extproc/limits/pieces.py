"""What is not paid by tokens: pictures, spoken texts, sound and videos, by the piece.

Rules of this file
- Their number is what the body says, read with suspicion: it is what will be settled, whatever came of it. Of sound alone a
  provider says afterwards how long it was.
- Where the number or the price of a piece is not known, nothing is: who may not spend more than an amount cannot be served.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec

from router_extproc.account import Rates
from router_extproc.registry.snapshot import Prices
from router_extproc.request import FORM_FIELDS, Request, is_below

# By the beginning of the path: the name of the price.
_UNITS = {
    "/v1/images": "image",
    "/v1/audio/speech": "characters",
    "/v1/audio/transcriptions": "audio_minute",
    "/v1/audio/translations": "audio_minute",
    "/v1/videos": "video_second",
}
_FREE = ("/v1/moderations",)
# Members by which a video's length and number are told: OpenAI's, xAI's and Azure's.
_LENGTHS, _NUMBERS = ("seconds", "duration", "n_seconds"), ("n", "n_variants")
# Sound that lies elsewhere, as Groq and Mistral take it.
_ELSEWHERE = ("url", "file_url", "file_id")
_MEMBERS = FORM_FIELDS | {"input"}
# The lowest rate at which speech is commonly recorded, 8 kbit/s: silence alone is packed tighter.
_BYTES_PER_SECOND = 1_000
_MOST = 100_000_000
_MICRO = _MILLION = 1_000_000
_SECONDS_PER_MINUTE = 60

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_free(request: Request) -> bool:
    """Whether providers take nothing for what the path does."""
    return is_below(request.path, _FREE)


def piece_rates(prices: Prices | None, request: Request) -> Rates | None:
    """What the request costs beyond any tokens; None where that is not known."""
    if prices is None:
        return None
    unit = _unit(request.path)
    price: float | None = None if unit is None else getattr(prices, unit)
    fee = micro_usd(prices.request or 0.0)
    if unit is None or price is None:
        return None if prices.request is None else Rates(0, 0, 0, fixed=fee, by_piece=True)
    if unit == "audio_minute":
        most = _most_seconds(request)
        per_second = math.ceil(Decimal(str(price)) * _MICRO * _MILLION / _SECONDS_PER_MINUTE)
        return None if most is None else Rates(0, 0, 0, fixed=fee, by_piece=True, per_second=per_second, most_seconds=most)
    pieces = _count(request, unit)
    if pieces is None:
        return None
    divided = _MILLION if unit == "characters" else 1
    return Rates(0, 0, 0, fixed=fee - (-pieces * micro_usd(price) // divided), by_piece=True)


def micro_usd(usd: float) -> int:
    """Dollars as written in decimals, in whole micro-dollars, rounded up; nobody is paid for asking."""
    return max(0, int((Decimal(str(usd)) * _MICRO).to_integral_value(ROUND_CEILING)))


def _unit(path: str) -> str | None:
    return next((unit for root, unit in _UNITS.items() if is_below(path, (root,))), None)


def _count(request: Request, unit: str) -> int | None:
    """How many pieces the request asks for; None where it does not say so in words that are known."""
    told = _told(request)
    if told is None:
        return None
    if unit == "characters":
        return len(told["input"]) if isinstance(told.get("input"), str) and not request.form_bytes else None
    numbers = [_number(told[name]) for name in _NUMBERS if told.get(name) is not None]
    lengths = [_number(told[name]) for name in _LENGTHS if told.get(name) is not None] if unit == "video_second" else [1]
    if not lengths or None in lengths or None in numbers:
        return None
    return min(_MOST, max(one or 1 for one in lengths) * max((one or 1 for one in numbers), default=1))


def _most_seconds(request: Request) -> int | None:
    """How long the sound in a form can be; None where it lies elsewhere."""
    if not request.form_bytes or any(name in request.form for name in _ELSEWHERE):
        return None
    return -(-request.form_bytes // _BYTES_PER_SECOND)


def _told(request: Request) -> Mapping[str, Any] | None:
    """The members of the body, of whatever kind; None where there are none to read."""
    if request.form_bytes:
        return request.form
    try:
        members = _members.decode(request.body)
        return {name: msgspec.json.decode(value) for name, value in members.items() if name in _MEMBERS}
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _number(value: Any) -> int | None:
    """A number as a lenient reader takes it, rounded up, at least 1; None where it is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(1, math.ceil(min(value, _MOST)))
