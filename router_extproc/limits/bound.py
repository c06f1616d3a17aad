"""How much a request may use at the most, and how much it probably will: tokens and micro-dollars over a chain.

Rules of this file
- A bound must hold, against crafted texts too: it errs above. The prompt is counted whole (``counted_prompt``), the answer as
  long as it may be, at the price of the dearest place that may answer. What a provider is certain to refuse costs nothing.
- Nobody's money depends on what providers allow in a minute, nor on the room that a prompt leaves in a window: there the
  estimate with a margin is as good, and does not keep away requests that would fit.
- An answer that is turned down or waited for in vain may be billed too: where answers are judged, or attempts have a time of
  their own, as many are counted as may be asked for.
- An answer that is made in the background is fetched later, and nobody here learns what it used: so what is set aside for it
  is what will be settled, whoever makes it.
- Where nobody limits an answer and its model's limit is unknown, a limit is assumed, and must then be written into the body.
"""

from __future__ import annotations

import functools
import heapq
import math
from collections.abc import Collection, Mapping

import msgspec
from msgspec.structs import replace

from router_extproc.account import Rates, Unit
from router_extproc.decision import Attempt, Decision
from router_extproc.limits.asked import Asked, asked_of, read_asked
from router_extproc.limits.counted_prompt import CountedPrompt, count_prompt, has_known_vocabulary
from router_extproc.limits.pieces import is_free, micro_usd, piece_rates
from router_extproc.limits.unseen import PICTURE_TOKENS, most_of_a_picture
from router_extproc.registry.health import NO_RATIOS
from router_extproc.registry.snapshot import Model, Prices, Registry
from router_extproc.request import AUDIO, CHAT_COMPLETIONS, EMBEDDINGS, FILES, VISION, Request, is_below

# Estimates are those of one tokenizer. Of what other vocabularies make of the same text, learned ratios know; this is for the
# rest, and for the wrapping of messages, which each provider does in its own way.
PROMPT_MARGIN = 1.2
PROMPT_ALLOWANCE = 16
# OpenAI's rule of thumb for English text. Text that repeats itself is fewer tokens to some tokenizers, not to all, and a body
# may hold text where only its provider looks for it: so many characters or bytes are a token at the least.
CHARACTERS_PER_TOKEN = 4
# The limit of an answer that nobody limits, of a model whose limit is unknown.
UNKNOWN_OUTPUT_TOKENS = 4_096
# A shorter answer than this is of no use, unless the caller asks for no more.
USEFUL_OUTPUT_TOKENS = 64
# An answer without a limit will probably have as many (LMSYS-Chat-1M: https://arxiv.org/abs/2309.11998, table 1).
LIKELY_OUTPUT_TOKENS = 400

_GENERATES = frozenset({CHAT_COMPLETIONS, "/v1/completions", "/v1/responses"})
_PRICED_BY_TOKENS = _GENERATES | {EMBEDDINGS}
# What these ask for is not counted by a tokenizer: learned ratios say nothing about it.
_NO_TEXT = frozenset({VISION, AUDIO, FILES})
# No amount is larger, so that sums of amounts stay exact in every store: a billion dollars.
_MOST = 10**15
_MILLION = 1_000_000


class Place(msgspec.Struct, frozen=True):
    """One place that may be sent the request. ``prompt_tokens`` are the estimate with a margin, ``most_prompt_tokens`` the
    bound where one was asked for, else the same. ``output_limit`` is what the model itself keeps to for each answer, None where
    that is not known; ``accepts`` is the highest limit that may be asked of it, which a provider holds against the room that
    the prompt leaves. ``rates`` are None without a price.
    """

    deployment: str
    model: str
    provider: str
    prompt_tokens: int
    most_prompt_tokens: int
    output_limit: int | None = None
    accepts: int | None = None
    rates: Rates | None = None


