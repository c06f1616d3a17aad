"""The response headers by which providers tell what is left of a rate limit, and when it is whole again.

Rules of this file
- Only what somebody has seen or documented; a limit whose end its provider never tells is of no use here, as those of
  Fireworks, which names no reset, and of Cohere's trial keys. DeepSeek, Perplexity, Bedrock, Vertex and Gemini tell none.
- Envoy writes each of these names down with every attempt, so the list is no longer than it must be.
"""

from __future__ import annotations

from typing import NamedTuple


class QuotaHeaders(NamedTuple):
    """``remaining`` says how many of ``unit``, ``requests`` or ``tokens``, are left, and the first of ``resets`` that is there
    until when.
    """

    unit: str
    remaining: str
    resets: tuple[str, ...]


def _named(unit: str, name: str) -> QuotaHeaders:
    return QuotaHeaders(unit, f"x-ratelimit-remaining-{name}", (f"x-ratelimit-reset-{name}",))


def _of_anthropic(unit: str, name: str) -> QuotaHeaders:
    return QuotaHeaders(unit, f"anthropic-ratelimit-{name}-remaining", (f"anthropic-ratelimit-{name}-reset",))


QUOTAS = (
    # OpenAI ("Rate limits in headers"), and who follows it: Azure, Groq, xAI, SambaNova, NVIDIA, Anthropic's compatible API.
    _named("requests", "requests"),
    _named("tokens", "tokens"),
    _named("tokens", "project-tokens"),
    # Cerebras, which has all six (https://inference-docs.cerebras.ai/support/rate-limits); SambaNova has the day's requests.
    _named("requests", "requests-minute"),
    _named("requests", "requests-hour"),
    _named("requests", "requests-day"),
    _named("tokens", "tokens-minute"),
    _named("tokens", "tokens-hour"),
    _named("tokens", "tokens-day"),
    # Mistral, with the minute's tokens from above; it does not always say when.
    _named("requests", "req-minute"),
    _named("requests", "req-month"),
    _named("tokens", "tokens-month"),
    # DigitalOcean.
    _named("tokens", "tokens-per-minute"),
    _named("tokens", "tokens-per-day"),
    # OpenRouter (in milliseconds since 1970), Moonshot, Together, and gateways before a model of one's own.
    QuotaHeaders("requests", "x-ratelimit-remaining", ("x-ratelimit-reset",)),
    QuotaHeaders("tokens", "x-tokenlimit-remaining", ("x-tokenlimit-reset", "x-ratelimit-reset")),
    # Without the x: an early draft of the IETF (draft-ietf-httpapi-ratelimit-headers-06).
    QuotaHeaders("requests", "ratelimit-remaining", ("ratelimit-reset",)),
    # Anthropic (https://docs.anthropic.com/en/api/rate-limits#response-headers).
    _of_anthropic("requests", "requests"),
    _of_anthropic("tokens", "tokens"),
    _of_anthropic("tokens", "input-tokens"),
    _of_anthropic("tokens", "output-tokens"),
)

HEADERS = tuple(dict.fromkeys(header for quota in QUOTAS for header in (quota.remaining, *quota.resets)))
"""All of the names, each once."""
