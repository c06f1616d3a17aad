"""The account of one request: who pays, what was set aside, and at what rates. It travels through Envoy into its log.

A worker writes it, the observer settles by it, perhaps much later and after restarts and reloads: so it holds everything
that settling needs, and refers to nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Unit = Literal["usd", "tokens", "requests", "parallel", "iterations"]
Purpose = Literal["answer", "escalation", "judge", "shadow"]

_MILLION = 1_000_000


class Rates(msgspec.Struct, frozen=True, array_like=True):
    """Micro-dollars per million tokens, whole numbers. ``tiers`` (ascending by ``above``) replace the rates for longer prompts.

    A tier is (prompt tokens above which it holds, input, output, cached input). ``fixed`` is charged for each answer beside its
    tokens. ``by_piece``: instead of tokens, for pictures, sound and videos, and beside it ``per_second`` micro-dollars for a
    million seconds of sound, of which there are ``most_seconds`` where nobody says how many.
    """

    input: int
    output: int
    cached_input: int
    tiers: tuple[tuple[int, int, int, int], ...] = ()
    fixed: int = 0
    by_piece: bool = False
    per_second: int = 0
    most_seconds: int = 0

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, seconds: int | None = None) -> int:
        """Micro-dollars for one answer, rounded up: whoever sums them never has spent more than the sum."""
        if self.by_piece:
            lasting = self.most_seconds if seconds is None else seconds
            return self.fixed - (-lasting * self.per_second // _MILLION)
        fresh_rate, output_rate, cached_rate = self.input, self.output, self.cached_input
        for above, tier_input, tier_output, tier_cached in self.tiers:
            if prompt_tokens > above:
                fresh_rate, output_rate, cached_rate = tier_input, tier_output, tier_cached
        fresh = prompt_tokens - cached_tokens
        exact = fresh * fresh_rate + cached_tokens * cached_rate + completion_tokens * output_rate
        return self.fixed - (-exact // _MILLION)


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What was set aside in one counter: ``amount`` in ``unit`` (micro-dollars for usd), in the window part ``bucket``.

    ``expires_at`` (epoch seconds) is when the window part is of no more interest. ``limit`` and ``warn_at`` (shares of it)
    say at which totals somebody is to be alerted, of the budget named ``budget``; 0 and nothing: nobody. ``deployments`` are
    those whose answers count here, of a budget on a place; none named: all count.
    """

    counter: str
    unit: Unit
    bucket: int
    since: int
    amount: int
    expires_at: int
    budget: str = ""
    limit: int = 0
    warn_at: tuple[float, ...] = ()
    deployments: tuple[str, ...] = ()


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """``rates`` are by deployment, for every one that may be called; one without a price is missing.

    ``prompt_tokens`` and ``completion_tokens`` are what is settled where a provider reports nothing: the estimate, without
    any margin. ``detached``: the provider makes the answer in the background, so that what came of it says nothing of what it
    used; then they are the most that was set aside.
    """

    reservation: str
    held: tuple[Held, ...] = ()
    rates: dict[str, Rates] = {}
    purpose: Purpose = "answer"
    tenant: str = ""
    team: str = ""
    user: str = ""
    key: str = ""
    tags: dict[str, str] = {}
    session: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    detached: bool = False


def encode_account(account: Account) -> str:
    """The account as the JSON text that goes into metadata and log."""
    return msgspec.json.encode(account).decode()


def decode_account(text: str | bytes) -> Account:
    """Reads what ``encode_account`` wrote.

    Raises:
        msgspec.DecodeError: it is no account.
    """
    return msgspec.json.decode(text, type=Account)