class Measure(msgspec.Struct, frozen=True):
    """A request over its chain.

    ``wish`` is the caller's own limit of each answer, ``answers`` how many it asks for, ``billed`` how many places may be
    paid for one of them, and ``silent`` how many further ones for reading the prompt. ``prompt_tokens`` and
    ``output_tokens`` are those likely for one place, all answers together. ``detached``: they are bounded, and made in the
    background, so the bound is what will be settled. ``by_piece``: what is made has a price of its own at some place, and no
    tokens. ``is_known``: what it costs is bounded at every place that has prices at all.
    """

    places: tuple[Place, ...]
    wish: int | None
    answers: int
    billed: int
    prompt_tokens: int
    output_tokens: int
    generates: bool
    priced: bool
    silent: int = 0
    detached: bool = False
    by_piece: bool = False
    is_known: bool = True

    def most(self, unit: Unit, limit: int | None, deployments: Collection[str] | None = None) -> int:
        """The bound in tokens or micro-dollars with answers of at most ``limit`` tokens each; None: the caller's wish, or
        what each model keeps to. ``deployments`` restricts it to what these may use; units that count requests are 1.
        """
        if unit not in ("usd", "tokens"):
            return 1
        if not self.priced:
            return 0
        places = [place for place in self.places if deployments is None or place.deployment in deployments]
        answered = heapq.nlargest(self.billed, (self._at(place, unit, limit) for place in places))
        silent = heapq.nlargest(self.silent, (self._at(place, unit, 0) for place in places))
        return min(_MOST, sum(answered) + sum(silent))

    def requested(self, limit: int | None, deployments: Collection[str]) -> int:
        """Tokens as a provider counts a request when it comes in: an estimate of the prompt, and the answer's limit."""
        if not self.priced or self.by_piece:
            return 0
        places = [place for place in self.places if place.deployment in deployments]
        found = (place.prompt_tokens + self._output(place, limit) * self.answers for place in places)
        return min(_MOST, max(found, default=0))

    def likely(self, unit: Unit, deployments: Collection[str] | None = None) -> int:
        """What will probably be used: at the first of the places, without a margin."""
        if unit not in ("usd", "tokens"):
            return 1
        if not self.priced:
            return 0
        places = [place for place in self.places if deployments is None or place.deployment in deployments]
        if unit == "tokens":
            return min(_MOST, self.prompt_tokens + self.output_tokens) if places and not self.by_piece else 0
        priced = next((place.rates for place in places if place.rates is not None), None)
        return 0 if priced is None else min(_MOST, priced.cost(self.prompt_tokens, self.output_tokens))

    def longest_answer(self, unit: Unit, room: int, at_most: int, deployments: Collection[str] | None = None) -> int:
        """The largest limit of each answer, up to ``at_most`` tokens, whose bound fits into ``room``; 0 when none does."""
        if not self.generates or self.most(unit, 0, deployments) > room:
            return 0
        low, high = 0, at_most
        while low < high:
            middle = (low + high + 1) // 2
            if self.most(unit, middle, deployments) <= room:
                low = middle
            else:
                high = middle - 1
        return low

    @property
    def estimate(self) -> tuple[int, int]:
        """Tokens of prompt and answers that are settled where nobody reports any: what is likely, and for no place more than
        was set aside for it. In the background it is what was set aside.
        """
        if self.by_piece:
            return 0, 0
        if self.detached:
            return self._most_at_any_place(None)
        outputs = (self._output(place, None) * self.answers for place in self.places)
        return (
            min((self.prompt_tokens, *(place.prompt_tokens for place in self.places))),
            min((self.output_tokens, *outputs)),
        )

    @property
    def longest_wish(self) -> int:
        """The most tokens that any place may write in one answer as the request stands."""
        return max((self._output(place, None) for place in self.places), default=0)

    @property
    def useful(self) -> int:
        """The lowest limit of each answer that is of use, in tokens."""
        return min(USEFUL_OUTPUT_TOKENS, self.longest_wish)

    @property
    def is_bounded(self) -> bool:
        """Whether every place keeps to a limit without being told one."""
        return not self.generates or self.wish is not None or all(place.output_limit is not None for place in self.places)

    def writable(self, limit: int) -> int | None:
        """The limit as it may be written into a body that any of the places may get; None where the body needs none."""
        if not self.generates or (self.wish is not None and self.wish <= limit):
            return None
        if all(place.output_limit is not None and place.output_limit <= limit for place in self.places):
            return None
        return max(1, _least(limit, *(place.accepts for place in self.places)) or 1)

    def _output(self, place: Place, limit: int | None) -> int:
        if not self.generates:
            return 0
        least = _least(limit, self.wish, place.output_limit)
        return UNKNOWN_OUTPUT_TOKENS if least is None else least

    def _at(self, place: Place, unit: Unit, limit: int | None) -> int:
        prompt, output = place.most_prompt_tokens, self._output(place, limit) * self.answers
        if self.detached:
            prompt, output = self._most_at_any_place(limit)
        if unit == "tokens":
            return 0 if self.by_piece else prompt + output
        return 0 if place.rates is None else _dearest(place.rates, prompt, output)

    def _most_at_any_place(self, limit: int | None) -> tuple[int, int]:
        """Tokens of prompt and answers: an account has them once, whichever place it will be."""
        outputs = (self._output(place, limit) * self.answers for place in self.places)
        return max((place.most_prompt_tokens for place in self.places), default=0), max(outputs, default=0)


def measure(
    request: Request,
    decision: Decision,
    registry: Registry,
    token_ratios: Mapping[str, float] = NO_RATIOS,
    *,
    predicts: bool = False,
    bounds: bool = False,
) -> Measure:
    """A decided request as budgets see it. Its text is read as far as estimating tokens takes; where it ``predicts``, for the
    length of the answer, unless the decision did that already; and whole where something ``bounds`` what it may use.
    """
    analysis = request.analysis
    # An answer that is read again was paid for when it was made.
    makes = request.method == "POST" and not request.path.endswith("/cancel")
    generates = makes and is_below(request.path, _GENERATES)
    asked = read_asked(request)
    prompt = max(analysis.prompt_tokens, 0)
    floor = math.ceil(max(analysis.characters, asked.text_bytes) / CHARACTERS_PER_TOKEN) + asked.token_ids
    has_text_only = analysis.needs.isdisjoint(_NO_TEXT)
    ratios = token_ratios if token_ratios and has_text_only else NO_RATIOS
    attempts = _attempts(decision)
    counted = None
    if bounds:
        known = any(has_known_vocabulary(attempt.provider_model) for attempt in attempts)
        counted = count_prompt(request, asked, counts_texts=known)
    by_tokens = makes and is_below(request.path, _PRICED_BY_TOKENS)
    places = tuple(
        _place(
            attempt,
            max(math.ceil(prompt * ratios.get(attempt.model, 1.0) * PROMPT_MARGIN), floor),
            registry,
            asked_of(asked, attempt.provider_model),
            counted,
            has_text_only=has_text_only,
            by_piece=request if makes and not by_tokens else None,
        )
        for attempt in attempts
    )
    has_piece_rates = [place.rates is not None and place.rates.by_piece for place in places]
    are_bounded = all(_is_bounded(attempt, registry, asked_of(asked, attempt.provider_model)) for attempt in attempts)
    first = decision.chain[0]
    wish = asked.wish if generates else None
    known = predicts or any(signal.name == "answer_tokens" for signal in decision.signals)
    likely = (analysis.answer_tokens if known else None) or LIKELY_OUTPUT_TOKENS
    output = _least(likely, wish, places[0].output_limit) or 0
    return Measure(
        places=places,
        wish=wish,
        answers=asked.answers,
        billed=_most_answers(decision, len(places), is_detached=asked.is_detached),
        silent=_most_silent(decision, len(places)),
        prompt_tokens=round(prompt * ratios.get(first.model, 1.0)),
        output_tokens=output * asked.answers if generates else 0,
        generates=generates,
        priced=by_tokens or any(has_piece_rates),
        detached=asked.is_detached and bounds and generates,
        by_piece=any(has_piece_rates),
        is_known=(by_tokens and are_bounded) or not makes or is_free(request) or all(has_piece_rates),
    )


def _attempts(decision: Decision) -> tuple[Attempt, ...]:
    """The places of the chain, and of those after certain causes, each once."""
    attempts: dict[str, Attempt] = {}
    for chain in (decision.chain, *decision.cause_chains.values()):
        for attempt in chain:
            attempts.setdefault(attempt.deployment, attempt)
    return tuple(attempts.values())


def _most_answers(decision: Decision, places: int, *, is_detached: bool) -> int:
    """How many places may be paid for an answer: the one that is taken, and those that are turned down or run out of time."""
    attempts = max(1, min(decision.max_attempts, places))
    if decision.check_answer:
        return attempts
    if is_detached and decision.stream and decision.first_token_timeout_ms is not None:
        return attempts
    if decision.stream or not decision.attempt_timeout_ms:
        return 1
    return min(attempts, max(1, -(-decision.deadline_ms // decision.attempt_timeout_ms)))


def _most_silent(decision: Decision, places: int) -> int:
    """How many places may be paid for the prompt of a stream that nothing came of, beside the one that answers."""
    if decision.check_answer or not decision.stream or decision.first_token_timeout_ms is None:
        return 0
    return max(0, min(decision.max_attempts, places) - 1)


def rates_of(model: Model) -> Rates | None:
    """What a model charges, in whole micro-dollars per million tokens; None without a price."""
    return None if model.prices is None else _rates(model.prices)


def model_of(attempt: Attempt, registry: Registry) -> Model | None:
    """The model behind an attempt: by name, or, where a wildcard stands for many names, by its deployment."""
    model = registry.models.get(attempt.model)
    if model is not None:
        return model
    owners = (one for one in registry.models.values() if any(each.name == attempt.deployment for each in one.deployments))
    return next(owners, None)


@functools.lru_cache(maxsize=4_096)
def _rates(prices: Prices) -> Rates:
    cached = prices.input if prices.cached_input is None else prices.cached_input
    return Rates(
        micro_usd(prices.input),
        micro_usd(prices.output),
        micro_usd(cached),
        tuple(
            (
                tier.above_tokens,
                micro_usd(tier.input),
                micro_usd(tier.output),
                micro_usd(tier.input if tier.cached_input is None else tier.cached_input),
            )
            for tier in prices.tiers
        ),
        fixed=micro_usd(prices.request or 0.0),
    )


def _dearest(rates: Rates, prompt_tokens: int, completion_tokens: int) -> int:
    """Micro-dollars at the highest rates that any prompt of up to so many tokens may be charged, rounded up."""
    if rates.by_piece:
        return rates.cost(0, 0)
    tiers = [tier for tier in rates.tiers if prompt_tokens > tier[0]]
    prompt_rate = max(rates.input, rates.cached_input, *(max(tier[1], tier[3]) for tier in tiers))
    output_rate = max((rates.output, *(tier[2] for tier in tiers)))
    return rates.fixed - (-(prompt_tokens * prompt_rate + completion_tokens * output_rate) // _MILLION)


def _place(
    attempt: Attempt,
    prompt: int,
    registry: Registry,
    asked: Asked,
    counted: CountedPrompt | None,
    *,
    has_text_only: bool,
    by_piece: Request | None,
) -> Place:
    """``by_piece`` is the request where what it makes is no text."""
    model = model_of(attempt, registry)
    window = None if model is None else model.context_window
    usual = prompt + PROMPT_ALLOWANCE
    bound = usual if counted is None else _bound(usual, attempt, counted, window, has_text_only=has_text_only)
    if model is None:
        return Place(attempt.deployment, attempt.model, attempt.deployment.partition("/")[0], usual, bound)
    likely = _with_unseen(usual, asked, window, PICTURE_TOKENS)
    provider = next((one.provider for one in model.deployments if one.name == attempt.deployment), "")
    room = None if window is None else max(1, window - usual)
    return Place(
        attempt.deployment,
        attempt.model,
        provider,
        likely,
        likely if counted is None else _with_unseen(bound, asked, window, most_of_a_picture(attempt.provider_model)),
        output_limit=_least(model.output_limit, window),
        accepts=_least(model.output_limit, room),
        rates=(None if by_piece is None else piece_rates(model.prices, by_piece)) or _with_tools(model, asked),
    )


def _with_tools(model: Model, asked: Asked) -> Rates | None:
    """What the model charges, and the most that its provider may take for its tools: nobody tells how often they were used."""
    rates, prices = rates_of(model), model.prices
    if rates is None or prices is None or not asked.tool_calls or not prices.tool_call:
        return rates
    return replace(rates, fixed=rates.fixed + asked.tool_calls * micro_usd(prices.tool_call))


def _is_bounded(attempt: Attempt, registry: Registry, asked: Asked) -> bool:
    """Whether what is no text in the body is bounded: by the model's window, and by a price for each use of a tool."""
    if not asked.has_unseen and asked.tool_calls == 0:
        return True
    model = model_of(attempt, registry)
    if model is None or model.context_window is None or asked.tool_calls is None:
        return False
    return asked.tool_calls == 0 or (model.prices is not None and model.prices.tool_call is not None)


def _bound(usual: int, attempt: Attempt, counted: CountedPrompt, window: int | None, *, has_text_only: bool) -> int:
    """The most tokens of the prompt at a place. A prompt larger than the model's window is refused there."""
    text = (counted.by_texts if has_known_vocabulary(attempt.provider_model) else counted.by_bytes) + PROMPT_ALLOWANCE
    # Of pictures and sounds only the estimate knows.
    most = max(usual, text) if has_text_only else usual + text
    return most if window is None else max(usual, min(most, window))


def _with_unseen(bound: int, asked: Asked, window: int | None, of_a_picture: int) -> int:
    """The bound with what of a prompt is no text in the body; a picture has so many tokens."""
    if asked.has_unseen and window is not None:
        # What the provider keeps or finds may fill the whole window, and again after each use of a tool.
        return max(bound, window * asked.readings)
    whole = bound + asked.payload_tokens + asked.pictures * of_a_picture
    return whole if window is None else max(bound, min(whole, window))


def _least(*limits: int | None) -> int | None:
    """The lowest of the limits that are known."""
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None
